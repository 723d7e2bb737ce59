"""Faults that users met, each on a real server: what is named surely must be the cause."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from OpenSSL import SSL

from pki.cli.app import run
from pki.diagnosis.checks.call_result import examine_call
from pki.diagnosis.observe.grpc_call import CallResult
from pki.diagnosis.observe.http_date import read_date_header
from tests.interop.seeds import (
    HOUR,
    LOCALHOST,
    Ca,
    Made,
    Scene,
    ca_usage,
    named,
    names_of,
    pem,
    scene_in,
    sign,
)
from tests.interop.shop import Shop
from tests.interop.test_doctor import POLICY
from tests.interop.test_doctor_servers import MUST, needs_nginx, needs_openssl, nginx, s_server

NAME = ("--name", "server.seed.internal")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    (tmp_path / "seeds").mkdir()
    with scene_in(tmp_path / "seeds") as made:
        yield made


class Doctor:
    """What doctor says, as data and in words."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def data(self, *arguments: object) -> tuple[int, Any]:
        self._capsys.readouterr()
        code = run(["doctor", *map(str, arguments), "--json"])
        out, err = self._capsys.readouterr()
        assert out, err
        return code, json.loads(out)

    def text(self, *arguments: object) -> str:
        self._capsys.readouterr()
        run(["doctor", *map(str, arguments)])
        return self._capsys.readouterr().out


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str]) -> Doctor:
    return Doctor(capsys)


def answer(found: dict[str, Any], check: str) -> dict[str, Any]:
    """Return the one answer to a question."""
    items: list[dict[str, Any]] = [item for item in found["findings"] if item["check"] == check]
    assert len(items) == 1, (check, found["findings"])
    return items[0]


def with_an_expired_issuer(scene: Scene, workload: str) -> Made:
    """Make a leaf of a CA that has ended, under the root of all."""
    key = ec.generate_private_key(ec.SECP256R1())
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (ca_usage(), True),
    ]
    issuing = sign(
        named("ended issuing"),
        key.public_key(),
        scene.ca.root,
        scene.ca.root_key,
        extensions,
        times=(-3 * HOUR, -HOUR),
    )
    ca = replace(scene.ca)
    ca.key, ca.issuing = key, issuing
    return ca.leaf(workload)


# What the server says in its answer


def test_a_handfast_server_that_says_we_are_revoked_is_believed(shop: Shop, doctor: Doctor) -> None:
    old = shop.home / "caller.old"
    shutil.copytree(shop.directory("caller"), old)
    chain = x509.load_pem_x509_certificates((old / "chain.pem").read_bytes())
    shop.ca.revoke(chain[0].serial_number)
    crls = (old / "crl.pem").read_bytes()
    shop.directory("server")
    shop.bring_trust()
    # The server alone has the list that names it.
    (old / "crl.pem").write_bytes(crls)
    with shop.workload("server") as me, shop.sync_server(me) as address:
        code, found = doctor.data(address, "--credential", old, "--name", "server")
        assert (code, found["causes"], found["likely"]) == (1, ["revoked"], []), found
        told = answer(found, "a call by gRPC")
        assert told["failure"] == "revoked"
        assert "your certificate was revoked" in told["message"]
        # With the list at hand here too, it is one fault that both ends tell of.
        shutil.copy(shop.home / "server" / "crl.pem", old / "crl.pem")
        code, found = doctor.data(address, "--credential", old, "--name", "server")
        assert (code, found["causes"], found["likely"]) == (1, ["revoked"], []), found
        assert answer(found, "our certificate: revocation")["failure"] == "revoked"
        told = answer(found, "a call by gRPC")
        assert told["failure"] is None
        assert "your certificate was revoked" in told["message"]


def test_a_server_without_its_policy_is_told_by_its_answer(shop: Shop, doctor: Doctor) -> None:
    shop.write_policy(shop.policy.read_text().replace("[roles]", 'policy_grace = "0s"\n[roles]'))
    with shop.workload("server") as me, shop.sync_server(me) as address:
        shop.policy.unlink()
        for _ in range(100):
            arguments = (address, "--credential", shop.directory("caller"), "--name", "server")
            code, found = doctor.data(*arguments)
            if found["causes"]:
                break
    assert code == 1
    assert found["causes"] == ["policy-unavailable"], found


