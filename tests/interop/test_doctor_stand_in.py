"""``handfast doctor --stand-in``: who came, and what the real server would have said of each."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from OpenSSL import SSL

from pki.cli.app import run
from tests.interop.seeds import (
    HOUR,
    SERVER_ONLY,
    Ca,
    Made,
    Scene,
    ca_usage,
    named,
    pem,
    scene_in,
    sign,
)

COMMAND = str(Path(sys.executable).with_name("handfast"))
POLICY = """
trust_domain = "seed.internal"
[roles]
caller = ["spiffe://seed.internal/caller"]
[[grant]]
role = "caller"
methods = ["/seed.v1.Seed/Get"]
"""


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with scene_in(tmp_path) as made:
        yield made


class StandingIn:
    """A stand-in in a process of its own, and the lines that it writes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.target = f"127.0.0.1:{self.line()['port']}"

    def line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def line_of(self, name: str) -> dict[str, Any]:
        """Return the next line of a caller by its name: one may have tried again."""
        while True:
            line = self.line()
            if f"CN={name}.seed.internal" in line["chain"]:
                return line


@contextlib.contextmanager
def standing_in(scene: Scene, *more: str, **how: Any) -> Iterator[StandingIn]:
    folder = scene.credential("server", scene.ca.leaf(), **how)
    arguments = ["doctor", "--stand-in", "0", "--credential", str(folder), "--json", *more]
    with subprocess.Popen([COMMAND, *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield StandingIn(process)
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0


def call(target: str, made: Made | None, roots: bytes) -> grpc.RpcError:
    """Make a call as a caller of bare gRPC does."""
    credentials = (
        grpc.ssl_channel_credentials(roots)
        if made is None
        else grpc.ssl_channel_credentials(roots, made.key_pem, made.chain_pem)
    )
    options = [("grpc.ssl_target_name_override", "server.seed.internal")]
    with grpc.secure_channel(target, credentials, options) as channel:
        get: Any = channel.unary_unary("/seed.v1.Seed/Get")
        with pytest.raises(grpc.RpcError) as caught:
            get(b"", timeout=5)
        return caught.value


def make_handshake(context: SSL.Context, target: str) -> None:
    """Shake hands as OpenSSL does, to a failure."""
    host, _, port = target.rpartition(":")
    with socket.create_connection((host, int(port))) as plain:
        connection = SSL.Connection(context, plain)
        connection.set_connect_state()
        with pytest.raises(SSL.Error):
            connection.do_handshake()


def test_a_good_caller_is_told_by_its_name_and_would_be_accepted(scene: Scene) -> None:
    with standing_in(scene) as there:
        call(there.target, scene.ca.leaf("caller"), pem([scene.ca.root]))
        line = there.line()
    assert line["event"] == "caller"
    assert line["outcome"] == "accepted", line
    assert line["server_name"] == "server.seed.internal"
    assert line["address"].startswith("127.0.0.1:")
    assert line["chain"] == ["CN=caller.seed.internal", "CN=seed issuing"]
    assert "spiffe://seed.internal/caller" in json.dumps(line["findings"])


def expired(scene: Scene) -> Made:
    return scene.ca.leaf("caller", begin=-2 * HOUR, end=-HOUR)


def of_another_ca(_: Scene) -> Made:
    return Ca("other").leaf("caller")


def without_its_intermediate(scene: Scene) -> Made:
    made = scene.ca.leaf("caller")
    return Made(made.key, made.chain[:1])


def for_servers_alone(scene: Scene) -> Made:
    return scene.ca.leaf("caller", usage=SERVER_ONLY)


def with_none(_: Scene) -> None:
    return None


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (expired, "expired"),
        (of_another_ca, "unknown-ca"),
        (without_its_intermediate, "incomplete-chain"),
        (for_servers_alone, "wrong-usage"),
        (with_none, "no-client-certificate"),
    ],
)
def test_why_the_server_would_refuse_a_caller_is_told(
    scene: Scene, make: Callable[[Scene], Made | None], cause: str
) -> None:
    with standing_in(scene) as there:
        call(there.target, make(scene), pem([scene.ca.root]))
        line = there.line()
    assert line["outcome"] == "refused"
    assert [*line["causes"], *line["likely"]][0] == cause, line
    assert line["causes"] == [cause], line
    assert not line["likely"], line


