"""``handfast revoke DIR`` ends what began with an earlier certificate of the directory."""

from __future__ import annotations

import pytest

from pki.cli.app import run
from tests.interop.shop import Shop, ended, get_stock, soon, watch


@pytest.mark.parametrize("kind", ["aio", "sync"])
@pytest.mark.parametrize(
    ("target", "reason"), [("directory", "key-compromise"), ("workload", "unspecified")]
)
def test_a_stream_from_before_the_last_renewal_ends_with_the_revocation(
    shop: Shop, kind: str, reason: str, target: str
) -> None:
    words = "CERTIFICATE_REVOKED" if kind == "aio" else "CANCELLED"
    caller_folder, state = shop.directory("caller"), shop.home
    with (
        shop.workload("server") as me,
        shop.server(kind, me) as address,
        shop.workload("caller") as caller,
        shop.workload("reader") as reader,
        caller.sync_channel(address, peer="server") as channel,
        reader.sync_channel(address, peer="server") as other,
    ):
        first = caller.credential.leaf
        stream = watch(channel)
        for _ in range(2):
            assert run(["renew", str(caller_folder), "--force", "--dir", str(state)]) == 0
            assert caller.reload()
        assert caller.credential.leaf != first
        assert get_stock(channel) > 0
        named = str(caller_folder) if target == "directory" else "caller"
        assert run(["revoke", named, "--reason", reason, "--dir", str(state)]) == 0
        assert ended(stream) == words
        assert soon(channel, "CERTIFICATE_REVOKED")
        assert get_stock(other) > 0