@pytest.mark.parametrize(("workload", "slug"), [("caller", None), ("stranger", "no-role")])
def test_a_handfast_server_that_gives_us_no_role_is_warned_of(
    shop: Shop, workload: str, slug: str | None, doctor: Doctor
) -> None:
    credential = shop.directory(workload)
    with shop.workload("server") as me, shop.sync_server(me) as address:
        code, found = doctor.data(address, "--credential", credential, "--name", "server")
    # A service that probes itself need have none, so it is no cause.
    assert (code, found["causes"]) == (4 if slug else 0, []), found
    assert answer(found, "a call by gRPC")["failure"] == slug


@pytest.mark.parametrize(
    ("reason", "slugs"),
    [
        ("REVOCATION_STALE", ["stale-crl", "no-crl"]),
        ("ISSUER_DISTRUSTED", ["issuer-revoked", "unknown-ca"]),
    ],
)
def test_a_reason_that_stands_for_several_failures_is_never_sure(
    reason: str, slugs: list[str]
) -> None:
    answer = CallResult(True, "UNAUTHENTICATED", "no", reason=reason)
    found = examine_call(answer, [], has_trust=True, with_certificate=True, silent=False)
    assert [item.failure for item in found] == slugs
    assert not any(item.is_sure for item in found)


def test_a_name_without_an_address_was_not_answered_by_anybody(doctor: Doctor) -> None:
    code, found = doctor.data("no-such-host.invalid:443", *NAME)
    assert (code, found["causes"]) == (1, ["no-such-host"]), found
    call = answer(found, "a call by gRPC")
    assert (call["status"], call["failure"]) == ("failed", None), call


def test_words_of_another_server_are_no_cause() -> None:
    for message in ("certificate has expired", "Socket closed", "token missing"):
        answer = CallResult(True, "UNAUTHENTICATED", message)
        (found,) = examine_call(answer, [], has_trust=True, with_certificate=True, silent=False)
        assert found.failure is None, message


def test_a_server_that_only_prefers_an_old_cipher_is_well(scene: Scene, doctor: Doctor) -> None:
    def setting(context: SSL.Context) -> None:
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
        context.set_cipher_list(b"AES128-SHA:ECDHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0")

    made = scene.ca.leaf(key=rsa.generate_private_key(65537, 2048))
    target = scene.openssl_server(made, setting=setting)
    _, found = doctor.data(target, "--credential", scene.caller(), *NAME)
    assert not found["causes"], found
    agreed = answer(found, "cipher")
    assert agreed["status"] == "ok"
    assert "prefers AES128-SHA" in agreed["message"]


def test_a_cipher_that_grpc_does_not_have_is_the_cause(scene: Scene, doctor: Doctor) -> None:
    def setting(context: SSL.Context) -> None:
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        context.set_cipher_list(b"ECDHE-ECDSA-AES256-SHA384:@SECLEVEL=0")

    target = scene.openssl_server(setting=setting)
    code, found = doctor.data(target, "--credential", scene.caller(), *NAME)
    assert (code, found["causes"], found["likely"]) == (1, ["cipher-mismatch"], []), found


@needs_nginx
def test_an_nginx_that_is_no_grpc_server_has_not_closed_without_a_word(
    scene: Scene, doctor: Doctor
) -> None:
    with nginx(scene, scene.ca.leaf(), answers='200 "hi"') as target:
        code, found = doctor.data(target, "--credential", scene.caller(), *NAME)
    assert (code, found["causes"], found["likely"]) == (0, [], []), found
    assert "otherwise than gRPC" in answer(found, "a call by gRPC")["message"]


