"""The path that verifiers build, and who may sign what: each case on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL, crypto

from tests.interop.forged_keys import sign_with_another_key
from tests.interop.seeds import (
    BOTH,
    CLIENT_ONLY,
    HOUR,
    SERVER_ONLY,
    Ca,
    Made,
    Scene,
    ca_usage,
    crl,
    named,
    pem,
    scene_in,
    sign,
)
from tests.interop.test_doctor_found import NAME, Doctor, answer
from tests.interop.test_doctor_servers import MUST, needs_openssl, s_server
from tests.interop.test_doctor_stand_in import call, make_handshake, standing_in

ANY = (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with scene_in(tmp_path) as made:
        yield made


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str]) -> Doctor:
    return Doctor(capsys)


def for_ca(
    path_length: int | None = 1, usage: tuple[x509.ObjectIdentifier, ...] = ()
) -> list[tuple[x509.ExtensionType, bool]]:
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=True, path_length=path_length), True),
        (ca_usage(), True),
    ]
    return [*extensions, (x509.ExtendedKeyUsage(usage), False)] if usage else extensions


def with_usages(ca: Ca, root: tuple[Any, ...] = (), issuing: tuple[Any, ...] = ()) -> Ca:
    """Give the CAs an extended key usage."""
    ca.root = sign(named("seed root"), ca.root_key.public_key(), None, ca.root_key, for_ca(1, root))
    ca.issuing = sign(
        named("seed issuing"), ca.key.public_key(), ca.root, ca.root_key, for_ca(0, issuing)
    )
    return ca


# A cross certificate that has ended


def cross_certificate(ca: Ca) -> tuple[x509.Certificate, x509.Certificate]:
    """Return an ended certificate of the root by an older one, and the older one."""
    key = ec.generate_private_key(ec.SECP256R1())
    older = sign(named("older root"), key.public_key(), None, key, for_ca(2))
    times = (-3 * HOUR, -HOUR)
    new = ca.root_key.public_key()
    return sign(ca.root.subject, new, older, key, for_ca(1), times=times), older


@pytest.mark.parametrize("kind", ["grpc", "openssl"])
def test_an_ended_cross_certificate_does_no_harm_to_whoever_has_the_new_root(
    scene: Scene, kind: str, doctor: Doctor
) -> None:
    made = scene.ca.leaf()
    sent = Made(made.key, [*made.chain, cross_certificate(scene.ca)[0]])
    target = scene.grpc_server(sent) if kind == "grpc" else scene.openssl_server(sent)
    _, found = doctor.data(target, "--credential", scene.caller(), *NAME)
    assert not found["causes"], found
    warned = answer(found, "server certificate: times of its CAs")
    assert (warned["status"], warned["failure"]) == ("warning", "expired")
    assert "does not need it" in warned["message"]
    if kind == "grpc":
        # gRPC accepts the chain, so nothing more than a warning is right.
        assert answer(found, "a call by gRPC")["status"] == "ok"


def test_an_ended_cross_certificate_in_our_own_chain_does_no_harm_either(
    scene: Scene, doctor: Doctor
) -> None:
    made = scene.ca.leaf("caller")
    ours = Made(made.key, [*made.chain, cross_certificate(scene.ca)[0]])
    code, found = doctor.data(scene.grpc_server(), "--credential", scene.caller(ours), *NAME)
    assert (code, found["causes"], found["likely"]) == (4, [], []), found


def test_an_ended_cross_certificate_is_the_cause_for_whoever_has_only_the_older_root(
    scene: Scene, doctor: Doctor
) -> None:
    made = scene.ca.leaf()
    cross, older = cross_certificate(scene.ca)
    bundle = scene.home / "older.pem"
    bundle.write_bytes(pem([older]))
    target = scene.grpc_server(Made(made.key, [*made.chain, cross]), require=False)
    code, found = doctor.data(target, "--bundle", bundle, *NAME)
    assert (code, found["causes"]) == (1, ["expired"]), found


def test_a_bundle_of_the_issuing_ca_alone_is_accepted_by_grpc_and_warned_of(
    scene: Scene, doctor: Doctor
) -> None:
    bundle = scene.home / "issuing.pem"
    bundle.write_bytes(pem([scene.ca.issuing]))
    target = scene.grpc_server(require=False)
    code, found = doctor.data(target, "--bundle", bundle, *NAME)
    assert (code, found["causes"], found["likely"]) == (4, [], []), found
    assert answer(found, "a call by gRPC")["status"] == "ok"
    assert answer(found, "server certificate: trust")["failure"] == "unknown-ca"


def test_a_leaf_sent_alone_is_no_cause_once_the_server_has_accepted_it(
    scene: Scene, doctor: Doctor
) -> None:
    made = scene.ca.leaf("caller")
    alone = scene.caller(Made(made.key, made.chain[:1]))
    target = scene.grpc_server(roots=[scene.ca.root, scene.ca.issuing])
    code, found = doctor.data(target, "--credential", alone, *NAME)
    assert (code, found["causes"], found["likely"]) == (4, [], []), found
    assert answer(found, "our certificate: trust")["failure"] == "incomplete-chain"


# Names that are written in two ways


def with_a_name_in_other_bytes(ca: Ca) -> Ca:
    """Let the issuing CA name its root in another string type than the root itself."""
    written = x509.NameAttribute(
        x509.NameOID.COMMON_NAME, "seed root", _type=_ASN1Type.PrintableString
    )
    ca.root = sign(x509.Name([written]), ca.root_key.public_key(), None, ca.root_key, for_ca(1))
    other = sign(named("seed root"), ca.root_key.public_key(), None, ca.root_key, for_ca(1))
    ca.issuing = sign(named("seed issuing"), ca.key.public_key(), other, ca.root_key, for_ca(0))
    assert ca.issuing.issuer.public_bytes() != ca.root.subject.public_bytes()
    return ca


@pytest.mark.parametrize("kind", ["grpc", "openssl"])
def test_a_name_in_other_bytes_is_the_same_name_and_go_is_warned_of(
    scene: Scene, kind: str, doctor: Doctor
) -> None:
    with_a_name_in_other_bytes(scene.ca)
    target = (
        scene.grpc_server() if kind == "grpc" else scene.openssl_server(asked_for=[scene.ca.root])
    )
    _, found = doctor.data(target, "--credential", scene.caller(), *NAME)
    assert not found["causes"], found
    assert answer(found, "requests a certificate")["status"] == "ok", found
    assert answer(found, "accepts our certificate")["status"] == "ok"
    warned = answer(found, "server certificate: Go")
    assert (warned["status"], warned["failure"]) == ("warning", "strict-verifier")


def test_a_server_that_names_other_cas_and_accepts_ours_leaves_no_cause(
    scene: Scene, doctor: Doctor
) -> None:
    target = scene.openssl_server(asked_for=[Ca("other").root])
    _, found = doctor.data(target, "--credential", scene.caller(), *NAME)
    assert not found["causes"], found
    warned = answer(found, "requests a certificate")
    assert (warned["status"], warned["failure"]) == ("warning", "ca-not-requested")
    assert answer(found, "accepts our certificate")["status"] == "ok"


# What a CA may issue for


@pytest.mark.parametrize("usage", [SERVER_ONLY, ANY])
def test_an_issuing_ca_that_is_not_for_clients_is_the_cause_and_is_named(
    scene: Scene, usage: tuple[Any, ...], doctor: Doctor
) -> None:
    with_usages(scene.ca, issuing=usage)
    code, found = doctor.data(scene.grpc_server(), "--credential", scene.caller(), *NAME)
    assert code == 1
    assert set(found["causes"]) == {"wrong-usage"}, found
    cause = answer(found, "our certificate: usage of its CAs")
    assert "seed issuing" in cause["message"]
    assert answer(found, "accepts our certificate")["failure"] is None


def test_an_issuing_ca_that_is_not_for_servers_is_the_cause_at_the_server(
    scene: Scene, doctor: Doctor
) -> None:
    with_usages(scene.ca, issuing=CLIENT_ONLY)
    _, found = doctor.data(scene.grpc_server(), "--credential", scene.caller(), *NAME)
    assert found["causes"] == ["wrong-usage"], found
    assert "seed issuing" in answer(found, "server certificate: usage of its CAs")["message"]


def test_the_stand_in_refuses_a_caller_whose_issuing_ca_is_not_for_clients(scene: Scene) -> None:
    with_usages(scene.ca, issuing=SERVER_ONLY)
    made = scene.ca.leaf("caller", usage=BOTH)
    with standing_in(scene) as there:
        call(there.target, made, pem([scene.ca.root]))
        line = there.line()
    assert (line["outcome"], line["causes"]) == ("refused", ["wrong-usage"]), line
    assert "seed issuing" in str(line["findings"])


def test_a_roots_usage_is_a_warning_because_grpc_does_not_read_it(
    scene: Scene, doctor: Doctor
) -> None:
    with_usages(scene.ca, root=SERVER_ONLY)
    code, found = doctor.data(scene.grpc_server(), "--credential", scene.caller(), *NAME)
    assert (code, found["causes"]) == (4, []), found
    assert answer(found, "our certificate: usage of its CAs")["failure"] == "wrong-usage"
    assert answer(found, "a call by gRPC")["status"] == "ok"


# The key and the leaf


def test_a_server_whose_key_is_of_another_certificate_is_the_cause(
    scene: Scene, doctor: Doctor
) -> None:
    made = scene.ca.leaf()
    other = ec.generate_private_key(ec.SECP256R1())
    target = scene.openssl_server(
        made, setting=lambda context: sign_with_another_key(context, made.chain[0], other)
    )
    code, found = doctor.data(target, "--credential", scene.caller(), *NAME)
    assert (code, found["causes"], found["likely"]) == (1, ["key-mismatch"], []), found
    assert answer(found, "server certificate: key")["failure"] == "key-mismatch"


def test_a_server_that_sends_its_issuer_first_is_told_so_and_nothing_else(
    scene: Scene, doctor: Doctor
) -> None:
    made = scene.ca.leaf()
    turned = Made(scene.ca.key, [scene.ca.issuing, made.chain[0]])
    target = scene.openssl_server(
        turned, setting=lambda context: sign_with_another_key(context, scene.ca.issuing, made.key)
    )
    code, found = doctor.data(target, "--credential", scene.caller(), *NAME)
    assert (code, found["causes"], found["likely"]) == (1, ["chain-order"], []), found
    cause = answer(found, "server certificate: chain")
    assert "does not come first" in cause["message"]


def test_our_own_chain_that_begins_with_the_issuer_is_told_so_and_nothing_else(
    scene: Scene, doctor: Doctor
) -> None:
    made = scene.ca.leaf("caller")
    turned = Made(made.key, made.chain[::-1])
    code, found = doctor.data(scene.grpc_server(), "--credential", scene.caller(turned), *NAME)
    assert (code, found["causes"], found["likely"]) == (1, ["chain-order"], []), found


@pytest.mark.parametrize("case", ["key-mismatch", "chain-order"])
def test_the_stand_in_tells_whose_key_a_caller_signs_with(scene: Scene, case: str) -> None:
    made = scene.ca.leaf("caller")
    first, signing = made.chain[0], ec.generate_private_key(ec.SECP256R1())
    if case == "chain-order":
        first, signing = scene.ca.issuing, made.key
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    # In TLS 1.2 the caller waits until its signature was verified.
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    context.use_certificate(first)
    for item in made.chain:
        if item != first:
            context.add_extra_chain_cert(item)
    sign_with_another_key(context, first, signing)
    with standing_in(scene) as there:
        make_handshake(context, there.target)
        line = there.line()
    assert (line["causes"], line["likely"]) == ([case], []), line


# Lists that only the server has


@needs_openssl
def test_a_server_without_the_roots_list_is_not_said_to_lack_our_ca(
    scene: Scene, doctor: Doctor
) -> None:
    # OpenSSL, and HAProxy with crl-file, demand a list of each CA, and send alert 48 without one.
    lists = scene.home / "lists.pem"
    lists.write_bytes(pem([crl(scene.ca.issuing, scene.ca.key, [], HOUR)]))
    options = ("-CRL", str(lists), "-crl_check_all")
    with s_server(scene, scene.ca.leaf(), *MUST, *options) as target:
        code, found = doctor.data(target, "--credential", scene.caller(), *NAME)
    assert (code, found["causes"]) == (1, []), found
    # The server names our root in its request, so it has it.
    assert found["likely"][0] == "no-crl", found
    assert "unknown-ca" in found["likely"]


def test_with_the_servers_lists_at_hand_the_missing_one_is_the_likeliest_cause(
    scene: Scene, doctor: Doctor
) -> None:
    lists = crl(scene.ca.issuing, scene.ca.key, [], HOUR)

    def setting(context: SSL.Context) -> None:
        store = context.get_cert_store()
        assert store is not None
        store.add_crl(lists)
        flags = crypto.X509StoreFlags
        store.set_flags(flags.CRL_CHECK | flags.CRL_CHECK_ALL)

    arguments = (scene.openssl_server(setting=setting), "--credential", scene.caller(), *NAME)
    _, found = doctor.data(*arguments)
    assert (found["causes"], found["likely"][0]) == ([], "unknown-ca"), found
    assert "less likely: path-length" not in doctor.text(*arguments)
    assert "less likely: issuer-not-ca" in doctor.text(*arguments)
    server = scene.credential("server", scene.ca.leaf(), crls=pem([lists]))
    _, found = doctor.data(*arguments, "--server-credential", server)
    assert (found["causes"], found["likely"][0]) == ([], "no-crl"), found
    # The server's bundle holds our root, so that is not the cause.
    assert not {"unknown-ca", "incomplete-chain"} & {*found["likely"]}, found


def test_one_fault_of_a_ca_is_one_cause_at_both_ends(scene: Scene, doctor: Doctor) -> None:
    with_usages(scene.ca, issuing=(ExtendedKeyUsageOID.CODE_SIGNING,))
    _, found = doctor.data(scene.grpc_server(), "--credential", scene.caller(), *NAME)
    assert found["causes"] == ["wrong-usage"], found
