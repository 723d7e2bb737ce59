"""A root is replaced under load: both are believed, then leaves change, then the old one goes.

Each of the two processes takes a step when its files are changed, so either may be first at each.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import pki
from pki.files import save_credential, write_durably
from pki.x509 import Credential, CrlSet, TrustBundle
from services._proto.shop.v1 import inventory_pb2 as inv
from tests.interop.load import Load
from tests.interop.shop import AioInventory, Shop, eventually

FIRST = list(itertools.product(("server", "caller"), repeat=3))


@dataclass
class TwoRoots:
    """A shop whose CA is replaced by another of the same trust domain."""

    shop: Shop
    new: pki.Authority
    workloads: dict[str, pki.Workload] = field(default_factory=dict)

    def trust_both(self, name: str) -> None:
        self._write(name, "crl.pem", self._file("ca", "crl.pem") + self._file("new", "crl.pem"))
        both = self._file("ca", "bundle.pem") + self._file("new", "bundle.pem")
        self._write(name, "bundle.pem", both)
        me = self.workloads[name]
        assert eventually(lambda: len(me.credential.bundle.all_roots()) == 2)
        assert eventually(lambda: len((me.credential.crls or nothing()).crls) == 4)

    def use_the_new(self, name: str) -> None:
        issued = self.new.issue(name).credential
        me = self.workloads[name]
        used = Credential(issued.key, issued.chain, me.credential.bundle, me.credential.crls)
        save_credential(used, self.shop.home / name)
        assert eventually(lambda: me.credential.leaf == issued.leaf)

    def drop_the_old(self, name: str) -> None:
        self._write(name, "bundle.pem", self._file("new", "bundle.pem"))
        self._write(name, "crl.pem", self._file("new", "crl.pem"))
        me = self.workloads[name]
        assert eventually(lambda: len(me.credential.bundle.all_roots()) == 1)

    def _file(self, home: str, name: str) -> bytes:
        return (self.shop.home / home / name).read_bytes()

    def _write(self, folder: str, name: str, data: bytes) -> None:
        write_durably(self.shop.home / folder / name, data, mode=0o644)


def nothing() -> Any:
    return CrlSet.none()


@pytest.fixture
def roots(tmp_path: Path) -> Iterator[TwoRoots]:
    shop = Shop(tmp_path)
    for name in ("server", "caller"):
        shop.directory(name)
    new = pki.Authority.create(tmp_path / "new", "shop.internal")
    yield TwoRoots(shop, new)
    new.close()
    shop.ca.close()


class Sending(AioInventory):
    """A stream that ends by itself; and who called last."""

    def __init__(self) -> None:
        self.serials: deque[int] = deque(maxlen=20)

    async def GetStock(self, request: Any, context: object) -> inv.GetStockResponse:
        self.serials.append(pki.peer().serial)
        return await super().GetStock(request, context)

    async def WatchStock(self, request: object, context: object) -> Any:
        for number in range(5):
            yield inv.WatchStockResponse(quantity=number)
            await asyncio.sleep(0)


@pytest.mark.parametrize("first", FIRST, ids="-".join)
def test_a_root_rotates_under_load_whoever_is_first(roots: TwoRoots, first: Any) -> None:
    sending = Sending()
    with (
        roots.shop.workload("server") as me,
        roots.shop.workload("caller") as caller,
        roots.shop.aio_server(me, inventory=sending) as address,
        Load(caller, address, streams=True) as load,
    ):
        roots.workloads.update(server=me, caller=caller)
        assert eventually(lambda: load.calls > 20)
        steps = (roots.trust_both, roots.use_the_new, roots.drop_the_old)

        def calls_show_the_leaf_in_use() -> bool:
            return set(sending.serials) == {caller.credential.leaf.serial_number}

        for step, begins in zip(steps, first, strict=True):
            step(begins)
            at = load.calls
            assert eventually(lambda at=at: load.calls > at + 10)  # type: ignore[misc]
            step("caller" if begins == "server" else "server")
            # What a CA waits for before it withdraws anything.
            assert eventually(calls_show_the_leaf_in_use)
        assert me.credential.bundle == TrustBundle.read(
            (roots.shop.home / "new" / "bundle.pem").read_bytes()
        )
    assert not load.failed, load.failed[:3]