@needs_nginx
@pytest.mark.parametrize(
    ("status", "slug"), [(502, "unreachable"), (404, "unknown-method"), (403, "unknown-method")]
)
def test_an_answer_of_a_proxy_by_itself_is_a_warning_that_says_which(
    scene: Scene, status: int, slug: str, doctor: Doctor
) -> None:
    with nginx(scene, scene.ca.leaf(), answers=str(status)) as target:
        code, found = doctor.data(target, "--credential", scene.caller(), *NAME)
    assert code == 4, found
    item = answer(found, "a call by gRPC")
    assert (item["status"], item["failure"]) == ("warning", slug)
    assert str(status) in item["message"]


@needs_nginx
@pytest.mark.skipif(shutil.which("faketime") is None, reason="faketime is not installed")
def test_an_nginx_whose_clock_is_ahead_is_told_by_the_time_in_its_refusal(
    scene: Scene, doctor: Doctor
) -> None:
    with nginx(scene, scene.ca.leaf(), by=("faketime", "-f", "+2h")) as target:
        code, found = doctor.data(target, "--credential", scene.caller(), *NAME)
    assert (code, found["causes"]) == (1, []), found
    assert found["likely"][0] == "clock-skew", found
    assert "hour" in answer(found, "clocks")["message"]


@pytest.mark.parametrize("said", [b"", b"\xff", b"HTTP/1.1 400 x\r\nDate: never", b"a\r\ndate"])
def test_a_time_that_is_none_is_none(said: bytes) -> None:
    assert read_date_header(said) is None


# CAs that have ended


def test_a_servers_issuer_that_has_ended_is_the_cause(scene: Scene, doctor: Doctor) -> None:
    target = scene.grpc_server(with_an_expired_issuer(scene, "server"))
    code, found = doctor.data(target, "--credential", scene.caller(), *NAME)
    assert (code, found["causes"], found["likely"]) == (1, ["expired"], []), found
    assert "ended issuing" in answer(found, "server certificate: times of its CAs")["message"]


@pytest.mark.parametrize("kind", ["grpc", "openssl"])
def test_our_issuer_that_has_ended_is_the_cause_and_not_the_clocks(
    scene: Scene, kind: str, doctor: Doctor
) -> None:
    caller = scene.caller(with_an_expired_issuer(scene, "caller"))
    target = scene.grpc_server() if kind == "grpc" else scene.openssl_server()
    code, found = doctor.data(target, "--credential", caller, *NAME)
    assert (code, found["causes"], found["likely"]) == (1, ["expired"], []), found
    assert answer(found, "accepts our certificate")["status"] == "failed"


def test_our_root_that_has_ended_is_the_cause(scene: Scene, doctor: Doctor) -> None:
    ended = sign(
        scene.ca.root.subject,
        scene.ca.root_key.public_key(),
        None,
        scene.ca.root_key,
        [(x509.BasicConstraints(ca=True, path_length=1), True), (ca_usage(), True)],
        times=(-3 * HOUR, -HOUR),
    )
    caller = scene.caller(roots=[ended])
    target = scene.grpc_server(roots=[ended])
    code, found = doctor.data(target, "--credential", caller, *NAME)
    assert code == 1
    assert set(found["causes"]) == {"expired"}, found


# Whose root it is


@pytest.mark.parametrize("kind", ["grpc", "openssl"])
def test_a_chain_of_another_root_is_not_called_incomplete(
    scene: Scene, kind: str, doctor: Doctor
) -> None:
    other = Ca("other")
    caller = scene.caller(other.leaf("caller"), roots=[scene.ca.root])
    target = scene.grpc_server() if kind == "grpc" else scene.openssl_server()
    code, found = doctor.data(target, "--credential", caller, *NAME)
    assert code == 1
    assert [*found["causes"], *found["likely"]][0] == "unknown-ca", found
    assert "incomplete-chain" not in found["causes"]


def test_a_leaf_of_a_wrong_signature_does_not_lack_its_issuer(scene: Scene, doctor: Doctor) -> None:
    fake = replace(scene.ca)
    fake.key = ec.generate_private_key(ec.SECP256R1())
    fake.issuing = scene.ca.issuing
    target = scene.openssl_server()
    code, found = doctor.data(target, "--credential", scene.caller(fake.leaf("caller")), *NAME)
    assert (code, found["causes"], found["likely"]) == (1, ["bad-signature"], []), found


