"""Faults, each seeded on a real server: doctor names the cause surely, or first of the likely."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from OpenSSL import SSL

from pki.cli.app import run
from tests.interop.seeds import (
    CLIENT_ONLY,
    HOUR,
    LOCALHOST,
    SERVER_ONLY,
    Ca,
    Made,
    Scene,
    named,
    names_of,
    pem,
    scene_in,
    sign,
)

Seed = Callable[[Scene], list[str]]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with scene_in(tmp_path) as made:
        yield made


def examined(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, Any]:
    capsys.readouterr()
    code = run(["doctor", *arguments, "--json"])
    out, err = capsys.readouterr()
    assert out, err
    return code, json.loads(out)


def at(target: str, caller: Path | None = None, *more: str) -> list[str]:
    name = [] if "--name" in more else ["--name", "server.seed.internal"]
    own = ["--credential", str(caller)] if caller is not None else []
    return [target, *own, *name, *more]


@dataclass(frozen=True)
class Case:
    slug: str
    seed: Seed
    likelihood: bool = False
    also: tuple[str, ...] = ()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


# The way there


def nobody_listens(scene: Scene) -> list[str]:
    return at(f"127.0.0.1:{closed_port()}", scene.caller())


def a_name_without_address(scene: Scene) -> list[str]:
    return at("no-such-host.invalid:443", scene.caller())


def no_unix_socket(scene: Scene) -> list[str]:
    return at(f"unix:{scene.home}/none.sock", scene.caller())


def plaintext_grpc(scene: Scene) -> list[str]:
    return at(scene.plain_grpc_server(), scene.caller())


def plaintext_http(scene: Scene) -> list[str]:
    def take(plain: socket.socket) -> None:
        plain.recv(1024)
        plain.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

    return at(scene.socket_server(take), scene.caller())


def silence(scene: Scene) -> list[str]:
    return at(scene.silent_server(), scene.caller(), "--seconds", "0.5")


def no_http2(scene: Scene) -> list[str]:
    return at(scene.openssl_server(alpn=None), scene.caller())


def another_protocol(scene: Scene) -> list[str]:
    return at(scene.openssl_server(alpn=b"http/1.1"), scene.caller())


def an_old_version(scene: Scene) -> list[str]:
    def setting(context: SSL.Context) -> None:
        context.set_min_proto_version(SSL.TLS1_VERSION)
        context.set_max_proto_version(SSL.TLS1_1_VERSION)

    return at(scene.openssl_server(setting=setting), scene.caller())


def an_old_cipher(scene: Scene) -> list[str]:
    def setting(context: SSL.Context) -> None:
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        context.set_cipher_list(b"AES128-SHA:@SECLEVEL=0")

    made = scene.ca.leaf(key=rsa.generate_private_key(65537, 2048))
    return at(scene.openssl_server(made, setting=setting), scene.caller())


# The server's certificate


def server_expired(scene: Scene) -> list[str]:
    return at(scene.grpc_server(scene.ca.leaf(begin=-2 * HOUR, end=-HOUR)), scene.caller())


def server_not_yet_valid(scene: Scene) -> list[str]:
    return at(scene.grpc_server(scene.ca.leaf(begin=HOUR, end=2 * HOUR)), scene.caller())


def server_of_another_ca(scene: Scene) -> list[str]:
    return at(scene.grpc_server(Ca("other").leaf()), scene.caller())


def server_of_another_ca_with_its_root(scene: Scene) -> list[str]:
    other = Ca("other")
    made = other.leaf()
    return at(scene.grpc_server(Made(made.key, [*made.chain, other.root])), scene.caller())


def server_of_a_ca_made_anew(scene: Scene) -> list[str]:
    return at(scene.grpc_server(Ca().leaf()), scene.caller())


def server_lacks_its_intermediate(scene: Scene) -> list[str]:
    made = scene.ca.leaf()
    return at(scene.grpc_server(Made(made.key, made.chain[:1])), scene.caller())


def server_self_signed(scene: Scene) -> list[str]:
    key = ec.generate_private_key(ec.SECP256R1())
    san = (x509.SubjectAlternativeName(names_of("server")), False)
    leaf = sign(named("server"), key.public_key(), None, key, [san])
    return at(scene.grpc_server(Made(key, [leaf])), scene.caller())


def server_by_another_name(scene: Scene) -> list[str]:
    return at(scene.grpc_server(scene.ca.leaf("payments")), scene.caller())


def server_of_another_trust_domain(scene: Scene) -> list[str]:
    names = [
        x509.UniformResourceIdentifier("spiffe://other.internal/server"),
        x509.DNSName("server.seed.internal"),
    ]
    server = scene.grpc_server(scene.ca.leaf(names=names))
    return at(server, scene.caller(), "--name", "spiffe://seed.internal/server")


def server_without_names(scene: Scene) -> list[str]:
    return at(scene.grpc_server(scene.ca.leaf(names=[])), scene.caller())


def server_for_clients_alone(scene: Scene) -> list[str]:
    return at(scene.grpc_server(scene.ca.leaf(usage=CLIENT_ONLY)), scene.caller())


def server_with_a_ca_certificate(scene: Scene) -> list[str]:
    return at(scene.grpc_server(scene.ca.leaf(is_ca=True)), scene.caller())


def server_with_two_spiffe_ids(scene: Scene) -> list[str]:
    names = [*names_of("server"), *names_of("orders")]
    return at(scene.grpc_server(scene.ca.leaf(names=names)), scene.caller())


def server_with_a_weak_key(scene: Scene) -> list[str]:
    made = scene.ca.leaf(key=rsa.generate_private_key(65537, 1024))
    return at(scene.openssl_server(made), scene.caller())


def server_signed_with_sha1(scene: Scene) -> list[str]:
    key = ec.generate_private_key(ec.SECP256R1())
    request, ca, ca_key = (scene.home / name for name in ("leaf.csr", "ca.pem", "ca.key"))
    san = x509.SubjectAlternativeName(names_of("server"))
    builder = x509.CertificateSigningRequestBuilder().subject_name(named("server"))
    made = builder.add_extension(san, critical=False).sign(key, hashes.SHA256())
    request.write_bytes(pem([made]))
    ca.write_bytes(pem([scene.ca.issuing]))
    ca_key.write_bytes(Made(scene.ca.key, []).key_pem)
    # cryptography signs nothing with SHA-1 any more.
    command: list[str | Path] = ["openssl", "x509", "-req", "-in", request, "-CA", ca]
    command += ["-CAkey", ca_key, "-sha1", "-set_serial", "7", "-copy_extensions", "copyall"]
    weak = subprocess.run(command, capture_output=True, check=True).stdout
    chain = [x509.load_pem_x509_certificate(weak), scene.ca.issuing]
    return at(scene.openssl_server(Made(key, chain)), scene.caller())


def server_with_an_ed25519_key(scene: Scene) -> list[str]:
    made = scene.ca.leaf(key=ed25519.Ed25519PrivateKey.generate())
    return at(scene.openssl_server(made), scene.caller())


def server_outside_its_constraints(scene: Scene) -> list[str]:
    scene.ca = Ca(constraints=x509.NameConstraints([x509.DNSName("elsewhere.internal")], None))
    return at(scene.grpc_server(scene.ca.leaf()), scene.caller(scene.ca.leaf("caller", names=[])))


def server_revoked(scene: Scene) -> list[str]:
    made = scene.ca.leaf()
    caller = scene.caller(crls=scene.ca.crls([made.chain[0]]))
    return at(scene.grpc_server(made), caller)


def server_of_a_revoked_issuer(scene: Scene) -> list[str]:
    crls = scene.ca.crls(root_revoked=[scene.ca.issuing])
    return at(scene.grpc_server(), scene.caller(crls=crls))


def a_stale_crl(scene: Scene) -> list[str]:
    return at(scene.grpc_server(), scene.caller(crls=scene.ca.crls(end=-HOUR)))


# Our certificate


def no_certificate_of_ours(scene: Scene) -> list[str]:
    bundle = scene.home / "bundle.pem"
    bundle.write_bytes(pem([scene.ca.root]))
    return at(scene.grpc_server(), None, "--bundle", str(bundle))


def ours_expired(scene: Scene) -> list[str]:
    return at(scene.grpc_server(), scene.caller(scene.ca.leaf("caller", end=-HOUR / 2)))


def ours_not_yet_valid(scene: Scene) -> list[str]:
    return at(scene.grpc_server(), scene.caller(scene.ca.leaf("caller", begin=HOUR / 2)))


def ours_for_servers_alone(scene: Scene) -> list[str]:
    return at(scene.grpc_server(), scene.caller(scene.ca.leaf("caller", usage=SERVER_ONLY)))


def ours_lacks_its_intermediate(scene: Scene) -> list[str]:
    made = scene.ca.leaf("caller")
    return at(scene.grpc_server(), scene.caller(Made(made.key, made.chain[:1])))


def ours_of_another_ca(scene: Scene) -> list[str]:
    other = Ca("other")
    caller = scene.caller(other.leaf("caller"), roots=[scene.ca.root, other.root], crls=None)
    return at(scene.grpc_server(), caller)


def ours_with_an_ed25519_key(scene: Scene) -> list[str]:
    made = scene.ca.leaf("caller", key=ed25519.Ed25519PrivateKey.generate())
    return at(scene.grpc_server(), scene.caller(made))


def ours_with_an_address_under_our_ca(scene: Scene) -> list[str]:
    permitted = [x509.DNSName("seed.internal"), x509.DNSName("elsewhere.internal")]
    scene.ca = Ca(constraints=x509.NameConstraints(permitted, None))
    made = scene.ca.leaf("caller", names=[x509.DNSName("caller.other.internal"), LOCALHOST])
    return at(scene.grpc_server(), scene.caller(made))


def another_key(scene: Scene) -> list[str]:
    key = Made(ec.generate_private_key(ec.SECP256R1()), []).key_pem
    return at(scene.grpc_server(), scene.caller(key=key))


def half_a_key(scene: Scene) -> list[str]:
    made = scene.ca.leaf("caller")
    return at(scene.grpc_server(), scene.caller(made, key=made.key_pem[:80]))


def the_server_believes_another_ca(scene: Scene) -> list[str]:
    return at(scene.grpc_server(roots=[Ca("other").root]), scene.caller())


def the_server_is_of_a_new_ca(scene: Scene) -> list[str]:
    new = Ca("new")
    return at(
        scene.grpc_server(new.leaf(), roots=[new.root]),
        scene.caller(roots=[scene.ca.root, new.root], crls=None),
    )


def an_alert_for_an_expired_one(scene: Scene) -> list[str]:
    return at(scene.openssl_server(), scene.caller(scene.ca.leaf("caller", end=-HOUR / 2)))


def an_alert_for_an_unknown_ca(scene: Scene) -> list[str]:
    other = Ca("other")
    caller = scene.caller(other.leaf("caller"), roots=[scene.ca.root, other.root], crls=None)
    return at(scene.openssl_server(), caller)


def another_ca_is_asked_for(scene: Scene) -> list[str]:
    other = Ca("other")
    server = scene.openssl_server(asked_for=[scene.ca.root])
    caller = scene.caller(other.leaf("caller"), roots=[scene.ca.root, other.root], crls=None)
    return at(server, caller)


# The policy

POLICY = """
trust_domain = "seed.internal"
[roles]
caller = ["spiffe://seed.internal/caller"]
server = ["spiffe://seed.internal/server"]
[[grant]]
role = "caller"
methods = ["/seed.v1.Seed/Get"]
[[served_by]]
service = "seed.v1.Seed"
role = "server"
"""


def policy_in(scene: Scene) -> str:
    path = scene.home / "policy.toml"
    path.write_text(POLICY)
    return str(path)


def a_method_that_is_not_granted(scene: Scene) -> list[str]:
    policy = ["--policy", policy_in(scene), "--method", "/seed.v1.Seed/Put"]
    return at(scene.grpc_server(), scene.caller(), *policy)


def a_caller_without_a_role(scene: Scene) -> list[str]:
    policy = ["--policy", policy_in(scene), "--method", "/seed.v1.Seed/Get"]
    return at(scene.grpc_server(), scene.caller(scene.ca.leaf("stranger")), *policy)


def a_server_without_its_role(scene: Scene) -> list[str]:
    policy = ["--policy", policy_in(scene), "--expect-role", "caller"]
    return at(scene.grpc_server(), scene.caller(), *policy)


CASES = [
    Case("not-listening", nobody_listens),
    Case("no-such-host", a_name_without_address),
    Case("no-such-socket", no_unix_socket),
    Case("plaintext-server", plaintext_grpc),
    Case("plaintext-server", plaintext_http),
    Case("handshake-timeout", silence),
    Case("not-http2", no_http2),
    Case("not-http2", another_protocol),
    Case("protocol-version", an_old_version),
    Case("cipher-mismatch", an_old_cipher),
    Case("expired", server_expired),
    Case("not-yet-valid", server_not_yet_valid),
    Case("unknown-ca", server_of_another_ca),
    Case("unknown-ca", server_of_another_ca_with_its_root),
    Case("unknown-ca", server_of_a_ca_made_anew),
    Case("incomplete-chain", server_lacks_its_intermediate),
    Case("self-signed", server_self_signed),
    Case("wrong-name", server_by_another_name),
    Case("wrong-trust-domain", server_of_another_trust_domain),
    Case("no-san", server_without_names),
    Case("wrong-usage", server_for_clients_alone),
    Case("ca-as-leaf", server_with_a_ca_certificate),
    Case("two-spiffe-ids", server_with_two_spiffe_ids),
    Case("weak-key", server_with_a_weak_key),
    Case("weak-signature", server_signed_with_sha1),
    Case("unsupported-key", server_with_an_ed25519_key),
    Case("name-constraint", server_outside_its_constraints),
    Case("revoked", server_revoked),
    Case("issuer-revoked", server_of_a_revoked_issuer),
    Case("stale-crl", a_stale_crl),
    Case("no-client-certificate", no_certificate_of_ours),
    Case("expired", ours_expired),
    Case("not-yet-valid", ours_not_yet_valid),
    Case("wrong-usage", ours_for_servers_alone),
    Case("incomplete-chain", ours_lacks_its_intermediate),
    Case("unknown-ca", ours_of_another_ca, likelihood=True),
    Case("unsupported-key", ours_with_an_ed25519_key),
    Case("name-constraint", ours_with_an_address_under_our_ca),
    Case("key-mismatch", another_key),
    Case("incomplete-files", half_a_key),
    Case("unknown-ca", the_server_believes_another_ca, likelihood=True),
    Case("unknown-ca", the_server_is_of_a_new_ca, likelihood=True),
    Case("expired", an_alert_for_an_expired_one),
    Case("unknown-ca", an_alert_for_an_unknown_ca, likelihood=True),
    Case("ca-not-requested", another_ca_is_asked_for),
    Case("not-granted", a_method_that_is_not_granted, also=("server-role-missing",)),
    Case("no-role", a_caller_without_a_role),
    Case("server-role-missing", a_server_without_its_role),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.seed.__name__)
def test_the_cause_of_a_seeded_fault_is_named(
    case: Case, scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = examined(case.seed(scene), capsys)
    assert code == 1, found
    if case.likelihood:
        assert not found["causes"], found
        assert found["likely"][0] == case.slug, found
    else:
        assert found["causes"][0] == case.slug, found
    assert set(found["causes"]) <= {case.slug, *case.also}, found
