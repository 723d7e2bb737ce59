"""A port that several processes share: a change of certificate is held by a handshake with us."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import pytest

import pki
from pki.background import flush
from pki.credentials.reload_stats import ReloadResult
from pki.keys import private_key_to_pem
from pki.rpc.server.port_certificate import PortCertificate, _reachable
from pki.rpc.server.port_sharing import is_own_connection, is_shared
from pki.x509.readers import to_pem
from tests.interop.shop import Shop, eventually, free_port

HOST = "127.0.0.1"
# Answers every connection with a byte, as a server's first answer, and keeps it open.
NEIGHBOUR = """
import socket, sys
with socket.socket() as listening:
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listening.bind(("127.0.0.1", int(sys.argv[1])))
    listening.listen(64)
    print("listening", flush=True)
    kept = []
    while True:
        connection, _ = listening.accept()
        connection.sendall(b"x")
        kept.append(connection)
"""
# It never answers anybody.
STOPPED = NEIGHBOUR.partition("    while True")[0] + "    sys.stdin.read()\n"


@contextmanager
def neighbour(port: int, text: str = NEIGHBOUR) -> Iterator[None]:
    with subprocess.Popen(
        [sys.executable, "-c", text, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as running:
        try:
            assert running.stdout is not None
            assert running.stdout.readline() == b"listening\n"
            yield
        finally:
            running.kill()


class Listener:
    """Listens in this process, answers like the neighbours, and knows what is open."""

    def __init__(self, *, shared: bool = True) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
        self.socket.bind((HOST, 0))
        self.socket.listen(64)
        self.port: int = self.socket.getsockname()[1]
        self.accepted: list[socket.socket] = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            connection.sendall(b"x")
            self.accepted.append(connection)

    def still_open(self) -> int:
        """Count the connections whose other end was not closed."""
        found = 0
        for connection in list(self.accepted):
            connection.setblocking(False)
            try:
                while connection.recv(4096):
                    pass
            except BlockingIOError:
                found += 1
            except OSError:
                pass
        return found

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        for item in (self.socket, *self.accepted):
            item.close()


@pytest.fixture
def configurations(tmp_path: Path) -> Iterator[list[grpc.ServerCertificateConfiguration]]:
    shop = Shop(tmp_path)
    with shop.workload("server") as me:
        yield [configuration(me) for _ in range(2)]
    shop.ca.close()


def configuration(me: pki.Workload) -> grpc.ServerCertificateConfiguration:
    own = me.credential
    return grpc.ssl_server_certificate_configuration(
        [(private_key_to_pem(own.key), to_pem(own.chain))], own.bundle.to_pem()
    )


@pytest.mark.parametrize("texts", [[NEIGHBOUR] * 3, [NEIGHBOUR, STOPPED]])
def test_a_change_is_held_by_a_handshake_with_ourselves(
    configurations: list[grpc.ServerCertificateConfiguration], texts: list[str]
) -> None:
    first, second = configurations
    listener = Listener()
    with ExitStack() as stack:
        for text in texts:
            stack.enter_context(neighbour(listener.port, text))
        for _ in range(4):
            port = PortCertificate(first)
            port.bind(f"{HOST}:0", listener.port)
            port.update(second)
            assert eventually(lambda: listener.still_open() == 1)
            port.close()
            assert eventually(lambda: listener.still_open() == 0)
    listener.close()


def test_a_change_waits_for_a_handshake_to_hold_it_and_not_without_end(
    configurations: list[grpc.ServerCertificateConfiguration], caplog: pytest.LogCaptureFixture
) -> None:
    first, second = configurations
    now = [1000.0]
    port = PortCertificate(first, lambda: now[0])
    port.bind(f"{HOST}:0", free_port())  # nobody listens there
    for _ in range(4):
        assert port.update(second) is ReloadResult.REFUSED
        assert port._fetch() is None
        assert "still presents its older certificate" in port.problem
        now[0] += 60
    now[0] += 61
    assert port.update(second) is ReloadResult.CHANGED
    assert not port.problem
    flush()
    assert "without a protecting handshake" in caplog.text
    assert port._fetch() is second


def is_turned_away(number: int) -> bool:
    """Connect as one more; tell whether that is closed at once."""
    with socket.create_connection((HOST, number)) as one_more:
        one_more.settimeout(0.2)
        try:
            return one_more.recv(1) == b""
        except TimeoutError:
            return False
        except ConnectionError:
            return True


def test_a_port_that_takes_no_more_connections_holds_no_change(
    configurations: list[grpc.ServerCertificateConfiguration],
) -> None:
    first, second = configurations
    server = grpc.server(
        ThreadPoolExecutor(1), options=[("grpc.max_allowed_incoming_connections", 1)]
    )
    port = PortCertificate(first)
    number = server.add_secure_port(f"{HOST}:0", port.credentials())
    port.bind(f"{HOST}:0", number)
    server.start()
    with socket.create_connection((HOST, number)) as stranger:
        assert eventually(lambda: is_turned_away(number))
        assert port.update(second) is ReloadResult.REFUSED
        assert port._fetch() is None
        stranger.close()
        assert eventually(lambda: port.update(second) is ReloadResult.CHANGED)
    port.close()
    server.stop(None).wait()


@pytest.mark.parametrize("address", ["[::]:0", "ipv6:[::]:0", "ipv6:[::1]:0", "[::1]:0"])
def test_a_port_on_ipv6_is_reached_by_the_loopback(address: str) -> None:
    assert _reachable(address, 5) == (socket.AF_INET6, ("::1", 5))


def test_a_connection_is_known_to_end_here_or_elsewhere() -> None:
    listener = Listener()
    try:
        with socket.create_connection((HOST, listener.port)) as ours:
            assert ours.recv(1) == b"x"
            assert is_own_connection(ours)
        with socket.socket() as closed:
            closed.bind((HOST, 0))
            number = closed.getsockname()[1]
        with neighbour(number), socket.create_connection((HOST, number)) as theirs:
            assert theirs.recv(1) == b"x"
            assert not is_own_connection(theirs)
    finally:
        listener.close()


def test_a_port_is_known_to_be_shared_or_not() -> None:
    for shared in (True, False):
        listener = Listener(shared=shared)
        assert is_shared(socket.AF_INET, (HOST, listener.port)) is shared
        listener.close()


def test_a_servers_port_is_its_own_unless_it_asks_to_share_it(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    with shop.workload("server") as me:
        for options, wanted in (((), False), ([("grpc.so_reuseport", 1)], True)):
            with shop.sync_server(me, options=options) as target:
                number = int(target.rpartition(":")[2])
                assert is_shared(socket.AF_INET, (HOST, number)) is wanted
    shop.ca.close()
