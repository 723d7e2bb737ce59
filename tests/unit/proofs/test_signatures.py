"""Bindings and recovery proofs: each fits exactly what it was made for."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from pki.errors import InputError, NotPermittedError
from pki.identity import TrustDomain
from pki.keys import KeyType, generate_key
from pki.proofs import (
    Purpose,
    RecoveryId,
    RecoveryStatement,
    bind_request,
    check_binding,
    check_recovery,
    encode_recovery_key,
    read_recovery_key,
    sign_recovery,
)

SHOP, OTHER = TrustDomain("shop.internal"), TrustDomain("other.internal")
KEY = generate_key()


@pytest.mark.parametrize("kind", [KeyType.ECDSA_P256, KeyType.ECDSA_P384, KeyType.RSA_3072])
def test_a_binding_fits_its_proof_and_request_alone(kind: KeyType) -> None:
    key = generate_key(kind)
    binding = bind_request(key, Purpose.ENROLL, SHOP, proof=b"proof", request=b"request")
    public = key.public_key()
    check_binding(public, binding, Purpose.ENROLL, SHOP, proof=b"proof", request=b"request")
    for purpose, domain, proof, request in [
        (Purpose.RENEW, SHOP, b"proof", b"request"),
        (Purpose.ENROLL, OTHER, b"proof", b"request"),
        (Purpose.ENROLL, SHOP, b"proo", b"frequest"),
        (Purpose.ENROLL, SHOP, b"proof", b"another"),
    ]:
        with pytest.raises(NotPermittedError):
            check_binding(public, binding, purpose, domain, proof=proof, request=request)
    with pytest.raises(NotPermittedError):
        check_binding(
            KEY.public_key(), binding, Purpose.ENROLL, SHOP, proof=b"proof", request=b"request"
        )


@pytest.mark.parametrize("binding", [b"", b"\0", b"x" * 72, b"x" * 2_000_000])
def test_a_malformed_binding_is_refused(binding: bytes) -> None:
    with pytest.raises(NotPermittedError):
        check_binding(KEY.public_key(), binding, Purpose.RENEW, SHOP, proof=b"", request=b"")


def test_a_recovery_proof_fits_its_statement_alone() -> None:
    made = RecoveryStatement(SHOP, RecoveryId.make(b"k" * 32), b"nonce", b"request", b"next")
    proof = sign_recovery(KEY, made)
    check_recovery(KEY.public_key(), proof, made)
    for changed in [
        replace(made, trust_domain=OTHER),
        replace(made, recovery_id=RecoveryId.make(b"k" * 32)),
        replace(made, nonce=b"another"),
        replace(made, request=b"another"),
        replace(made, next_key=b"another"),
    ]:
        with pytest.raises(NotPermittedError):
            check_recovery(KEY.public_key(), proof, changed)


def test_a_recovery_id_has_one_text() -> None:
    made = RecoveryId.make(b"k" * 32)
    assert RecoveryId.parse(str(made)) == made
    assert made.is_of(b"k" * 32)
    assert not made.is_of(b"j" * 32)
    assert RecoveryId.of(b"k" * 32, made.id) == made
    text = str(made)
    for wrong in ["", "hfr1_", text[:-1], text + "=", text[5:], "hfr1_" + "A" * 10**6]:
        with pytest.raises(InputError):
            RecoveryId.parse(wrong)


def test_a_recovery_key_is_read_as_it_was_encoded() -> None:
    der = encode_recovery_key(KEY.public_key())
    assert encode_recovery_key(read_recovery_key(der)) == der
    small = ed25519.Ed25519PrivateKey.generate().public_key()
    for wrong in [b"", der[:-1], der + b"\0", b"x" * 5000, encode_recovery_key(small)]:
        with pytest.raises(InputError):
            read_recovery_key(wrong)