def test_a_caller_of_another_ca_is_told_surely_under_a_root_without_a_limit(scene: Scene) -> None:
    constraints: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=True, path_length=None), True),
        (ca_usage(), True),
    ]
    key = scene.ca.root_key
    root = sign(named("wide root"), key.public_key(), None, key, constraints)
    with standing_in(scene, roots=[root]) as there:
        call(there.target, of_another_ca(scene), pem([scene.ca.root]))
        line = there.line()
    assert (line["causes"], line["likely"]) == (["unknown-ca"], []), line


def test_a_revoked_caller_is_told_by_the_servers_list(scene: Scene) -> None:
    caller = scene.ca.leaf("caller")
    with standing_in(scene, crls=scene.ca.crls([caller.chain[0]])) as there:
        call(there.target, caller, pem([scene.ca.root]))
        assert there.line()["causes"] == ["revoked"]


def test_a_grpc_caller_that_refuses_the_server_leaves_and_the_causes_are_ranked(
    scene: Scene,
) -> None:
    with standing_in(scene) as there:
        call(there.target, scene.ca.leaf("caller"), pem([Ca("other").root]))
        line = there.line()
    assert line["outcome"] == "left"
    assert not line["causes"]
    assert line["likely"] == ["unknown-ca"]


def test_a_server_by_another_name_is_likely_what_a_caller_left_for(scene: Scene) -> None:
    folder = scene.credential("other", scene.ca.leaf("other"))
    with standing_in(scene, "--credential", str(folder)) as there:
        call(there.target, scene.ca.leaf("caller"), pem([scene.ca.root]))
        line = there.line()
    assert line["outcome"] == "left"
    assert line["likely"][0] == "wrong-name"


def test_an_openssl_caller_that_refuses_the_server_says_so_by_its_alert(scene: Scene) -> None:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_verify(SSL.VERIFY_PEER)
    with standing_in(scene) as there:
        make_handshake(context, there.target)
        line = there.line()
    assert line["outcome"] == "left"
    # OpenSSL has this alert for other faults too.
    assert not line["causes"], line
    assert line["likely"][0] == "unknown-ca", line
    assert "it refuses the server's certificate with the alert" in json.dumps(line)


@pytest.mark.parametrize("kind", ["grpc", "openssl"])
def test_a_stale_list_of_the_servers_own_is_not_what_a_caller_refuses_it_for(
    scene: Scene, kind: str
) -> None:
    with standing_in(scene, crls=scene.ca.crls(end=-HOUR)) as there:
        if kind == "grpc":
            call(there.target, scene.ca.leaf("caller"), pem([Ca("other").root]))
        else:
            context = SSL.Context(SSL.TLS_CLIENT_METHOD)
            context.set_verify(SSL.VERIFY_PEER)
            make_handshake(context, there.target)
        line = there.line()
    assert not line["causes"], line
    assert line["likely"][0] == "unknown-ca", line
    assert "stale-crl" not in line["likely"], line


def test_the_policy_says_what_the_caller_may_do(scene: Scene) -> None:
    policy = scene.home / "policy.toml"
    policy.write_text(POLICY)
    with standing_in(scene, "--policy", str(policy), "--method", "/seed.v1.Seed/Put") as there:
        call(there.target, scene.ca.leaf("caller"), pem([scene.ca.root]))
        assert there.line()["causes"] == ["not-granted"]
        call(there.target, scene.ca.leaf("stranger"), pem([scene.ca.root]))
        assert there.line_of("stranger")["causes"] == ["no-role"]