def test_an_old_root_of_the_same_name_in_a_good_chain_is_only_too_much(
    scene: Scene, doctor: Doctor
) -> None:
    made = scene.ca.leaf()
    old = Ca(scene.ca.name).root
    target = scene.openssl_server(Made(made.key, [*made.chain, old]))
    _, found = doctor.data(target, "--credential", scene.caller(), *NAME)
    assert not found["causes"], found
    assert answer(found, "server certificate: chain")["failure"] == "chain-extra"


def test_a_server_that_takes_another_cas_clients_is_well(scene: Scene, doctor: Doctor) -> None:
    other = Ca("other")
    caller = scene.caller(other.leaf("caller"), roots=[scene.ca.root])
    target = scene.grpc_server(roots=[other.root])
    code, found = doctor.data(target, "--credential", caller, *NAME)
    assert (code, found["causes"], found["likely"]) == (4, [], []), found
    assert "this server accepts it" in answer(found, "our certificate: trust")["message"]


def test_what_stands_at_the_server_is_seen_with_its_credential(
    scene: Scene, doctor: Doctor
) -> None:
    other = Ca("other")
    caller = scene.caller(other.leaf("caller"), roots=[scene.ca.root, other.root])
    server = scene.credential("server", scene.ca.leaf())
    code, found = doctor.data(
        scene.grpc_server(), "--credential", caller, *NAME, "--server-credential", server
    )
    assert (code, found["causes"], found["likely"]) == (1, ["unknown-ca"], []), found
    assert answer(found, "our certificate, at the server: trust")["status"] == "failed"


def test_a_list_that_has_ended_is_one_cause_for_both_certificates(
    scene: Scene, doctor: Doctor
) -> None:
    caller = scene.caller(crls=scene.ca.crls(end=-HOUR))
    _, found = doctor.data(scene.grpc_server(), "--credential", caller, *NAME)
    assert found["causes"] == ["stale-crl"], found
    assert answer(found, "server certificate: revocation")["status"] == "failed"


def test_a_server_that_does_not_ask_has_not_taken_our_certificate(
    scene: Scene, doctor: Doctor
) -> None:
    caller = scene.caller(Ca("other").leaf("caller"), roots=[scene.ca.root])
    target = scene.grpc_server(require=False)
    code, found = doctor.data(target, "--credential", caller, *NAME)
    assert (code, found["causes"], found["likely"]) == (4, [], []), found
    assert answer(found, "accepts our certificate")["status"] == "unknown"
    assert answer(found, "our certificate: trust")["status"] == "unknown"


def test_a_fault_that_is_seen_from_both_ends_is_one_cause(scene: Scene, doctor: Doctor) -> None:
    caller = scene.caller(scene.ca.leaf("caller", end=-HOUR / 2))
    server = scene.credential("server", scene.ca.leaf())
    _, found = doctor.data(
        scene.grpc_server(), "--credential", caller, *NAME, "--server-credential", server
    )
    assert found["causes"] == ["expired"], found
    assert answer(found, "our certificate, at the server: times")["status"] == "failed"


# Names


def test_a_unix_socket_without_a_name_is_told_to_need_one(scene: Scene, doctor: Doctor) -> None:
    made = scene.ca.leaf()
    path = scene.home / "s.sock"
    with ThreadPoolExecutor(max_workers=2) as pool:
        server = grpc.server(pool)
        credentials = grpc.ssl_server_credentials([(made.key_pem, made.chain_pem)])
        server.add_secure_port(f"unix:{path}", credentials)
        server.start()
        code, found = doctor.data(f"unix:{path}", "--credential", scene.caller())
        server.stop(0).wait()
    assert (code, found["causes"], found["likely"]) == (1, ["wrong-name"], []), found
    assert "--name" in answer(found, "a call by gRPC")["remedy"]


