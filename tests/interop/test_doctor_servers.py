"""Doctor about servers that are not ours: ``openssl s_server`` and nginx; and about wrong input."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from OpenSSL import SSL

from pki.cli.app import run
from pki.diagnosis.observe.tls_handshake import CertifiedKey, Handshake, make_handshake
from pki.tls.target import Target
from tests.interop.seeds import (
    HOUR,
    LOCALHOST,
    SERVER_ONLY,
    Ca,
    Made,
    Scene,
    names_of,
    pem,
    scene_in,
)

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="the openssl command is not installed"
)
needs_nginx = pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
NAME = ("--name", "server.seed.internal")
NGINX = """
daemon off;
master_process off;
pid {home}/nginx.pid;
error_log {home}/error.log info;
events {{}}
http {{
  access_log off;
  client_body_temp_path {home}/body;
  proxy_temp_path {home}/proxy;
  fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi;
  scgi_temp_path {home}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl{http2};
    ssl_certificate {home}/chain.pem;
    ssl_certificate_key {home}/key.pem;
    ssl_client_certificate {home}/bundle.pem;
    ssl_verify_client {verify};
    ssl_protocols {protocols};
    return {answers};
  }}
}}
"""


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with scene_in(tmp_path) as made:
        yield made


def examined(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any]:
    capsys.readouterr()
    code = run(["doctor", *map(str, arguments), "--json"])
    out, err = capsys.readouterr()
    assert out, err
    return code, json.loads(out)


def message(found: dict[str, Any], check: str) -> str:
    return "; ".join(item["message"] for item in found["findings"] if check in item["check"])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextlib.contextmanager
def serving(command: list[str], port: int, log: Path) -> Iterator[str]:
    """Run a server until the end, from when it listens."""
    with (
        log.open("wb") as written,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=written,
            stderr=subprocess.STDOUT,
            # faketime runs the server as a child of its own: all of them are ended together.
            start_new_session=True,
        ) as process,
    ):
        try:
            end = time.monotonic() + 20
            while True:
                assert process.poll() is None, log.read_text()
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.02)
            yield f"127.0.0.1:{port}"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)


def s_server(scene: Scene, made: Made, *more: str) -> contextlib.AbstractContextManager[str]:
    port = free_port()
    home = scene.credential("server", made)
    leaf, *issuers = made.chain
    (home / "leaf.pem").write_bytes(pem([leaf]))
    (home / "issuers.pem").write_bytes(pem(issuers))
    command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-quiet", "-alpn", "h2"]
    command += ["-cert", f"{home}/leaf.pem", "-cert_chain", f"{home}/issuers.pem"]
    command += ["-key", f"{home}/key.pem", "-CAfile", f"{home}/bundle.pem", *more]
    return serving(command, port, scene.home / "s_server.log")


MUST = ("-Verify", "3", "-verify_return_error")


@needs_openssl
def test_a_good_s_server_is_found_good_but_for_http2(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    with s_server(scene, scene.ca.leaf(), *MUST) as target:
        code, found = examined(capsys, target, "--credential", scene.caller(), *NAME)
    # All of its mutual TLS is well; that it speaks no HTTP/2 is said, and nothing else.
    assert code == 1
    assert (found["causes"], found["likely"]) == ([], ["not-http2"]), found
    assert "seed root" in message(found, "requests a certificate")
    assert (
        message(found, "accepts our certificate")
        == "the server continues after it received our certificate"
    )


@needs_openssl
def test_a_server_of_one_connection_at_a_time_is_not_kept_busy_by_the_call(
    scene: Scene, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def later(
        target: Target, name: str, showing: CertifiedKey | None, *, seconds: float, starttls: None
    ) -> Handshake:
        # Long enough that a call which does not wait for the handshakes comes first.
        if showing is not None:
            time.sleep(0.7)
        return make_handshake(target, name, showing, seconds=seconds)

    monkeypatch.setattr("pki.diagnosis.server_observations.make_handshake", later)
    with s_server(scene, scene.ca.leaf(), *MUST) as target:
        code, found = examined(capsys, target, "--credential", scene.caller(), *NAME)
    assert (code, found["causes"], found["likely"]) == (1, [], ["not-http2"]), found


@needs_openssl
@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        ("expired", "ours"),
        ("ca-not-requested", "ours"),
        ("wrong-usage", "ours"),
        ("expired", "theirs"),
        ("wrong-name", "theirs"),
        ("no-client-certificate", "none"),
    ],
)
def test_what_is_wrong_with_an_s_server_is_named(
    scene: Scene, cause: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs, ours, roots = scene.ca.leaf(), scene.ca.leaf("caller"), [scene.ca.root]
    if kind == "theirs":
        theirs = {"expired": scene.ca.leaf(end=-HOUR / 2), "wrong-name": scene.ca.leaf("other")}[
            cause
        ]
    if kind == "ours":
        other = Ca("other")
        roots += [other.root]
        ours = {
            "expired": scene.ca.leaf("caller", end=-HOUR / 2),
            "ca-not-requested": other.leaf("caller"),
            "wrong-usage": scene.ca.leaf("caller", usage=SERVER_ONLY),
        }[cause]
    credential = [] if kind == "none" else ["--credential", scene.caller(ours, roots=roots)]
    if kind == "none":
        (scene.home / "roots.pem").write_bytes(pem(roots))
        credential = ["--bundle", scene.home / "roots.pem"]
    with s_server(scene, theirs, *MUST) as target:
        code, found = examined(capsys, target, *credential, *NAME)
    assert code == 1
    assert found["causes"] == [cause], found


@needs_openssl
def test_an_s_server_that_asks_nobody_is_warned_of(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    with s_server(scene, scene.ca.leaf()) as target:
        code, found = examined(capsys, target, "--credential", scene.caller(), *NAME)
    assert code == 1
    assert (found["causes"], found["likely"]) == ([], ["not-http2"]), found
    assert "requests no client" in message(found, "requests a certificate")


@contextlib.contextmanager
def nginx(
    scene: Scene,
    made: Made,
    *,
    verify: str = "on",
    http2: bool = True,
    protocols: str = "TLSv1.2 TLSv1.3",
    answers: str = "204",
    by: tuple[str, ...] = (),
) -> Iterator[str]:
    port = free_port()
    home = scene.credential("server", made)
    text = NGINX.format(
        home=home,
        port=port,
        verify=verify,
        http2=" http2" if http2 else "",
        protocols=protocols,
        answers=answers,
    )
    (home / "nginx.conf").write_text(text)
    command = [
        *by,
        "nginx",
        "-p",
        str(home),
        "-c",
        str(home / "nginx.conf"),
        "-e",
        f"{home}/error.log",
    ]
    with serving(command, port, scene.home / "nginx.log") as target:
        yield target


@needs_nginx
@pytest.mark.parametrize("verify", ["on", "optional"])
def test_a_good_nginx_is_found_good(
    scene: Scene, verify: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with nginx(scene, scene.ca.leaf(), verify=verify) as target:
        code, found = examined(capsys, target, "--credential", scene.caller(), *NAME)
    assert not found["causes"], found
    assert not found["likely"], found
    assert code == (0 if verify == "on" else 4), found
    assert "seed root" in message(found, "requests a certificate")
    without = "answers such a call by HTTP 400" if verify == "on" else "does not authenticate"
    assert without in message(found, "requires a certificate")


@needs_nginx
@pytest.mark.parametrize("cause", ["expired", "not-http2"])
def test_what_is_wrong_with_an_nginx_is_named(
    scene: Scene, cause: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = scene.ca.leaf(end=-HOUR / 2 if cause == "expired" else HOUR)
    with nginx(scene, made, http2=cause != "not-http2") as target:
        code, found = examined(capsys, target, "--credential", scene.caller(), *NAME)
    assert code == 1
    assert found["causes"] == [cause], found


@needs_nginx
def test_an_nginx_that_believes_another_ca_is_seen_by_its_answer(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Ca("other")
    caller = scene.caller(other.leaf("caller"), roots=[scene.ca.root, other.root], crls=None)
    with nginx(scene, scene.ca.leaf()) as target:
        code, found = examined(capsys, target, "--credential", caller, *NAME)
        assert code == 1
        assert (found["causes"], found["likely"]) == (["ca-not-requested"], []), found
        (scene.home / "roots.pem").write_bytes(pem([scene.ca.root]))
        code, found = examined(capsys, target, "--bundle", scene.home / "roots.pem", *NAME)
    assert code == 1
    assert found["likely"] == ["no-client-certificate"], found


@needs_nginx
@pytest.mark.parametrize("verify", ["on", "optional"])
def test_an_nginx_that_refuses_us_by_http_alone_is_seen(
    scene: Scene, verify: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nginx shakes hands with anybody, and answers a call of a refused one with 400."""
    caller = scene.caller(scene.ca.leaf("caller", begin=-2 * HOUR, end=-HOUR))
    with nginx(scene, scene.ca.leaf(), verify=verify) as target:
        code, found = examined(capsys, target, "--credential", caller, *NAME)
    assert code == 1
    assert found["causes"] == ["expired"], found


