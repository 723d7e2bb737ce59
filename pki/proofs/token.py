"""Enrollment tokens: one string with all that a new workload needs to reach its CA and to enroll.

It holds the CA's address, the trust domain, the fingerprint of the root, and a credential: an id, a
MAC by which the CA knows the id as its own without looking it up, and a secret that is good once.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from dataclasses import dataclass, field

from pki.errors import InputError, PkiError
from pki.identity import TrustDomain
from pki.proofs.statement import sha256, statement

_PREFIX = "hft1_"
_ID_BYTES, MAC_BYTES, _SECRET_BYTES, _ROOT_BYTES, _CHECK_BYTES = 16, 16, 32, 32, 4
_MAX_ADDRESS = 255
MAX_TOKEN_CHARACTERS = 1024


def authentication_code(key: bytes, kind: str, value: bytes) -> bytes:
    """Return the MAC, 16 bytes, by which the CA knows an id as its own."""
    return hmac.digest(key, statement(kind, value), "sha256")[:MAC_BYTES]


@dataclass(frozen=True, slots=True)
class TokenCredential:
    """The part of a token that is sent to the CA: 64 bytes.

    Args:
        id: 16 bytes.
        mac: 16 bytes.
        secret: 32 bytes; only its hash is kept by the CA.
    """

    id: bytes
    mac: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def make(cls, key: bytes) -> TokenCredential:
        """Make the credential of a new token.

        Args:
            key: the CA's key for MACs.
        """
        token_id = secrets.token_bytes(_ID_BYTES)
        mac = authentication_code(key, "token", token_id)
        return cls(token_id, mac, secrets.token_bytes(_SECRET_BYTES))

    @classmethod
    def decode(cls, data: bytes) -> TokenCredential:
        """Decode the 64 bytes.

        Raises:
            InputError: if there are more or fewer.
        """
        if len(data) != _ID_BYTES + MAC_BYTES + _SECRET_BYTES:
            raise InputError(f"a token has 64 bytes, and these are {len(data)}")
        end = _ID_BYTES + MAC_BYTES
        return cls(data[:_ID_BYTES], data[_ID_BYTES:end], data[end:])

    def encode(self) -> bytes:
        """Return the 64 bytes."""
        return self.id + self.mac + self.secret

    def is_of(self, key: bytes) -> bool:
        """Return whether the CA with this key for MACs made the id."""
        return hmac.compare_digest(self.mac, authentication_code(key, "token", self.id))

    @property
    def secret_hash(self) -> bytes:
        """What the CA keeps: the SHA-256 of id and secret."""
        return sha256(statement("token secret", self.id, self.secret))


@dataclass(frozen=True, slots=True)
class EnrollmentToken:
    """A token.

    Args:
        address: where the CA takes enrollments, as gRPC names it, e.g. ``ca.shop.internal:8444``.
        trust_domain: of the CA.
        root: the SHA-256 of a root's certificate, DER: the CA's certificate must chain to it.
        credential: what is sent to the CA.
    """

    address: str
    trust_domain: TrustDomain
    root: bytes
    credential: TokenCredential

    def __post_init__(self) -> None:
        if not 0 < len(self.address.encode()) <= _MAX_ADDRESS or not self.address.isascii():
            raise InputError(
                f"the CA's address must have 1 to {_MAX_ADDRESS} ASCII characters in a token"
            )
        if len(self.root) != _ROOT_BYTES:
            raise InputError("the fingerprint of a root has 32 bytes")

    @classmethod
    def parse(cls, text: str) -> EnrollmentToken:
        """Parse a token's text; spaces and line breaks around it are left out.

        The text is a secret, so no error quotes it.

        Raises:
            InputError: if it is not a token, is cut off or has a wrong character.
        """
        text = text.strip()
        if len(text) > MAX_TOKEN_CHARACTERS or not text.startswith(_PREFIX):
            raise InputError(
                f"this is no enrollment token: one begins with {_PREFIX}",
                remedy="Copy it whole, as handfast token create printed it",
            )
        damaged = InputError(
            "the enrollment token is damaged: a character is missing or wrong",
            remedy="Copy it whole, as handfast token create printed it",
        )
        encoded = text.removeprefix(_PREFIX)
        try:
            data = base64.b64decode(encoded + "=" * (-len(encoded) % 4), b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise damaged from None
        body, check = data[:-_CHECK_BYTES], data[-_CHECK_BYTES:]
        # Only one text means a token: base64 would ignore the last bits of its last character.
        if check != _check(body) or _encode(body) != text:
            raise damaged
        try:
            address, body = _take(body)
            trust_domain, body = _take(body)
            return cls(
                address.decode("ascii"),
                TrustDomain.parse(trust_domain.decode("ascii")),
                body[:_ROOT_BYTES],
                TokenCredential.decode(body[_ROOT_BYTES:]),
            )
        except (PkiError, UnicodeDecodeError, IndexError):
            raise damaged from None

    def __str__(self) -> str:
        """Return the token's text, which is a secret."""
        return _encode(
            b"".join(
                (
                    _counted(self.address.encode()),
                    _counted(self.trust_domain.name.encode()),
                    self.root,
                    self.credential.encode(),
                )
            )
        )

    def __repr__(self) -> str:
        """Return what may be logged: no secret."""
        return (
            f"EnrollmentToken(address={self.address!r}, trust_domain={self.trust_domain.name!r}, "
            f"id={self.credential.id.hex()!r})"
        )


def _encode(body: bytes) -> str:
    return _PREFIX + base64.urlsafe_b64encode(body + _check(body)).decode().rstrip("=")


def _check(body: bytes) -> bytes:
    """Return bytes that show a mistyped token before it is sent; they protect against no attack."""
    return sha256(statement("token", body))[:_CHECK_BYTES]


def _counted(value: bytes) -> bytes:
    return bytes([len(value)]) + value


def _take(body: bytes) -> tuple[bytes, bytes]:
    end = 1 + body[0]
    return body[1:end], body[end:]