def test_bytes_of_anything_are_told_shown_and_never_obeyed(scene: Scene) -> None:
    hostile = [
        b"GET /\x1b[2J HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\xff\xff" + b"\0" * 70000,
        b"\xff" * 4096,
    ]
    host = ("127.0.0.1",)
    with standing_in(scene) as there:
        address = (*host, int(there.target.rpartition(":")[2]))
        for data in hostile:
            with socket.create_connection(address) as plain:
                with contextlib.suppress(OSError):
                    plain.sendall(data)
                    plain.shutdown(socket.SHUT_WR)
                line = there.line()
            assert line["outcome"] == "left", (data[:20], line)
            assert "\x1b" not in json.dumps(line, ensure_ascii=False)
        with socket.create_connection(address):
            pass
        assert there.line()["causes"] == []
        call(there.target, scene.ca.leaf("caller"), pem([scene.ca.root]))
        assert there.line()["outcome"] == "accepted"


def test_one_that_stands_still_keeps_nobody_waiting(scene: Scene) -> None:
    with standing_in(scene) as there:
        address = ("127.0.0.1", int(there.target.rpartition(":")[2]))
        with contextlib.ExitStack() as stack:
            for _ in range(8):
                stack.enter_context(socket.create_connection(address))
            call(there.target, scene.ca.leaf("caller"), pem([scene.ca.root]))
            assert there.line()["outcome"] == "accepted"


def test_it_ends_after_so_many_callers_and_tells_people_in_words(scene: Scene) -> None:
    folder = scene.credential("server", scene.ca.leaf())
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = ["doctor", "--stand-in", str(port), "--credential", str(folder), "--callers", "1"]
    with subprocess.Popen([COMMAND, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        # One that only tries the port is no caller yet.
        with socket.create_connection(("127.0.0.1", port)):
            pass
        call(f"127.0.0.1:{port}", expired(scene), pem([scene.ca.root]))
        told = process.stdout.read()
        assert process.wait(20) == 0
    assert first.startswith(f"listening at 127.0.0.1:{port} in the server's place")
    assert "'CN=caller.seed.internal' would be refused" in told
    assert "'CN=caller.seed.internal' <- 'CN=seed issuing'" in told
    assert "cause: " in told
    assert "(expired)" in told
    assert "Remedy: " in told


@pytest.mark.parametrize("where", ["x", "-1", "70000", "localhost:", "\uff11\uff12"])
def test_a_port_that_is_none_is_refused(
    scene: Scene, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = scene.credential("server", scene.ca.leaf())
    code = run(["doctor", f"--stand-in={where}", "--credential", str(folder)])
    assert code == 3
    assert "names no port" in capsys.readouterr().err


def test_a_port_that_is_taken_or_an_address_that_is_not_ours_is_refused(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = scene.credential("server", scene.ca.leaf())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for where in (str(port), f"192.0.2.1:{port}", "no-such-host.invalid:1"):
            assert run(["doctor", "--stand-in", where, "--credential", str(folder)]) == 3, where
            assert "can't be listened on" in capsys.readouterr().err


def test_a_stand_in_without_a_whole_credential_is_refused(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", "--stand-in", "0"]) == 3
    assert "needs the server's credential" in capsys.readouterr().err
    folder = scene.credential("server", scene.ca.leaf(), key=b"torn")
    assert run(["doctor", "--stand-in", "0", "--credential", str(folder)]) == 3
    assert "can't be presented" in capsys.readouterr().err
    assert run(["doctor", "x:1", "--stand-in", "0", "--credential", str(folder)]) == 2


def test_an_old_version_of_tls_is_told(scene: Scene) -> None:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    context.set_min_proto_version(SSL.TLS1_VERSION)
    context.set_max_proto_version(SSL.TLS1_1_VERSION)
    with standing_in(scene) as there:
        make_handshake(context, there.target)
        line = there.line()
    assert line["outcome"] == "left"
    assert line["causes"] == ["protocol-version"]
