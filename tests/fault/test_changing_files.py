"""What happens to the files of a workload that runs: replaced without end, torn, gone, back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from cryptography import x509

import pki
from pki.files import save_credential
from pki.files.layouts import layout_named
from pki.x509 import Credential
from pki.x509.readers import to_pem
from tests.interop.load import Load
from tests.interop.shop import Shop, ended, eventually, get_stock, reason, refused, watch

PER_SECOND = 200
WRITES = 800
COUNT = 8
WRITER = str(Path(__file__).parent / "replace_files.py")


def credentials(shop: Shop, name: str, count: int = COUNT) -> list[Credential]:
    return [shop.ca.issue(name).credential for _ in range(count)]


def files_of(shop: Shop, name: str, made: Credential) -> dict[str, bytes]:
    """Return the files of a credential, as another tool would write them."""
    folder = shop.home / f"made-{made.leaf.serial_number:x}"
    save_credential(made, folder)
    names = ("key.pem", "chain.pem", "bundle.pem", "crl.pem")
    found = {item: (folder / item).read_bytes() for item in names}
    shutil.rmtree(folder)
    return found


def begin_with_link(folder: Path, files: dict[str, bytes]) -> None:
    first = folder / "..first"
    first.mkdir()
    (folder / "..data").symlink_to(first.name)
    for name, data in files.items():
        (first / name).write_bytes(data)
        (first / name).chmod(0o600)
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(Path("..data") / name)


@pytest.mark.parametrize("way", ["in-place", "rename", "swap-link"])
def test_files_replaced_two_hundred_times_a_second_fail_no_call(shop: Shop, way: str) -> None:
    made = {name: credentials(shop, name) for name in ("server", "caller")}
    orders = []
    for name, found in made.items():
        prepared = [files_of(shop, name, credential) for credential in found]
        if way == "swap-link":
            begin_with_link(shop.home / name, prepared[0])
        for turn, files in enumerate(prepared):
            folder = shop.home / f"prepared-{name}-{turn}"
            folder.mkdir()
            for file, data in files.items():
                (folder / file).write_bytes(data)
        orders += [str(shop.home / name), str(shop.home / f"prepared-{name}-")]
    with (
        shop.workload("server") as me,
        shop.workload("caller") as caller,
        shop.aio_server(me) as address,
        Load(caller, address) as load,
    ):
        # A process of its own, without coverage: threads of this one would slow the writer down.
        calls = load.calls
        subprocess.run(
            [sys.executable, "-I", "-S", WRITER, way, str(PER_SECOND), str(WRITES), *orders],
            check=True,
        )
        assert load.calls > calls
        last = (WRITES - 1) % COUNT
        assert eventually(lambda: me.credential.leaf == made["server"][last].leaf)
        assert eventually(lambda: caller.credential.leaf == made["caller"][last].leaf)
        assert load.goes_on()
    assert not load.failed, load.failed[:3]


def test_a_source_that_is_gone_is_told_and_the_last_credential_goes_on(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        shop.workload("server") as me,
        shop.workload("caller") as caller,
        shop.aio_server(me) as address,
        Load(caller, address) as load,
    ):
        for name, workload in (("server", me), ("caller", caller)):
            old = workload.credential
            (shop.home / name).rename(shop.home / f"{name}-away")
            workload.reload()
            assert load.goes_on()
            assert workload.credential == old
            assert "the one in use is kept" in caplog.text
            caplog.clear()
            fresh = shop.ca.issue(name)
            fresh.save(shop.home / f"{name}-away")
            (shop.home / f"{name}-away").rename(shop.home / name)
            assert eventually(lambda: workload.credential.leaf == fresh.leaf)  # noqa: B023
            assert load.goes_on()
    assert not load.failed, load.failed[:3]


@pytest.mark.parametrize("name", ["key.pem", "chain.pem", "bundle.pem"])
def test_a_file_that_is_gone_or_empty_or_another_changes_nothing(
    shop: Shop, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = shop.home / "server" / name
    good = path.read_bytes()
    with (
        shop.workload("server") as me,
        shop.workload("caller") as caller,
        shop.aio_server(me) as address,
        Load(caller, address) as load,
    ):
        before = me.credential
        for bad in (None, b"", b"\0" * 100, good[: len(good) // 2], good + good[:40]):
            if bad is None:
                path.unlink()
            else:
                path.write_bytes(bad)
                path.chmod(0o600)
            me.reload()
            assert me.credential == before
            assert load.goes_on(5)
        assert "the one in use is kept" in caplog.text
        path.write_bytes(good)
        path.chmod(0o600)
        me.reload()
        assert me.credential == before
    assert not load.failed, load.failed[:3]


def break_the_key(folder: Path) -> None:
    (folder / "key.pem").write_bytes(b"")


def open_the_key_to_others(folder: Path) -> None:
    (folder / "key.pem").chmod(0o644)


def cut_the_chain(folder: Path) -> None:
    (folder / "chain.pem").write_bytes((folder / "chain.pem").read_bytes()[:200])


def remove_the_key(folder: Path) -> None:
    (folder / "key.pem").unlink()


@pytest.mark.parametrize(
    "harm", [break_the_key, open_the_key_to_others, cut_the_chain, remove_the_key]
)
def test_what_is_revoked_counts_though_the_rest_cant_be_read(
    shop: Shop, harm: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    with (
        shop.workload("server") as me,
        shop.workload("caller") as caller,
        shop.aio_server(me) as address,
        caller.sync_channel(address, peer="server") as channel,
    ):
        stream, before = watch(channel), me.credential
        assert before.crls is not None
        harm(shop.home / "server")
        me.reload()
        assert "the one in use is kept" in caplog.text
        leaf = caller.credential.leaf
        shop.ca.revoke(leaf.serial_number, reason="key-compromise")
        shop.bring_trust()
        assert ended(stream) == "CERTIFICATE_REVOKED"
        assert refused(lambda: get_stock(channel)) == "CERTIFICATE_REVOKED"
        assert me.credential.leaf == before.leaf
        (shop.home / "server" / "crl.pem").write_bytes(to_pem(crls_in(before)))
        me.reload()
        assert refused(lambda: get_stock(channel)) == "CERTIFICATE_REVOKED", "nobody goes back"


def crls_in(credential: Credential) -> list[x509.CertificateRevocationList]:
    assert credential.crls is not None
    return [item.crl for item in credential.crls.crls.values()]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_files_that_may_not_be_read_change_nothing(shop: Shop) -> None:
    with shop.workload("server") as me:
        before = me.credential
        (shop.home / "server" / "chain.pem").chmod(0)
        me.reload()
        assert me.credential == before


def test_an_hour_back_and_an_hour_forward_refuse_and_come_back(shop: Shop) -> None:
    for name in ("server", "caller"):
        shop.ca.issue(name).save(shop.home / name)
    with (
        shop.workload("server", shifted=True) as me,
        shop.workload("caller", shifted=True) as caller,
        shop.aio_server(me) as address,
        caller.sync_channel(address, peer="server") as channel,
    ):

        def answer() -> str:
            try:
                get_stock(channel)
            except grpc.RpcError as error:
                return reason(error)
            return "ALLOWED"

        assert answer() == "ALLOWED"
        for hours in (2, -2):
            shop.clock.move(hours=hours)
            assert eventually(lambda: answer() not in {"ALLOWED", "UNAVAILABLE"})
            shop.clock.move(hours=-hours)
            assert eventually(lambda: answer() == "ALLOWED")


def test_every_layout_is_followed_under_load(shop: Shop) -> None:
    for name in ("kubernetes", "spiffe-helper", "spire", "certbot", "spiffe-files"):
        layout = layout_named(name)
        folder = shop.home / name
        save_credential(shop.ca.issue("caller").credential, folder, layout=layout)
        with (
            shop.workload("server") as me,
            pki.Workload.from_directory(folder, policy=shop.policy) as caller,
            shop.aio_server(me) as address,
            Load(caller, address) as load,
        ):
            fresh = shop.ca.issue("caller").credential
            writing = threading.Thread(
                target=save_credential, args=(fresh, folder), kwargs={"layout": layout}
            )
            writing.start()
            writing.join()
            assert eventually(lambda: caller.credential.leaf == fresh.leaf)  # noqa: B023
            assert load.goes_on()
        assert not load.failed, (name, load.failed[:3])
