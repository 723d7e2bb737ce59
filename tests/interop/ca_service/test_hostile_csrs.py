"""Hostile certificate signing requests by every way to a signature over the network."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

import pki
from pki._proto.handfast.ca.v1 import authority_pb2, authority_pb2_grpc, enrollment_pb2
from pki.authority.registrations import Proof
from pki.identity import SpiffeId
from pki.keys import PrivateKey, generate_key
from pki.proofs import EnrollmentToken, Purpose, bind_request
from pki.x509.profiles.builder import key_usage
from tests.ca_service import Served
from tests.interop.asking import asking, reason, stranger
from tests.interop.shop import SECONDS
from tests.pkimaker import CUT_NAMES, der
from tests.support import SHOP, name, request_for

KEY = generate_key()
ORDERS = x509.UniformResourceIdentifier("spiffe://shop.internal/orders")
PAYMENTS = x509.UniformResourceIdentifier("spiffe://shop.internal/payments")
GOOD = der(request_for(KEY, [ORDERS]))


def asks_for(*extensions: tuple[x509.ExtensionType, bool]) -> bytes:
    return der(request_for(KEY, [ORDERS], extensions=extensions))


def uri(text: str) -> bytes:
    return der(request_for(KEY, [x509.UniformResourceIdentifier(text)]))


def of_key(key: PrivateKey | dsa.DSAPrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return der(
        x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, algorithm)
    )


def with_another_signature() -> bytes:
    mine, other = bytearray(GOOD), der(request_for(generate_key(), [ORDERS]))
    mine[-20:] = other[-20:]
    return bytes(mine)


REFUSED = {"REQUEST_INVALID", "NAME_NOT_PERMITTED", "RESOURCE_EXHAUSTED"}
HOSTILE = {
    "nothing": b"",
    "text": b"-----BEGIN CERTIFICATE REQUEST-----\n",
    "cut short": GOOD[:-1],
    "trailing bytes": GOOD + b"\0",
    "two": GOOD + GOOD,
    "100 KB": GOOD + bytes(100_000),
    "another signature": with_another_signature(),
    "a CA": asks_for((x509.BasicConstraints(ca=True, path_length=None), True)),
    "keyCertSign": asks_for((key_usage(ca=True), True)),
    "code signing": asks_for((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False)),
    "name constraints": asks_for((x509.NameConstraints([x509.DNSName("x.test")], None), True)),
    "an unknown extension": asks_for(
        (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)
    ),
    "names that can't be read": der(request_for(KEY, extensions=[(CUT_NAMES, False)])),
    "RSA 1024": of_key(rsa.generate_private_key(65537, 1024)),
    "P-192": of_key(ec.generate_private_key(ec.SECP192R1())),
    "secp256k1": of_key(ec.generate_private_key(ec.SECP256K1())),
    "DSA": of_key(dsa.generate_private_key(2048)),
    "Ed25519": of_key(ed25519.Ed25519PrivateKey.generate()),
    "two URIs": der(request_for(KEY, [ORDERS, PAYMENTS])),
    "another domain": uri("spiffe://bank.internal/orders"),
    "the trust domain": uri("spiffe://shop.internal"),
    "dots": uri("spiffe://shop.internal/prod/../orders"),
    "two slashes": uri("spiffe://shop.internal//orders"),
    "slash at the end": uri("spiffe://shop.internal/orders/"),
    "a query": uri("spiffe://shop.internal/orders?x"),
    "a port": uri("spiffe://shop.internal:443/orders"),
    "upper case": uri("spiffe://SHOP.internal/orders"),
    "another workload": uri("spiffe://shop.internal/payments"),
    "the CA": uri("spiffe://shop.internal/handfast/ca"),
    "another's DNS name": der(request_for(KEY, [x509.DNSName("payments.shop.internal")])),
    "a wildcard": der(request_for(KEY, [x509.DNSName("*.shop.internal")])),
    "a NUL": der(request_for(KEY, [x509.DNSName("orders.shop.internal\0.test")])),
    "a mailbox": der(request_for(KEY, [x509.RFC822Name("orders@shop.internal")])),
    "an address": der(request_for(KEY, [x509.IPAddress(ip_address("10.0.0.1"))])),
    "a subject of another": der(request_for(KEY, subject=name("payments"))),
    "an unprintable subject": der(request_for(KEY, subject=name("orders\u202e"))),
}


def enroll(ca: Served, folder: Path, request: bytes) -> str:
    """Return why a request is refused with a token, or an empty text."""
    del folder
    credential = EnrollmentToken.parse(ca.token("orders")).credential
    binding = bind_request(KEY, Purpose.ENROLL, SHOP, proof=credential.id, request=request)
    asked = enrollment_pb2.EnrollRequest(
        token=credential.encode(), request=request, binding=binding
    )
    with stranger(ca) as stub:
        return outcome(lambda: stub.Enroll(asked, timeout=SECONDS))


def renew(ca: Served, folder: Path, request: bytes) -> str:
    """The same for a renewal."""
    own = folder / secrets.token_hex(4)
    ca.authority.issue("orders").save(own)
    with pki.Workload.from_directory(own) as me:
        presented = der(me.credential.leaf)
        binding = bind_request(KEY, Purpose.RENEW, SHOP, proof=presented, request=request)
        asked = authority_pb2.RenewRequest(request=request, binding=binding)
        with me.sync_channel(ca.address, peer=SpiffeId.of_ca(SHOP)) as channel:
            stub = authority_pb2_grpc.AuthorityStub(channel)
            return outcome(lambda: stub.Renew(asked, timeout=SECONDS))


def batch(ca: Served, folder: Path, request: bytes) -> str:
    """The same for an admin's batch."""
    own = folder / secrets.token_hex(4)
    own.mkdir()
    with asking(ca, own, "ops") as ops:
        item = authority_pb2.BatchItem(spiffe_id=ORDERS.value, request=request)
        asked = authority_pb2.IssueBatchRequest(items=[item])
        results = ops.authority.IssueBatch(asked, timeout=SECONDS).results
    return results[0].refused.reason


def outcome(call: Callable[[], object]) -> str:
    try:
        call()
    except grpc.RpcError as error:
        return reason(error)
    return ""


@pytest.mark.parametrize("way", [enroll, renew, batch])
def test_hostile_requests_are_refused_and_their_good_twin_is_not(
    ca: Served, tmp_path: Path, way: Callable[[Served, Path, bytes], str]
) -> None:
    ca.register("orders", proofs=frozenset({Proof.REGISTRAR, Proof.TOKEN, Proof.RENEWAL}))
    outcomes = {what: way(ca, tmp_path, request) for what, request in HOSTILE.items()}
    assert {what: why for what, why in outcomes.items() if why not in REFUSED} == {}
    assert way(ca, tmp_path, GOOD) == ""
