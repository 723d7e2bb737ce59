"""Names that a resolver would read as an address are no DNS names."""

from __future__ import annotations

import pytest

from pki.errors import NameRefusedError
from pki.identity import DnsName


@pytest.mark.parametrize(
    "text",
    ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.0x1", "1.2.3.0xF", "a.0x0", "shop.1"],
)
def test_what_ends_in_a_number_is_refused(text: str) -> None:
    with pytest.raises(NameRefusedError, match="looks like an IP address"):
        DnsName.parse(text)


@pytest.mark.parametrize("text", ["0x7f.shop", "1.shop", "0xg", "x1", "1a", "0x1.internal"])
def test_what_merely_begins_with_one_is_a_name(text: str) -> None:
    assert DnsName.parse(text).name == text
