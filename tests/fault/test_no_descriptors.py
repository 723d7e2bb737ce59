"""Revocation counts also while every file descriptor is used up, whoever holds them."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from pki.errors import StateError
from pki.files import read_bounded
from pki.files.descriptor_reserve import DESCRIPTOR_RESERVE, DescriptorReserve
from tests.interop.shop import SECONDS, Shop, eventually, get_stock, reason, revoke, soon, watch

FILE = Path(__file__).with_name("server_of_few_descriptors.py")
FEW = 256


class Server:
    """The server in its process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.address = f"127.0.0.1:{self.line()}"

    def line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def ask(self, words: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(words + "\n")
        self._process.stdin.flush()
        return self.line()


@contextlib.contextmanager
def serving(shop: Shop, kind: str) -> Iterator[Server]:
    words = [sys.executable, str(FILE), kind, str(shop.directory("server")), str(shop.policy)]
    with subprocess.Popen(
        [*words, str(FEW)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": "."},
    ) as process:
        try:
            yield Server(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(SECONDS) == 0


def open_idle(address: str, count: int) -> list[socket.socket]:
    """Open connections that say nothing, as a stranger does."""
    host, port = address.split(":")
    opened = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            opened.append(socket.create_connection((host, int(port)), timeout=1))
    return opened


def is_refused(channel: grpc.Channel, wanted: str) -> bool:
    try:
        get_stock(channel)
    except grpc.RpcError as error:
        return reason(error) == wanted
    return False


@pytest.mark.parametrize("kind", ["aio", "sync"])
def test_strangers_who_open_connections_switch_no_revocation_off(shop: Shop, kind: str) -> None:
    with (
        serving(shop, kind) as server,
        shop.workload("caller") as caller,
        caller.sync_channel(server.address, peer="server") as channel,
    ):
        stream = watch(channel)
        idle = open_idle(server.address, 600)
        try:
            assert get_stock(channel) > 0
            revoke(shop, "caller")
            assert eventually(lambda: is_refused(channel, "CERTIFICATE_REVOKED"))
            with pytest.raises(grpc.RpcError):
                list(stream)
        finally:
            for item in idle:
                item.close()


@pytest.mark.parametrize("kind", ["aio", "sync"])
def test_files_are_read_where_no_descriptor_is_left(shop: Shop, kind: str) -> None:
    with (
        serving(shop, kind) as server,
        shop.workload("caller") as caller,
        caller.sync_channel(server.address, peer="server") as channel,
    ):
        assert get_stock(channel) > 0
        assert int(server.ask("use-up")) > FEW / 2
        assert get_stock(channel) > 0, "connections that are open are served"
        shop.write_policy(shop.policy.read_text().replace('"/shop.v1.Inventory/*", ', ""))
        assert soon(channel, "METHOD_NOT_GRANTED"), "a new policy counts"
        revoke(shop, "caller")
        assert soon(channel, "CERTIFICATE_REVOKED"), "a new list counts"
        assert server.ask("problems") == "[]"


def test_a_stranger_who_never_finishes_a_handshake_is_cut_off(shop: Shop) -> None:
    with serving(shop, "aio") as server:
        host, port = server.address.split(":")
        # gRPC's own bound is two minutes, ours ten seconds.
        with socket.create_connection((host, int(port)), timeout=5 * SECONDS) as idle:
            assert idle.recv(1) == b"", "the server has closed it"


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(item) for item in os.listdir("/dev/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 8, hard))
    held = []
    try:
        with contextlib.suppress(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for item in held:
            os.close(item)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_file_is_read_whole_by_the_last_resort(tmp_path: Path) -> None:
    path = tmp_path / "liste \u00e4 $(x) \n.pem"
    path.write_bytes(os.urandom(3_000_000))
    path.chmod(0o640)
    DESCRIPTOR_RESERVE.reserve()
    with no_descriptors():
        found = read_bounded(path, max_bytes=4_000_000)
    assert found == (path.read_bytes(), 0o640)


def test_the_last_resort_refuses_what_is_always_refused(tmp_path: Path) -> None:
    big, pipe, gone = tmp_path / "big", tmp_path / "pipe", tmp_path / "gone"
    big.write_bytes(bytes(100))
    os.mkfifo(pipe)
    DESCRIPTOR_RESERVE.reserve()
    with no_descriptors():
        with pytest.raises(StateError):
            read_bounded(big, max_bytes=99)
        with pytest.raises(StateError):
            read_bounded(pipe, max_bytes=99)
        with pytest.raises(FileNotFoundError):
            read_bounded(gone, max_bytes=99)
        assert read_bounded(big, max_bytes=100)[0] == bytes(100), "nothing is left in the pipe"


def test_without_a_last_resort_nothing_is_read_and_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    none = DescriptorReserve()
    with no_descriptors(), pytest.raises(OSError, match="Too many open files"):
        none.read(path, 1)


def test_a_directory_that_is_gone_refuses_everybody_after_its_grace(shop: Shop) -> None:
    folder, aside = shop.directory("server"), shop.home / "aside"
    with (
        shop.workload("server", read_grace=timedelta(seconds=1)) as me,
        shop.sync_server(me) as address,
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
    ):
        assert get_stock(channel) > 0
        folder.rename(aside)
        assert get_stock(channel) > 0
        assert soon(channel, "REVOCATION_STALE")
        assert any("could not be read" in item for item in me.problems)
        shutil.copytree(aside, folder)
        assert soon(channel, "ALLOWED")
        assert eventually(lambda: not me.problems)


@pytest.mark.parametrize("kind", ["aio", "sync"])
def test_a_policy_that_cant_be_read_refuses_everybody_after_its_grace(
    shop: Shop, kind: str
) -> None:
    with (
        shop.workload("server", read_grace=timedelta(seconds=1)) as me,
        shop.server(kind, me) as address,
        shop.workload("caller") as caller,
        caller.sync_channel(address, peer="server") as channel,
    ):
        assert get_stock(channel) > 0
        text = shop.policy.read_text()
        shop.policy.unlink()
        shop.policy.symlink_to(shop.policy.name)  # to itself: it can't be opened, and is there
        assert soon(channel, "POLICY_UNAVAILABLE")
        assert any("can't be read" in item for item in me.problems)
        shop.policy.unlink()
        shop.policy.write_text(text)
        assert soon(channel, "ALLOWED")