@pytest.mark.parametrize("given", ["bundle", "credential"])
@pytest.mark.parametrize("name", ["localhost", "server", "spiffe://seed.internal/server"])
def test_a_short_name_is_a_workloads_or_a_dns_name(
    scene: Scene, given: str, name: str, doctor: Doctor
) -> None:
    made = scene.ca.leaf(names=[*names_of("server"), x509.DNSName("localhost")])
    bundle = scene.home / "roots.pem"
    bundle.write_bytes(pem([scene.ca.root]))
    target = scene.grpc_server(made, require=given == "credential")
    how = ("--credential", scene.caller()) if given == "credential" else ("--bundle", bundle)
    _, found = doctor.data(target, *how, "--name", name)
    assert not found["causes"], found
    assert answer(found, "server certificate: expected name")["status"] == "ok"
    assert answer(found, "a call by gRPC")["status"] == "ok"


@pytest.mark.parametrize("names", [[], [x509.DNSName("localhost")]], ids=["none", "another"])
@pytest.mark.parametrize("common_name", ["server", "other"])
def test_an_svid_without_the_dns_name_is_warned_of_and_not_wrong(
    scene: Scene, names: list[x509.GeneralName], common_name: str, doctor: Doctor
) -> None:
    # gRPC falls back on the common name.
    held = [x509.UniformResourceIdentifier("spiffe://seed.internal/server"), *names]
    target = scene.grpc_server(scene.ca.leaf(common_name, names=held))
    name = ("--name", "spiffe://seed.internal/server")
    code, found = doctor.data(target, "--credential", scene.caller(), *name)
    assert (code, found["causes"], found["likely"]) == (4, [], []), found
    assert "server.seed.internal" in answer(found, "server certificate: expected name")["message"]


def test_an_address_is_pinned_where_the_target_has_none(scene: Scene, doctor: Doctor) -> None:
    target = scene.grpc_server(scene.ca.leaf(names=[LOCALHOST]))
    host = target.replace("127.0.0.1", "localhost")
    code, found = doctor.data(host, "--credential", scene.caller(), "--name", "127.0.0.1")
    assert (code, found["causes"], found["likely"]) == (0, [], []), found
    assert answer(found, "a call by gRPC")["status"] == "ok"


