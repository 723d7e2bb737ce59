"""A page over mutual TLS: who has the role reads it, and nobody else."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

import pki
from pki.authority import Authority
from pki.web import Page, PageServer
from tests.served_process import handfast, running

POLICY = """\
trust_domain = "shop.internal"

[roles]
monitoring = ["spiffe://shop.internal/prometheus"]

[[grant]]
role = "monitoring"
methods = ["/handfast.v1.Metrics/Read"]
"""


LARGE = b"".join(b"line_%d 1\n" % number for number in range(50_000))


@dataclass
class Shown:
    ca: Authority
    folder: Path
    port: int
    content: bytes = b"up 1\n"


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Shown]:
    (tmp_path / "policy.toml").write_text(POLICY)
    with ExitStack() as stack:
        ca = stack.enter_context(Authority.ephemeral("shop.internal"))
        for name in ("server", "prometheus", "payments"):
            ca.issue(name).save(tmp_path / name)
        me = stack.enter_context(
            pki.Workload.from_directory(tmp_path / "server", policy=tmp_path / "policy.toml")
        )
        page = Page("/metrics", "/handfast.v1.Metrics/Read", "text/plain", lambda: made.content)
        access = me.access_control()
        server = PageServer("127.0.0.1", 0, lambda: me.credential, access.authorize, page)
        made = Shown(ca, tmp_path, server.port)
        server.start()
        stack.callback(server.stop)
        yield made


def context_of(folder: Path, credential: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(folder / "server" / "bundle.pem"))
    if credential is not None:
        context.load_cert_chain(credential / "chain.pem", credential / "key.pem")
    return context


@contextmanager
def connected(shown: Shown, name: str | None) -> Iterator[ssl.SSLSocket]:
    context = context_of(shown.folder, None if name is None else shown.folder / name)
    with socket.create_connection(("127.0.0.1", shown.port), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname="server.shop.internal") as tls:
            yield tls


def ask(
    shown: Shown, name: str | None = "prometheus", request: bytes = b"GET /metrics HTTP/1.1\r\n"
) -> tuple[int, bytes]:
    with connected(shown, name) as tls:
        tls.sendall(request + b"Host: x\r\n\r\n")
        answer = http.client.HTTPResponse(tls)
        answer.begin()
        return answer.status, answer.read()


def test_who_has_the_role_reads_it_again_and_again(shown: Shown) -> None:
    for _ in range(3):
        assert ask(shown) == (200, b"up 1\n")
    assert ask(shown, request=b"GET /metrics?name=up HTTP/1.1\r\n")[0] == 200


def test_a_page_of_any_size_is_sent_whole(shown: Shown) -> None:
    for size in (16_384, 16_385, len(LARGE)):
        shown.content = LARGE[:size]
        assert ask(shown) == (200, LARGE[:size])


def test_others_are_refused_with_a_reason(shown: Shown) -> None:
    status, body = ask(shown, "payments")
    assert (status, body.split(b":")[0]) == (403, b"NO_ROLE")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        ask(shown, None)
    with Authority.ephemeral("shop.internal") as other:
        other.issue("prometheus").save(shown.folder / "foreign")
        status, body = ask(shown, "foreign")
    assert status == 403
    assert b"up" not in body


def test_a_revoked_reader_is_refused_within_a_second(shown: Shown) -> None:
    assert ask(shown)[0] == 200
    with pki.Workload.from_directory(shown.folder / "prometheus") as reader:
        shown.ca.revoke(reader.credential.leaf.serial_number)
    (shown.folder / "server" / "crl.pem").write_bytes((shown.ca.path / "crl.pem").read_bytes())
    end = time.monotonic() + 10
    while ask(shown)[0] == 200 and time.monotonic() < end:
        time.sleep(0.05)
    status, body = ask(shown)
    assert (status, body.split(b":")[0]) == (403, b"CERTIFICATE_REVOKED")


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET / HTTP/1.1\r\n", 404),
        (b"GET /metrics/../etc/passwd HTTP/1.1\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\n", 400),
        (b"GET\r\n", 400),
        (b"\x16\x03\x01 x\r\n", 400),
        (b"GET /metrics HTTP/9.9\r\n", 400),
    ],
)
def test_other_requests_get_an_error(shown: Shown, request_line: bytes, status: int) -> None:
    assert ask(shown, request=request_line)[0] == status


def test_a_head_without_an_end_is_cut_off(shown: Shown) -> None:
    def send_on(tls: ssl.SSLSocket) -> None:
        while True:
            tls.sendall(b"X-Long: " + b"x" * 4096 + b"\r\n")
            time.sleep(0.001)

    with connected(shown, "prometheus") as tls, pytest.raises((ConnectionError, ssl.SSLError)):
        send_on(tls)
    assert ask(shown)[0] == 200


def test_those_who_hang_or_speak_no_tls_hold_up_nobody_for_long(shown: Shown) -> None:
    with ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(socket.create_connection(("127.0.0.1", shown.port), timeout=10))
        plain = stack.enter_context(socket.create_connection(("127.0.0.1", shown.port), timeout=10))
        plain.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert b"up 1" not in plain.recv(1000)
        assert ask(shown)[0] == 200


def test_callers_without_the_role_keep_nobody_out(shown: Shown) -> None:
    """They have shaken hands, and then say nothing."""
    with ExitStack() as stack:
        for _ in range(24):
            with suppress(OSError):
                stack.enter_context(connected(shown, "payments"))
        assert ask(shown)[0] == 200


def test_a_session_is_not_resumed(shown: Shown) -> None:
    with connected(shown, "prometheus") as tls:
        tls.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert tls.recv(1000).startswith(b"HTTP/1.1 200")
        session = tls.session
    context = tls.context
    with socket.create_connection(("127.0.0.1", shown.port), timeout=10) as plain:
        with context.wrap_socket(
            plain, server_hostname="server.shop.internal", session=session
        ) as again:
            again.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            assert again.recv(1000).startswith(b"HTTP/1.1 200")
            assert not again.session_reused


def test_a_served_ca_and_an_agent_show_their_metrics_to_a_role_alone(tmp_path: Path) -> None:
    handfast(tmp_path, "ca", "init", "--trust-domain", "shop.internal")
    (tmp_path / "ca" / "policy.toml").write_text(POLICY)
    (tmp_path / "policy.toml").write_text(POLICY)
    serve = ("ca", "serve", "--listen=127.0.0.1:0", "--enroll-listen=127.0.0.1:0")
    with running(tmp_path, *serve, "--metrics=0.0.0.0:0", name="ca") as ca:
        page = ca.line("Metrics at ").removeprefix("Metrics at ")
        for name in ("orders", "prometheus"):
            handfast(tmp_path, "registration", "create", name)
            token = handfast(tmp_path, "token", "create", name).stdout.strip()
            handfast(tmp_path, "enroll", token, "--out", str(tmp_path / name))
        agent = ("agent", str(tmp_path / "orders"), "--metrics=0.0.0.0:0")
        with running(
            tmp_path, *agent, f"--metrics-policy={tmp_path / 'policy.toml'}", name="agent"
        ) as kept:
            own = kept.line("Metrics at ").removeprefix("Metrics at ")
            for address, metric in ((page, "handfast_ca_followers"), (own, "handfast_agent_dir")):
                assert address.startswith("https://0.0.0.0:")
                url = address.replace("0.0.0.0", "127.0.0.1")
                assert metric in read(url, tmp_path, "prometheus")
                with pytest.raises(urllib.error.HTTPError, match="403"):
                    read(url, tmp_path, "orders")
        refused = handfast(tmp_path, *agent)
        assert refused.returncode != 0
        assert "--metrics-policy" in refused.stderr


def read(url: str, folder: Path, name: str) -> str:
    context = ssl.create_default_context(cafile=str(folder / name / "bundle.pem"))
    context.load_cert_chain(folder / name / "chain.pem", folder / name / "key.pem")
    # The name is not that of this machine: the certificate's chain is what counts here.
    context.check_hostname = False
    with urllib.request.urlopen(url, timeout=20, context=context) as answer:
        text: bytes = answer.read()
    return text.decode()
