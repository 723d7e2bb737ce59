"""Recoveries: how a workload whose last certificate has ended proves that it is the same one."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from dataclasses import dataclass

from cryptography.hazmat.primitives import serialization

from pki.errors import InputError
from pki.identity import SpiffeId, TrustDomain
from pki.keys import PrivateKey, PublicKey, check_leaf_key, public_key_to_der
from pki.proofs.statement import check_signature, sha256, sign, statement
from pki.proofs.token import MAC_BYTES, authentication_code
from pki.x509.decoding import UNREADABLE

MAX_RECOVERY_KEY_BYTES = 2048
_PREFIX = "hfr1_"
_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class RecoveryId:
    """Names a line of certificates, with a MAC by which the CA knows it as its own.

    It is no secret: the recovery key is.
    """

    id: bytes
    mac: bytes

    @classmethod
    def make(cls, key: bytes) -> RecoveryId:
        """Make the id of a new line.

        Args:
            key: the CA's key for MACs.
        """
        return cls.of(key, secrets.token_bytes(_ID_BYTES))

    @classmethod
    def of(cls, key: bytes, line_id: bytes) -> RecoveryId:
        """Return the id of a line that has been there before.

        Args:
            key: the CA's key for MACs.
            line_id: 16 bytes.
        """
        return cls(line_id, authentication_code(key, "recovery", line_id))

    @classmethod
    def parse(cls, text: str) -> RecoveryId:
        """Parse the text form.

        Raises:
            InputError: if it is not one.
        """
        encoded = text.removeprefix(_PREFIX)
        try:
            data = base64.b64decode(encoded + "=" * (-len(encoded) % 4), b"-_", validate=True)
        except (binascii.Error, ValueError):
            data = b""
        if len(data) != _ID_BYTES + MAC_BYTES or str(parsed := cls(data[:16], data[16:])) != text:
            raise InputError(f"a recovery id begins with {_PREFIX} and has 48 characters")
        return parsed

    def __str__(self) -> str:
        """Return the text form."""
        return _PREFIX + base64.urlsafe_b64encode(self.id + self.mac).decode().rstrip("=")

    def is_of(self, key: bytes) -> bool:
        """Return whether the CA with this key for MACs made the id."""
        return hmac.compare_digest(self.mac, authentication_code(key, "recovery", self.id))


def encode_recovery_key(key: PublicKey) -> bytes:
    """Return a recovery key's public half, DER (SubjectPublicKeyInfo)."""
    return public_key_to_der(key)


def read_recovery_key(der: bytes) -> PublicKey:
    """Read a recovery key's public half.

    Args:
        der: at most 2048 bytes.

    Raises:
        InputError: if it can't be decoded, or is of a kind that no leaf may have.
    """
    if len(der) > MAX_RECOVERY_KEY_BYTES:
        raise InputError(f"recovery key of {len(der)} bytes; {MAX_RECOVERY_KEY_BYTES} is the most")
    try:
        key = serialization.load_der_public_key(der)
    except UNREADABLE:
        raise InputError("the recovery key can't be decoded: DER is expected") from None
    checked = check_leaf_key(key)
    if encode_recovery_key(checked) != der:
        raise InputError("the recovery key is not encoded as DER")
    return checked


@dataclass(frozen=True, slots=True)
class RecoveryStatement:
    """What a recovery key signs.

    Args:
        trust_domain: of the CA.
        recovery_id: the line's.
        nonce: the CA's.
        request: the request (CSR) for the next certificate, DER.
        next_key: the public key that replaces the recovery key, DER.
    """

    trust_domain: TrustDomain
    recovery_id: RecoveryId
    nonce: bytes
    request: bytes
    next_key: bytes

    def encode(self) -> bytes:
        """Return the bytes to sign."""
        return statement(
            "recover",
            self.trust_domain.name.encode(),
            str(SpiffeId.of_ca(self.trust_domain)).encode(),
            self.recovery_id.id,
            self.nonce,
            sha256(self.request),
            sha256(self.next_key),
        )


def sign_recovery(key: PrivateKey, recovery: RecoveryStatement) -> bytes:
    """Sign a recovery with the line's recovery key."""
    return sign(key, recovery.encode())


def check_recovery(key: PublicKey, proof: bytes, recovery: RecoveryStatement) -> None:
    """Check the signature of a recovery.

    Raises:
        NotPermittedError: if the key did not sign it.
    """
    check_signature(key, proof, recovery.encode(), what="the signature by the recovery key")
