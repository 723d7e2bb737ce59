"""The way to a server: proxies, the name that is asked for, and servers without roots."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from OpenSSL import SSL

from pki.cli.app import run
from tests.interop.seeds import Ca, Made, Scene, names_of, pem, scene_in
from tests.interop.shop import Shop
from tests.interop.test_doctor_found import NAME, Doctor, answer
from tests.interop.test_doctor_servers import free_port, needs_nginx, needs_openssl, nginx
from tests.interop.test_proxied_channels import http_proxy

COMMAND = str(Path(sys.executable).with_name("handfast"))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with scene_in(tmp_path) as made:
        yield made


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str]) -> Doctor:
    return Doctor(capsys)


# An HTTP proxy in the environment


def test_the_doctor_goes_through_the_proxy_that_grpc_takes_and_names_it(
    scene: Scene, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_proxy(scene.grpc_server()) as (proxy, asked):
        monkeypatch.setenv("https_proxy", f"http://me:secret@{proxy}")
        arguments = ("payments.shop.internal:8443", "--credential", scene.caller(), *NAME)
        code, found = doctor.data(*arguments)
        text = doctor.text(*arguments)
    assert (code, found["causes"], found["likely"]) == (0, [], []), found
    way = answer(found, "proxy")
    assert f"http://{proxy}" in way["message"]
    assert "https_proxy" in way["message"]
    # The name of the target has no address here: handshakes and calls all went to the proxy.
    assert answer(found, "a call by gRPC")["status"] == "ok"
    assert len(asked) >= 8
    assert all(item.startswith("CONNECT payments.shop.internal:8443 ") for item in asked)
    assert "secret" not in text + json.dumps(found)


@pytest.mark.parametrize("kind", ["refuses", "dead"])
def test_a_proxy_that_gives_no_way_is_the_cause_and_the_server_is_not(
    scene: Scene, kind: str, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = scene.grpc_server()
    with http_proxy(target, b"HTTP/1.1 403 Forbidden") as (proxy, _):
        where = proxy if kind == "refuses" else f"127.0.0.1:{free_port()}"
        monkeypatch.setenv("http_proxy", f"http://{where}")
        code, found = doctor.data(target, "--credential", scene.caller(), *NAME)
    assert (code, found["causes"], found["likely"]) == (1, ["proxy-refused"], []), found
    cause = answer(found, "proxy")
    assert "without the proxy the server answers" in cause["message"]
    assert ("403" if kind == "refuses" else "refused") in cause["message"]
    assert "no_proxy" in cause["remedy"]
    assert "grpc.enable_http_proxy" in cause["remedy"]


def test_an_exception_from_the_proxy_is_named(
    scene: Scene, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("grpc_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("no_grpc_proxy", "127.0.0.0/8")
    code, found = doctor.data(scene.grpc_server(), "--credential", scene.caller(), *NAME)
    assert (code, found["causes"], found["likely"]) == (0, [], []), found
    assert "no_grpc_proxy excepts" in answer(found, "proxy")["message"]


def test_a_proxy_that_grpc_can_not_use_is_warned_of(
    scene: Scene, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "https://proxy.internal:3128")
    code, found = doctor.data(scene.grpc_server(), "--credential", scene.caller(), *NAME)
    assert (code, found["causes"]) == (4, []), found
    assert answer(found, "proxy")["failure"] == "proxy-refused"
    assert answer(found, "a call by gRPC")["status"] == "ok"


# The name that is asked for


def named_server(scene: Scene) -> str:
    """Run a server that has a certificate for one name, and sends an alert for any other."""
    unknown = SSL.Context(SSL.TLS_SERVER_METHOD)

    def choose(connection: SSL.Connection) -> None:
        if connection.get_servername() != b"server.seed.internal":
            connection.set_context(unknown)

    return scene.openssl_server(
        setting=lambda context: context.set_tlsext_servername_callback(choose)
    )


def test_the_name_to_ask_for_is_an_option_of_its_own(scene: Scene, doctor: Doctor) -> None:
    arguments = (named_server(scene), "--credential", scene.caller(), *NAME)
    code, found = doctor.data(*arguments, "--sni", "other.seed.internal")
    assert code == 1
    # OpenSSL 3 answers as one that has no certificate does: by "handshake failure".
    assert "no-server-certificate" in [*found["causes"], *found["likely"]], found
    assert "'other.seed.internal'" in alerts(found)
    # gRPC asks for what it expects, so a call with another name would say nothing.
    assert "--sni" in answer(found, "a call by gRPC")["message"]
    _, found = doctor.data(*arguments, "--sni", "server.seed.internal")
    assert answer(found, "accepts our certificate")["status"] == "ok", found


def alerts(found: dict[str, list[dict[str, str]]]) -> str:
    return "; ".join(item["message"] for item in found["findings"] if item["check"] == "TLS")


@pytest.mark.parametrize("name", ["", "a b", "127.0.0.1", "\x1b[2J", "x" * 300])
def test_a_name_that_tls_can_not_ask_for_is_could_not_tell(
    scene: Scene, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", scene.grpc_server(), f"--sni={name}"]) == 3
    err = capsys.readouterr().err
    assert "could not tell" in err
    assert "\x1b" not in err


@pytest.mark.parametrize("option", ["--sni=a.internal", "--starttls=smtp"])
def test_a_stand_in_asks_no_server(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--stand-in", "0", option]) == 2
    assert "need a target" in " ".join(capsys.readouterr().err.split())


# Without roots


@pytest.mark.parametrize("kind", ["requires", "continues"])
def test_a_server_that_asks_for_a_certificate_is_not_all_well_without_roots(
    scene: Scene, kind: str, doctor: Doctor
) -> None:
    def setting(context: SSL.Context) -> None:
        if kind == "continues":
            context.set_verify(SSL.VERIFY_PEER, lambda *_: True)

    target = scene.grpc_server() if kind == "requires" else scene.openssl_server(setting=setting)
    code, found = doctor.data(target, *NAME)
    assert code != 0, found
    if kind == "requires":
        assert found["causes"] == ["no-client-certificate"], found
    else:
        warned = answer(found, "accepts callers without one")
        assert (warned["status"], warned["failure"]) == ("warning", "no-client-auth")
    assert "All well" not in doctor.text(target, *NAME)


@needs_nginx
def test_an_nginx_that_requires_a_certificate_is_not_all_well_without_roots(
    scene: Scene, doctor: Doctor
) -> None:
    with nginx(scene, scene.ca.leaf()) as target:
        code, found = doctor.data(target, *NAME)
    assert (code, found["causes"]) == (1, []), found
    assert found["likely"] == ["no-client-certificate"], found


def test_a_server_that_could_not_be_verified_is_not_called_well(
    scene: Scene, doctor: Doctor
) -> None:
    told = doctor.text(scene.grpc_server(require=False), *NAME)
    assert "All well" not in told
    assert "the server was not verified" in told


# What strict verifiers refuse


def loose_ca(ca: Ca) -> Ca:
    """Make the root as old tools do: without key usage and key identifier."""
    builder = ca.root
    now_from, now_to = builder.not_valid_before_utc, builder.not_valid_after_utc
    ca.root = (
        x509.CertificateBuilder()
        .subject_name(builder.subject)
        .issuer_name(builder.subject)
        .public_key(ca.root_key.public_key())
        .serial_number(7)
        .not_valid_before(now_from)
        .not_valid_after(now_to)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(ca.root_key, hashes.SHA256())
    )
    return ca


def test_what_python_refuses_and_grpc_accepts_is_a_warning(scene: Scene, doctor: Doctor) -> None:
    loose_ca(scene.ca)
    code, found = doctor.data(scene.grpc_server(), "--credential", scene.caller(), *NAME)
    assert (code, found["causes"], found["likely"]) == (4, [], []), found
    warned = answer(found, "server certificate: strict verifiers")
    assert warned["failure"] == "strict-verifier"
    assert "Python 3.13" in warned["message"]
    assert answer(found, "a call by gRPC")["status"] == "ok"


# The host that was dialled


def test_without_a_name_a_handfast_server_is_told_with_the_option_for_it(
    shop: Shop, doctor: Doctor
) -> None:
    caller = shop.directory("caller")
    with shop.workload("server") as me, shop.sync_server(me) as address:
        code, found = doctor.data(address, "--credential", caller)
        assert (code, found["causes"]) == (1, ["wrong-name"]), found
        remedy = answer(found, "server certificate: expected name")["remedy"]
        assert "No name was given" in remedy
        assert "--name spiffe://shop.internal/server" in remedy
        assert "--name spiffe://shop.internal/server" in doctor.text(
            address, "--credential", caller
        )
        # A name that was given is not doubted.
        _, found = doctor.data(address, "--credential", caller, "--name", "payments")
        assert "--name" not in answer(found, "server certificate: expected name")["remedy"]
        code, _ = doctor.data(
            address, "--credential", caller, "--name", "spiffe://shop.internal/server"
        )
        assert code == 0


@pytest.mark.parametrize(
    ("target", "where"),
    [
        ("localhost", "localhost:443"),
        ("127.0.0.1:1", "127.0.0.1:1"),
        ("ipv6:[::1]:1", "[::1]:1"),
        ("dns:///localhost:1", "localhost:1"),
    ],
)
def test_where_nobody_listens_is_said_with_the_port(
    doctor: Doctor, target: str, where: str
) -> None:
    _, found = doctor.data(target)
    if found["causes"] != ["not-listening"]:
        pytest.skip("something listens there, or this machine has no such address")
    assert f"'{where}'" in answer(found, "listens")["message"]


# What other libraries write


@needs_openssl
def test_nothing_but_the_report_is_written(scene: Scene) -> None:
    refusing = scene.grpc_server(roots=[Ca("other").root])
    alerting = scene.openssl_server(asked_for=[Ca("other").root])
    negative = scene.openssl_server(with_a_negative_serial(scene))
    other = Ca("other")
    credentials = [
        scene.caller(),
        scene.credential("other", other.leaf("caller"), roots=[other.root]),
    ]
    environment = {key: value for key, value in os.environ.items() if "GRPC" not in key}
    for target in (refusing, alerting, negative, scene.plain_grpc_server(), "127.0.0.1:1"):
        for credential in credentials:
            command = [COMMAND, "doctor", target, "--credential", str(credential), *NAME]
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, env=environment
            )
            assert done.returncode in {1, 4}, done
            assert done.stderr == "", (target, done.stderr)


def with_a_negative_serial(scene: Scene) -> Made:
    """Return a chain whose leaf has a serial number that only OpenSSL's command makes."""
    made = scene.ca.leaf()
    request, ca, key = (scene.home / name for name in ("negative.csr", "ca.pem", "ca.key"))
    san = x509.SubjectAlternativeName(names_of("server"))
    builder = x509.CertificateSigningRequestBuilder().subject_name(made.chain[0].subject)
    csr = builder.add_extension(san, critical=False).sign(made.key, hashes.SHA256())
    request.write_bytes(pem([csr]))
    ca.write_bytes(pem([scene.ca.issuing]))
    key.write_bytes(Made(scene.ca.key, []).key_pem)
    command: list[str | Path] = ["openssl", "x509", "-req", "-in", request, "-CA", ca]
    command += ["-CAkey", key, "-set_serial", "-7", "-copy_extensions", "copyall"]
    signed = subprocess.run(command, capture_output=True, check=True).stdout
    return Made(made.key, [x509.load_pem_x509_certificate(signed), scene.ca.issuing])


@needs_openssl
def test_a_negative_serial_number_is_a_warning_that_names_go(scene: Scene, doctor: Doctor) -> None:
    target = scene.openssl_server(with_a_negative_serial(scene))
    _, found = doctor.data(target, "--credential", scene.caller(), *NAME)
    assert not found["causes"], found
    warned = answer(found, "server certificate: Go")
    assert warned["failure"] == "strict-verifier"
    assert "negative" in warned["message"]


# The end of a stand-in


@pytest.mark.parametrize("ignored", [True, False])
def test_a_stand_in_ends_in_good_order_on_sigterm(scene: Scene, ignored: bool) -> None:
    folder = scene.credential("server", scene.ca.leaf())

    command = [COMMAND, "doctor", "--stand-in", "0", "--credential", str(folder), "--json"]
    # By a shell: a function that Python calls in the child runs after gRPC's handlers of a fork,
    # which may end it.
    as_a_background_job = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh"] if ignored else []
    with subprocess.Popen(
        [*as_a_background_job, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        assert line, process.stderr.read()
        assert json.loads(line)["event"] == "listening"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stderr.read() == ""
