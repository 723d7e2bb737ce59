"""A parsed name is never compared with text: that would be false, and look as if it were right."""

from __future__ import annotations

from typing import Any

import pytest

from pki.identity import DnsName, SpiffeId, TrustDomain
from pki.identity.subject import Subject

NAMES: list[Any] = [
    SpiffeId.parse("spiffe://shop.internal/orders"),
    TrustDomain.parse("shop.internal"),
    DnsName.parse("orders.shop.internal"),
    Subject.parse("CN=orders,O=shop.internal"),
]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: type(name).__name__)
def test_a_name_is_never_compared_with_text(name: Any) -> None:
    text = str(name)
    for compare in (
        lambda: name == text,
        lambda: name != text,
        lambda: text == name,
        lambda: name in [text],
        lambda: text in [name],
    ):
        with pytest.raises(TypeError, match=r"is never equal to text: compare str\(\.\.\.\)"):
            compare()


@pytest.mark.parametrize("name", NAMES, ids=lambda name: type(name).__name__)
def test_a_name_is_compared_with_names_and_with_anything_else(name: Any) -> None:
    again = type(name).parse(str(name))
    assert name == again
    assert hash(name) == hash(again)
    assert {name: 1}[again] == 1
    assert name != type(name).parse(str(name).replace("shop", "club"))
    for other in (None, 1, b"x", object(), *(item for item in NAMES if item is not name)):
        assert name != other
