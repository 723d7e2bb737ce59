"""Doctor about servers that begin TLS on request, within PostgreSQL, MySQL and SMTP."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.interop.seeds import Ca, Scene, scene_in
from tests.interop.test_doctor_found import NAME, Doctor, answer
from tests.unit.tls.test_starttls import EHLO, MARIADB, POSTFIX


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with scene_in(tmp_path) as made:
        yield made


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str]) -> Doctor:
    return Doctor(capsys)


def starttls_server(
    scene: Scene, before: Callable[[socket.socket], None], within: bytes, *, asks: bool = True
) -> str:
    """Run a server that begins TLS after its own protocol, by Python's ssl."""
    home = scene.credential("starttls", scene.ca.leaf())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(home / "chain.pem", home / "key.pem")
    if asks:
        context.load_verify_locations(home / "bundle.pem")
        context.verify_mode = ssl.CERT_REQUIRED

    def take(plain: socket.socket) -> None:
        before(plain)
        with context.wrap_socket(plain, server_side=True) as secure:
            if within and secure.recv(1024):
                secure.sendall(within)
            secure.recv(1024)

    return scene.socket_server(take)


def postgres(plain: socket.socket) -> None:
    assert plain.recv(8) == bytes.fromhex("0000000804d2162f")
    plain.sendall(b"S")


def smtp(plain: socket.socket) -> None:
    for said in (POSTFIX, EHLO, b"220 2.0.0 Ready to start TLS\r\n"):
        plain.sendall(said)
        if not said.startswith(b"220 2"):
            plain.recv(1024)


def mysql(plain: socket.socket) -> None:
    plain.sendall(MARIADB)
    request = plain.recv(36)
    assert (len(request), request[:4]) == (36, b"\x20\0\0\1")


SERVERS = [
    ("postgres", postgres, b"E\0\0\0\5\0"),
    ("smtp", smtp, b"250 2.0.0 Ok\r\n"),
    # A server of MySQL waits for the login; that it goes on is seen by its session tickets.
    ("mysql", mysql, b""),
]


@pytest.mark.parametrize(("protocol", "before", "within"), SERVERS)
def test_a_server_that_begins_tls_on_request_is_examined_within(
    scene: Scene,
    protocol: str,
    before: Callable[[socket.socket], None],
    within: bytes,
    doctor: Doctor,
) -> None:
    target = starttls_server(scene, before, within)
    arguments = ("--credential", scene.caller(), *NAME, "--starttls", protocol)
    code, found = doctor.data(target, *arguments)
    assert (code, found["causes"], found["likely"]) == (0, [], []), found
    assert answer(found, "accepts our certificate")["status"] == "ok"
    checks = {item["check"] for item in found["findings"]}
    assert not checks & {"HTTP/2", "a call by gRPC"}


@pytest.mark.parametrize(("protocol", "before", "within"), SERVERS)
def test_what_is_wrong_within_starttls_is_named(
    scene: Scene,
    protocol: str,
    before: Callable[[socket.socket], None],
    within: bytes,
    doctor: Doctor,
) -> None:
    other = Ca("other")
    caller = scene.caller(other.leaf("caller"), roots=[scene.ca.root, other.root], crls=None)
    target = starttls_server(scene, before, within)
    code, found = doctor.data(target, "--credential", caller, *NAME, "--starttls", protocol)
    assert (code, found["causes"]) == (1, []), found
    assert found["likely"][0] == "unknown-ca", found
    assert "unknown CA" in refusals(found)


@pytest.mark.parametrize(("protocol", "greeting"), [("smtp", POSTFIX), ("mysql", MARIADB)])
def test_a_server_that_speaks_another_protocol_first_is_not_called_plaintext(
    scene: Scene, protocol: str, greeting: bytes, doctor: Doctor
) -> None:
    def take(plain: socket.socket) -> None:
        plain.sendall(greeting)
        plain.recv(1024)

    _, found = doctor.data(scene.socket_server(take), "--credential", scene.caller(), *NAME)
    assert found["causes"] == ["starttls-required"], found
    assert f"--starttls {protocol}" in answer(found, "TLS")["remedy"]


def test_a_server_that_declines_tls_is_the_cause(scene: Scene, doctor: Doctor) -> None:
    def take(plain: socket.socket) -> None:
        plain.recv(8)
        plain.sendall(b"N")

    target = scene.socket_server(take)
    code, found = doctor.data(target, *NAME, "--starttls", "postgres")
    assert (code, found["causes"]) == (1, ["starttls-refused"]), found


def refusals(found: dict[str, list[dict[str, str]]]) -> str:
    checks = [item for item in found["findings"] if item["check"] == "accepts our certificate"]
    return "; ".join(item["message"] for item in checks)