# Questions that would not be asked


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (("--expect-role", "server"), 2, "--policy"),
        (("--method", "/seed.v1.Seed/Get"), 2, "--policy"),
        (("--policy", "POLICY", "--method", "Seed.Get"), 2, "no method's path"),
        (("--policy", "POLICY", "--expect-role", "nosuch"), 3, "no such role"),
    ],
)
def test_a_question_that_can_not_be_asked_is_refused(
    scene: Scene,
    more: tuple[str, ...],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    policy = scene.home / "policy.toml"
    policy.write_text(POLICY)
    arguments = [str(policy) if item == "POLICY" else item for item in more]
    assert run(["doctor", "localhost:1", *arguments]) == code
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(("workload", "causes"), [("caller", []), ("stranger", ["no-role"])])
def test_a_policy_alone_says_who_has_which_role(
    scene: Scene, workload: str, causes: list[str], doctor: Doctor
) -> None:
    policy = scene.home / "policy.toml"
    policy.write_text(POLICY)
    caller = scene.caller(scene.ca.leaf(workload))
    _, found = doctor.data(scene.grpc_server(), "--credential", caller, *NAME, "--policy", policy)
    assert found["causes"] == causes, found
    assert answer(found, "policy: the server")["message"] == "its roles are server"


# The checklist


def test_what_is_likely_has_its_line_beside_what_is_sure(scene: Scene, doctor: Doctor) -> None:
    made = Ca("other").leaf("payments")
    # Without a limit on the CAs under our root, one may be missing between: that is not seen.
    root = sign(
        named("wide root"),
        scene.ca.root_key.public_key(),
        None,
        scene.ca.root_key,
        [(x509.BasicConstraints(ca=True, path_length=None), True), (ca_usage(), True)],
    )
    target = scene.grpc_server(made)
    arguments = (target, "--credential", scene.caller(roots=[root]), *NAME)
    _, found = doctor.data(*arguments)
    assert found["causes"] == ["wrong-name"], found
    assert found["likely"][0] == "unknown-ca", found
    told = doctor.text(*arguments)
    assert "server certificate: trust" in told.partition("cause:")[0]
    assert "likely 1: the chain leads to no trusted root (unknown-ca)" in told
    assert "server certificate: expected name: it is for" in told


def test_a_server_that_refuses_us_fails_a_line_of_the_checklist(
    scene: Scene, doctor: Doctor
) -> None:
    target = scene.grpc_server(roots=[Ca("other").root])
    arguments = (target, "--credential", scene.caller(), *NAME)
    lines = [item for item in doctor.text(*arguments).splitlines() if "accepts our cert" in item]
    assert lines[0].split()[0] == "FAILED", lines
    _, found = doctor.data(*arguments)
    # What can't be seen from here is kept in mind, in this order, and each once.
    assert found["likely"] == ["unknown-ca", "clock-skew", "revoked", "stale-crl"], found


# Our files


def test_lists_that_are_none_are_torn_files(scene: Scene, doctor: Doctor) -> None:
    caller = scene.caller(crls=b"garbage")
    _, found = doctor.data(scene.grpc_server(), "--credential", caller, *NAME)
    assert found["causes"] == ["incomplete-files"], found


def test_an_empty_chain_is_the_cause_and_nothing_else(scene: Scene, doctor: Doctor) -> None:
    caller = scene.caller()
    (caller / "chain.pem").write_bytes(b"")
    _, found = doctor.data(scene.grpc_server(), "--credential", caller, *NAME)
    assert found["causes"] == ["incomplete-files"], found
    assert "chain.pem" in answer(found, "our certificate")["message"]
    assert answer(found, "accepts our certificate")["status"] == "failed"


@pytest.mark.parametrize("kind", ["rsa-1024", "secp256k1", "secp521r1"])
def test_a_key_that_is_not_taken_is_not_torn(scene: Scene, kind: str, doctor: Doctor) -> None:
    curve = ec.SECP256K1() if kind == "secp256k1" else ec.SECP521R1()
    key: Any = ec.generate_private_key(curve)
    if kind == "rsa-1024":
        key = rsa.generate_private_key(65537, 1024)
    caller = scene.caller(scene.ca.leaf("caller", key=key))
    code, found = doctor.data(scene.grpc_server(), "--credential", caller, *NAME)
    assert code == 1
    slug = "weak-key" if kind == "rsa-1024" else "unsupported-key"
    assert [*found["causes"], *found["likely"]][0] == slug, found
    assert set(found["causes"]) <= {slug}, found


def test_a_servers_key_that_grpc_can_not_verify_is_the_cause(scene: Scene, doctor: Doctor) -> None:
    target = scene.grpc_server(scene.ca.leaf(key=ec.generate_private_key(ec.SECP521R1())))
    code, found = doctor.data(target, "--credential", scene.caller(), *NAME)
    assert (code, found["causes"], found["likely"]) == (1, ["unsupported-key"], []), found


def test_a_bundle_with_more_than_roots_is_warned_of(scene: Scene, doctor: Doctor) -> None:
    caller = scene.caller(roots=[scene.ca.root, scene.ca.issuing])
    code, found = doctor.data(scene.grpc_server(), "--credential", caller, *NAME)
    assert (code, found["causes"]) == (4, []), found
    assert "is no root" in answer(found, "our bundle")["message"]


def test_lists_that_are_not_there_are_warned_of(scene: Scene, doctor: Doctor) -> None:
    code, found = doctor.data(scene.grpc_server(), "--credential", scene.caller(crls=None), *NAME)
    assert (code, found["causes"]) == (4, []), found
    assert "revocation" in answer(found, "our revocation lists")["remedy"]


# Alerts


@needs_openssl
@pytest.mark.parametrize(
    ("version", "alert", "slugs"),
    [
        (
            "-tls1_2",
            "handshake failure",
            [
                "cipher-mismatch",
                "unsupported-key",
                "client-refused",
                "no-client-certificate",
                # The server names our root in its request, so it is hardly unknown.
                "unknown-ca",
            ],
        ),
        ("-tls1_3", "certificate required", ["unsupported-key", "no-client-certificate"]),
    ],
)
def test_an_alert_for_a_key_that_the_server_does_not_ask_for_is_told_in_words(
    scene: Scene, version: str, alert: str, slugs: list[str], doctor: Doctor
) -> None:
    caller = scene.caller(scene.ca.leaf("caller", key=rsa.generate_private_key(65537, 2048)))
    only = ("-client_sigalgs", "ecdsa_secp256r1_sha256", version)
    with s_server(scene, scene.ca.leaf(), *MUST, *only) as target:
        code, found = doctor.data(target, "--credential", caller, *NAME)
    assert (code, found["causes"], found["likely"]) == (1, [], slugs), found
    taken = [item for item in found["findings"] if item["check"] == "accepts our certificate"]
    assert alert in taken[0]["message"]


# What else was told wrongly


def test_a_grpc_server_without_tls_is_told_in_words_and_not_in_bytes(
    scene: Scene, doctor: Doctor
) -> None:
    _, found = doctor.data(scene.plain_grpc_server(), "--credential", scene.caller(), *NAME)
    assert found["causes"] == ["plaintext-server"], found
    message = answer(found, "TLS")["message"]
    assert "HTTP/2 without TLS" in message
    assert "\\x" not in message


def test_bytes_in_plaintext_that_are_no_text_are_counted(scene: Scene, doctor: Doctor) -> None:
    def take(plain: socket.socket) -> None:
        plain.recv(1024)
        plain.sendall(b"\xff\x00\x01\x80\x1b")

    _, found = doctor.data(scene.socket_server(take), *NAME)
    assert (
        answer(found, "TLS")["message"]
        == "the server answers in plaintext: 5 bytes that are no text"
    )


@pytest.mark.parametrize("kind", ["file", "folder", "left over"])
def test_a_path_that_is_no_servers_socket_is_told_so(
    scene: Scene, kind: str, doctor: Doctor
) -> None:
    path = scene.home / "s.sock"
    if kind == "file":
        path.write_bytes(b"")
    elif kind == "folder":
        path.mkdir()
    else:
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))
    _, found = doctor.data(f"unix:{path}", *NAME)
    assert found["causes"] == ["no-such-socket"], found
    assert "127.0.0.1" not in json.dumps(found["findings"])