# The server's credential at hand


def test_with_the_servers_credential_at_hand_the_cause_is_seen(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Ca("other")
    caller = scene.caller(other.leaf("caller"), roots=[scene.ca.root, other.root], crls=None)
    target = scene.grpc_server()
    _, found = examined(capsys, target, "--credential", caller, *NAME)
    assert not found["causes"]
    server = scene.credential("server", scene.ca.leaf())
    code, found = examined(
        capsys, target, "--credential", caller, *NAME, "--server-credential", server
    )
    assert code == 1
    assert found["causes"] or found["likely"][0] == "unknown-ca", found


def test_a_list_that_only_the_server_has_is_seen_with_its_credential(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = scene.ca.leaf("caller")
    server = scene.credential("server", scene.ca.leaf(), crls=scene.ca.crls([ours.chain[0]]))
    target = scene.grpc_server()
    code, found = examined(
        capsys, target, "--credential", scene.caller(ours), *NAME, "--server-credential", server
    )
    assert code == 1
    assert found["causes"] == ["revoked"], found


# Other ways to a server, and to an exit code


def test_a_unix_socket_is_examined_alike(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    path = scene.home / "s.sock"
    made = scene.ca.leaf()
    pool = ThreadPoolExecutor(max_workers=2)
    server = grpc.server(pool)
    server.add_secure_port(
        f"unix:{path}",
        grpc.ssl_server_credentials([(made.key_pem, made.chain_pem)], pem([scene.ca.root]), True),
    )
    server.start()
    try:
        code, found = examined(capsys, f"unix:{path}", "--credential", scene.caller(), *NAME)
    finally:
        server.stop(0).wait()
        pool.shutdown()
    assert code in (0, 4), found
    assert not found["causes"], found


def test_a_server_that_stands_still_over_our_certificate_has_not_refused_it(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    over = threading.Event()

    def stand_still(*found: Any) -> bool:
        over.wait(20)
        return bool(found[4])

    def setting(context: SSL.Context) -> None:
        # In TLS 1.2 a client waits for the end of this; in 1.3 it is done before.
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        context.set_verify(SSL.VERIFY_PEER, stand_still)

    target = scene.openssl_server(setting=setting)
    asked = (target, "--credential", scene.caller(), *NAME, "--seconds", "1.5")
    try:
        code, found = examined(capsys, *asked)
    finally:
        over.set()
    assert code == 1
    assert (found["causes"], found["likely"]) == ([], ["handshake-timeout"]), found
    assert "breaks off: no answer within 1.5 s" in message(found, "accepts our certificate")


def test_a_bundle_alone_is_enough_to_judge_the_server(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = scene.home / "roots.pem"
    target = scene.grpc_server(require=False)
    bundle.write_bytes(pem([scene.ca.root]))
    _, found = examined(capsys, target, "--bundle", bundle, *NAME)
    assert not found["causes"], found
    bundle.write_bytes(pem([Ca("other").root]))
    code, found = examined(capsys, target, "--bundle", bundle, *NAME)
    assert code == 1
    assert "unknown-ca" in [*found["causes"], *found["likely"]], found


def test_the_exit_code_follows_the_grade_that_matters(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    good = scene.grpc_server(require=False)
    bad = f"127.0.0.1:{free_port()}"
    caller = scene.caller()
    codes = {
        (target, grade): examined(
            capsys, target, "--credential", caller, *NAME, "--fail-on", grade
        )[0]
        for target in (good, bad)
        for grade in ("warning", "critical", "never")
    }
    assert [codes[good, item] for item in ("warning", "critical", "never")] == [4, 0, 0]
    assert [codes[bad, item] for item in ("warning", "critical", "never")] == [1, 1, 0]


def test_a_host_that_is_an_address_is_the_name_expected(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    target = scene.grpc_server(scene.ca.leaf(names=[*names_of("server"), LOCALHOST]))
    _, found = examined(capsys, target, "--credential", scene.caller())
    assert not found["causes"], found
    assert "it holds 127.0.0.1" in message(found, "expected name")


@pytest.mark.parametrize(
    "target",
    [
        "",
        ":",
        "localhost",
        "localhost:0",
        "localhost:99999",
        "localhost:\uff18\uff10",
        "unix:",
        "xds:///x",
        "\x1b[2J:1",
        "a" * 100_000 + ":1",
        "../etc:1:2",
        "p\u00e4yments:1",
    ],
)
def test_a_target_that_is_none_is_could_not_tell(
    target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", target]) in (1, 3)
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    assert "\x1b[2J" not in out + err
    assert len(err) < 2000


@pytest.mark.parametrize("option", ["--credential", "--policy", "--bundle", "--server-credential"])
@pytest.mark.parametrize("kind", ["missing", "empty", "folder", "huge"])
def test_files_that_can_not_be_used_are_could_not_tell(
    scene: Scene, option: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = scene.home / "given"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "folder":
        path.mkdir()
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(1 << 31)
    assert run(["doctor", scene.grpc_server(), option, str(path)]) == 3
    err = capsys.readouterr().err
    assert err.startswith("handfast: could not tell: "), err
    assert "Traceback" not in err


def test_a_name_that_can_not_be_one_is_could_not_tell(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    target = scene.grpc_server()
    for name in ("", "spiffe://", "a b", "\x1b[2J", "x" * 3000):
        assert run(["doctor", target, "--name", name]) == 3, name
        assert "could not tell" in capsys.readouterr().err
