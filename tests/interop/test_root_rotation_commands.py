"""A root is replaced by the commands, its key elsewhere, under load: no call fails."""

from __future__ import annotations

import asyncio
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pki.cli.app import run
from pki.x509 import TrustBundle
from pki.x509.bundle_chain import follow
from services._proto.shop.v1 import inventory_pb2 as inv
from tests.interop.load import Load
from tests.interop.shop import AioInventory, Shop, eventually

NAMES = ("server", "caller")
# Long enough for the steps before the activation on a slow machine; withdrawal waits for its end.
FIRST_LIFE = timedelta(seconds=25)


class ShortStreams(AioInventory):
    """Streams that end by themselves."""

    async def WatchStock(self, request: object, context: object) -> Any:
        for number in range(5):
            yield inv.WatchStockResponse(quantity=number)
            await asyncio.sleep(0)


class Commands:
    """The commands, in a state folder and beside the roots' keys."""

    def __init__(self, home: Path) -> None:
        self.state = home
        self.roots = home.parent / "roots"
        self.roots.mkdir(mode=0o700)
        shutil.move(home / "ca" / "root.key.pem", self.roots)

    def run(self, *arguments: str) -> int:
        return run([*arguments, "--dir", str(self.state)])

    def sign_and_import(self) -> int:
        request, answer = self.state / "root-request.json", self.roots / "answer.json"
        signed = ["sign", str(request), "--keys", str(self.roots), "--out", str(answer)]
        assert run(["ca", "root", *signed]) == 0
        return self.run("ca", "root", "import", str(answer))


def roots_of(folder: Path) -> int:
    return len(TrustBundle.read((folder / "bundle.pem").read_bytes()).all_roots())


@pytest.mark.parametrize("kind", ["aio", "sync"])
def test_no_call_fails_while_a_root_is_replaced_by_commands(tmp_path: Path, kind: str) -> None:
    (tmp_path / "state").mkdir()
    shop = Shop(tmp_path / "state")
    try:
        for name in NAMES:
            shop.ca.issue(name, lifetime=FIRST_LIFE).save(shop.home / name)
        commands = Commands(shop.home)
        (first,) = shop.ca.bundles()
        how: dict[str, Any] = {"inventory": ShortStreams()} if kind == "aio" else {}
        with (
            shop.workload("server") as me,
            shop.workload("caller") as caller,
            shop.server(kind, me, **how) as address,
            Load(caller, address, streams=kind == "aio") as load,
        ):
            workloads = (me, caller)

            def all_trust(number: int) -> bool:
                return all(len(item.credential.bundle.all_roots()) == number for item in workloads)

            assert load.goes_on()
            new = ["new", "--trust-domain", "shop.internal", "--keys", str(commands.roots)]
            assert run(["ca", "root", *new]) == 0
            (root,) = commands.roots.glob("root-*[0-9a-f].pem")
            assert commands.run("ca", "root", "prepare", "--root", str(root)) == 0
            assert commands.sign_and_import() == 0
            assert eventually(lambda: all_trust(2))
            assert load.goes_on()
            assert commands.run("ca", "root", "activate") == 0
            assert load.goes_on()
            for name in NAMES:
                # One after the other, so that for a while the two hang on different roots.
                renewed = ("renew", str(shop.home / name), "--force", "--ttl", "1h")
                assert commands.run(*renewed) == 0
                assert load.goes_on()
            new_issuing = shop.ca.issuers()[3].certificate.subject
            assert eventually(
                lambda: {item.credential.leaf.issuer for item in workloads} == {new_issuing}
            )
            assert commands.run("ca", "root", "withdraw") == 0
            assert commands.sign_and_import() == 1
            assert eventually(lambda: commands.sign_and_import() == 0, seconds=60)
            assert eventually(lambda: all_trust(1))
            assert load.goes_on()
        assert not load.failed, load.failed[:3]
        newest = follow(first, shop.ca.bundles(since=1), now=shop.ca.now())
        assert newest.number == 3
        assert roots_of(shop.home / "caller") == 1
    finally:
        shop.ca.close()
