"""Error texts as the libraries here write them, from real failures: ``explain`` knows each."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from pki.failures import recognise
from tests.interop.seeds import HOUR, SERVER_ONLY, Ca, Made, Scene, pem, scene_in

GRPC_SERVER = """
import sys, grpc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
home = Path(sys.argv[1])
read = lambda name: (home / name).read_bytes()
server = grpc.server(ThreadPoolExecutor(2))
credentials = grpc.ssl_server_credentials(
    [(read("key.pem"), read("chain.pem"))], read("bundle.pem"), True)
print(server.add_secure_port("127.0.0.1:0", credentials), flush=True)
server.start()
sys.stdin.read()
"""


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with scene_in(tmp_path) as made:
        yield made


def slugs(text: str) -> list[str]:
    return [item.failure.slug for item in recognise(text)]


def ask(target: str, made: Made | None, roots: bytes, name: str = "server.seed.internal") -> str:
    """Call as a client of bare gRPC, and give what its error says."""
    credentials = (
        grpc.ssl_channel_credentials(roots)
        if made is None
        else grpc.ssl_channel_credentials(roots, made.key_pem, made.chain_pem)
    )
    options = [("grpc.ssl_target_name_override", name)]
    with grpc.secure_channel(target, credentials, options) as channel:
        get: Any = channel.unary_unary("/seed.v1.Seed/Get")
        with pytest.raises(grpc.RpcError) as caught:
            get(b"", timeout=5)
    return str(caught.value.details())


# A grpcio client


def test_what_a_grpc_client_says_of_a_server_that_it_refuses(scene: Scene) -> None:
    roots = pem([scene.ca.root])
    good = scene.grpc_server(require=False)
    assert slugs(ask(good, None, roots, "other.internal"))[0] == "wrong-name"
    assert "unknown-ca" in slugs(ask(good, None, pem([Ca("other").root])))
    old = scene.grpc_server(scene.ca.leaf(end=-HOUR / 2), require=False)
    assert slugs(ask(old, None, roots))[0] == "expired"
    not_yet = scene.grpc_server(scene.ca.leaf(begin=HOUR / 2), require=False)
    assert slugs(ask(not_yet, None, roots))[0] == "not-yet-valid"


def test_what_a_grpc_client_says_where_there_is_no_tls_server(scene: Scene) -> None:
    roots = pem([scene.ca.root])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert slugs(ask(f"127.0.0.1:{port}", None, roots)) == ["not-listening"]
    assert slugs(ask(scene.plain_grpc_server(), None, roots))[0] == "plaintext-server"
    assert slugs(ask("no-such-host.invalid:1", None, roots)) == ["no-such-host"]
    assert slugs(ask(scene.openssl_server(alpn=None, accepts=None), None, roots)) == ["not-http2"]


def test_what_a_grpc_client_says_of_a_server_that_refuses_it_holds_the_cause(scene: Scene) -> None:
    text = ask(scene.grpc_server(), None, pem([scene.ca.root]))
    assert {"closed-without-reason", "no-client-certificate"} & set(slugs(text)), text


# A grpcio server's stderr


@contextlib.contextmanager
def grpc_server_with_log(scene: Scene) -> Iterator[tuple[str, Path]]:
    home = scene.credential("server", scene.ca.leaf())
    log = scene.home / "stderr.log"
    with (
        log.open("wb") as written,
        subprocess.Popen(
            [sys.executable, "-c", GRPC_SERVER, str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=written,
            env={**os.environ, "GRPC_VERBOSITY": "info"},
        ) as process,
    ):
        assert process.stdout is not None
        yield f"127.0.0.1:{int(process.stdout.readline())}", log
        assert process.stdin is not None
        process.stdin.close()
        process.wait(20)


@pytest.mark.parametrize(
    "cause", ["expired", "unknown-ca", "wrong-usage", "no-client-certificate", "plaintext-client"]
)
def test_the_line_that_a_grpc_server_leaves_for_whom_it_refused(scene: Scene, cause: str) -> None:
    made = {
        "expired": scene.ca.leaf("caller", end=-HOUR / 2),
        "unknown-ca": Ca("other").leaf("caller"),
        "wrong-usage": scene.ca.leaf("caller", usage=SERVER_ONLY),
    }.get(cause)
    with grpc_server_with_log(scene) as (target, log):
        if cause == "plaintext-client":
            with grpc.insecure_channel(target) as channel:
                get: Any = channel.unary_unary("/seed.v1.Seed/Get")
                with pytest.raises(grpc.RpcError):
                    get(b"", timeout=5)
        else:
            ask(target, made, pem([scene.ca.root]))
    lines = [line for line in log.read_text().splitlines() if "andshake failed" in line]
    assert lines, log.read_text()
    assert slugs(lines[0])[0] == cause, lines


# Python's ssl, and the openssl command


@pytest.mark.parametrize("cause", ["expired", "unknown-ca", "wrong-name", "self-signed"])
def test_what_pythons_ssl_says_of_a_server_that_it_refuses(scene: Scene, cause: str) -> None:
    made = {
        "expired": scene.ca.leaf(end=-HOUR / 2),
        "wrong-name": scene.ca.leaf("other"),
        "unknown-ca": Ca("other").leaf(),
        "self-signed": Made(scene.ca.root_key, [scene.ca.root]),
    }.get(cause)
    target = scene.openssl_server(made, accepts=None)
    context = ssl.create_default_context()
    if cause != "self-signed":
        context.load_verify_locations(cadata=pem([scene.ca.root]).decode())
    host, _, port = target.rpartition(":")
    with (
        socket.create_connection((host, int(port))) as plain,
        pytest.raises(ssl.SSLError) as caught,
    ):
        context.wrap_socket(plain, server_hostname="server.seed.internal")
    assert cause in slugs(str(caught.value))[:2], str(caught.value)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl command is not installed")
@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        ("expired", "server"),
        ("unknown-ca", "server"),
        ("expired", "client"),
        ("unknown-ca", "client"),
        ("no-client-certificate", "client"),
        ("not-listening", "none"),
        ("plaintext-server", "none"),
    ],
)
def test_what_the_openssl_command_says(scene: Scene, cause: str, kind: str) -> None:
    made = {"expired": scene.ca.leaf("x", end=-HOUR / 2), "unknown-ca": Ca("other").leaf("x")}.get(
        cause
    )
    more: list[str] = []
    if kind == "client":
        target = scene.openssl_server()
        if made is not None:
            folder = scene.caller(made)
            chain = f"{folder}/chain.pem"
            more = ["-cert", chain, "-cert_chain", chain, "-key", f"{folder}/key.pem"]
    elif kind == "server":
        target = scene.openssl_server(made, accepts=None)
    elif cause == "not-listening":
        with socket.create_server(("127.0.0.1", 0)) as free:
            target = f"127.0.0.1:{free.getsockname()[1]}"
    else:
        target = scene.plain_grpc_server()
    roots = scene.home / "roots.pem"
    roots.write_bytes(pem([scene.ca.root]))
    command = ["openssl", "s_client", "-connect", target, "-CAfile", str(roots), *more]
    done = subprocess.run(
        [*command, "-verify_return_error", "-alpn", "h2", "-ign_eof"],
        input=b"hello\n",
        capture_output=True,
        timeout=20,
        check=False,
    )
    text = (done.stderr + done.stdout).decode("utf-8", "replace")
    assert cause in slugs(text)[:2], (slugs(text), text)


# Node

NODE = """
const [port, name, ca] = process.argv.slice(1);
const options = {host: '127.0.0.1', port, servername: name, ca: require('fs').readFileSync(ca)};
require('tls').connect(options).on('error', (error) => { console.log(error); process.exit(0); });
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node.js")
@pytest.mark.parametrize(
    "cause",
    ["expired", "unknown-ca", "wrong-name", "self-signed", "not-listening", "plaintext-server"],
)
def test_what_node_says(scene: Scene, cause: str) -> None:
    other = Ca("other")
    made = {
        "expired": scene.ca.leaf(end=-HOUR / 2),
        "wrong-name": scene.ca.leaf("other"),
        "unknown-ca": other.leaf(),
        "self-signed": Made(other.root_key, [other.root]),
    }.get(cause)
    if cause == "not-listening":
        with socket.create_server(("127.0.0.1", 0)) as free:
            target = f"127.0.0.1:{free.getsockname()[1]}"
    elif cause == "plaintext-server":
        target = scene.plain_grpc_server()
    else:
        target = scene.openssl_server(made, accepts=None)
    roots = scene.home / "roots.pem"
    roots.write_bytes(pem([scene.ca.root]))
    done = subprocess.run(
        ["node", "-e", NODE, target.rpartition(":")[2], "server.seed.internal", roots],
        capture_output=True,
        timeout=30,
        check=False,
    )
    text = (done.stdout + done.stderr).decode()
    assert cause in slugs(text)[:2], (slugs(text), text)


def test_a_grpc_clients_own_stderr_does_not_blame_the_client_alone(scene: Scene) -> None:
    script = """
import sys, grpc
from pathlib import Path
credentials = grpc.ssl_channel_credentials(Path(sys.argv[2]).read_bytes())
with grpc.secure_channel(sys.argv[1], credentials) as channel:
    try:
        channel.unary_unary("/seed.v1.Seed/Get")(b"", timeout=5)
    except grpc.RpcError:
        pass
"""
    roots = scene.home / "roots.pem"
    roots.write_bytes(pem([scene.ca.root]))
    done = subprocess.run(
        [sys.executable, "-c", script, scene.plain_grpc_server(), str(roots)],
        capture_output=True,
        timeout=60,
        check=False,
        env={**os.environ, "GRPC_VERBOSITY": "info"},
    )
    lines = [line for line in done.stderr.decode().splitlines() if "andshake failed" in line]
    assert lines, done.stderr
    assert "plaintext-server" in slugs(lines[0]), lines