def test_a_ca_certificate_as_a_leaf_is_a_warning_outside_of_spiffe(
    scene: Scene, doctor: Doctor
) -> None:
    made = scene.ca.leaf(names=[x509.DNSName("server.seed.internal")], is_ca=True)
    _, found = doctor.data(scene.grpc_server(made), "--credential", scene.caller(), *NAME)
    item = answer(found, "server certificate: usage")
    assert (item["status"], item["failure"]) == ("warning", "ca-as-leaf")


def test_a_certificate_that_is_sent_twice_is_not_called_disordered(
    scene: Scene, doctor: Doctor
) -> None:
    made = scene.ca.leaf()
    twice = Made(made.key, [made.chain[0], *made.chain])
    code, found = doctor.data(scene.openssl_server(twice), "--credential", scene.caller(), *NAME)
    item = answer(found, "server certificate: chain")
    assert item["failure"] == "chain-extra", found
    assert "twice" in item["message"]
    assert not found["causes"], (code, found)


def test_rules_of_openssl_are_told_in_words(scene: Scene, doctor: Doctor) -> None:
    # A CA under an issuing CA that allows none below.
    below = replace(scene.ca)
    below.key = ec.generate_private_key(ec.SECP256R1())
    below.issuing = sign(
        named("below"),
        below.key.public_key(),
        scene.ca.issuing,
        scene.ca.key,
        [(x509.BasicConstraints(ca=True, path_length=None), True), (ca_usage(), True)],
    )
    made = below.leaf()
    target = scene.openssl_server(Made(made.key, [*made.chain, scene.ca.issuing]))
    _, found = doctor.data(target, "--credential", scene.caller(), *NAME)
    assert found["causes"] == ["path-length"], found
    assert "path length" in answer(found, "server certificate: trust")["message"]
