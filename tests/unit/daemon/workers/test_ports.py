"""Ports that are kept for the workers of one CA: nobody else gets one."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from pki.daemon.workers.ports import reserve_ports
from pki.errors import InputError, StateError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers need Linux")
HOST = "127.0.0.1"


@contextmanager
def reserved(address: str = f"{HOST}:0") -> Iterator[str]:
    with ExitStack() as stack:
        yield reserve_ports(stack, {"--listen": address})["--listen"]


@contextmanager
def listening(address: str, *options: int) -> Iterator[socket.socket]:
    with socket.socket() as made:
        for option in options:
            made.setsockopt(socket.SOL_SOCKET, option, 1)
        made.bind((HOST, int(address.rpartition(":")[2])))
        made.listen(64)
        yield made


def test_workers_share_it_and_get_all_connections() -> None:
    shared = (socket.SO_REUSEADDR, socket.SO_REUSEPORT)
    with (
        reserved() as address,
        listening(address, *shared) as one,
        listening(address, *shared) as two,
        ExitStack() as stack,
    ):
        for _ in range(32):
            stack.enter_context(socket.create_connection(one.getsockname(), timeout=30))
        accepted = 0
        for worker in (one, two):
            worker.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    stack.enter_context(worker.accept()[0])
                    accepted += 1
        assert accepted == 32


@pytest.mark.parametrize("options", [(), (socket.SO_REUSEADDR,)])
def test_no_other_server_gets_it_before_or_after_the_workers_listen(
    options: tuple[int, ...],
) -> None:
    with reserved() as address:
        with pytest.raises(OSError, match="in use"), listening(address, *options):
            pass
        with (
            listening(address, socket.SO_REUSEPORT),
            pytest.raises(OSError, match="in use"),
            listening(address, *options),
        ):
            pass
    with listening(address, socket.SO_REUSEADDR):
        pass


def test_no_other_service_reserves_it() -> None:
    with reserved() as address:
        for _ in range(2):
            with (
                pytest.raises(StateError, match=r"can't listen on 127\.0\.0\.1") as caught,
                reserved(address),
            ):
                pass
        assert "--listen" in caught.value.remedy


def test_a_port_that_somebody_listens_on_is_not_reserved() -> None:
    shared = (socket.SO_REUSEADDR, socket.SO_REUSEPORT)
    with (
        listening(":0", *shared) as other,
        pytest.raises(StateError, match="can't listen"),
        reserved(f"{HOST}:{other.getsockname()[1]}"),
    ):
        pass


@pytest.mark.parametrize("address", ["unix:/run/ca.sock", "unix-abstract:ca", "ca.internal"])
def test_what_is_no_port_can_t_be_shared(address: str) -> None:
    with pytest.raises(InputError, match="can't be shared"), reserved(address):
        pass
