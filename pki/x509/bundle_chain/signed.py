"""A trust bundle with its signatures, and its one encoding.

A signature is over ``handfast trust bundle v1``, a zero byte, and the bytes of the content. So it
is never a signature of a certificate or a CRL, which the same key makes too: these begin with 0x30.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding

from pki import canonical_json
from pki.errors import InputError
from pki.keys import PrivateKey, PublicKey, public_key_fingerprint
from pki.x509.bundle_chain.content import MAX_CONTENT_BYTES, TYPE, BundleContent, malformed
from pki.x509.decoding import public_key_of
from pki.x509.profiles.builder import signature_hash, verification_hash

MAX_SIGNATURES = 32
# The content in base64, and signatures of RSA keys of 8192 bits.
MAX_BUNDLE_BYTES = MAX_CONTENT_BYTES * 4 // 3 + MAX_SIGNATURES * 2048
_PREFIX = TYPE.encode() + b"\0"
_KEY_ID_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class BundleSignature:
    """A signature.

    Args:
        key_id: SHA-256 of the signer's public key (SubjectPublicKeyInfo), in hex.
        signature: as the key's kind makes it.
    """

    key_id: str
    signature: bytes


@dataclass(frozen=True, slots=True)
class SignedBundle:
    """A trust bundle with its signatures, sorted by key id. Parsed is not verified: see ``follow``.

    Args:
        content: what it says.
        signatures: at most one of each key.
    """

    content: BundleContent
    signatures: tuple[BundleSignature, ...]

    @classmethod
    def read(cls, data: bytes) -> SignedBundle:
        """Parse a bundle in its one encoding.

        Raises:
            BundleRefusedError: if it has any other form.
        """
        with malformed():
            members = canonical_json.read(data, what="trust bundle", max_bytes=MAX_BUNDLE_BYTES)
            members.require(("content", "signatures"))
            signatures = []
            for item in members.objects("signatures", most=MAX_SIGNATURES):
                item.require(("key", "signature"))
                signatures.append(BundleSignature(item.text("key"), item.octets("signature")))
            key_ids = [item.key_id for item in signatures]
            if key_ids != sorted(set(key_ids)):
                raise InputError("trust bundle: the signatures are not sorted by key, each once")
            if any(len(key_id) != _KEY_ID_CHARACTERS for key_id in key_ids):
                raise InputError("trust bundle: a signature names no key by SHA-256 in hex")
            return cls(BundleContent.read(members.octets("content")), tuple(signatures))

    def encode(self) -> bytes:
        """Return the bundle in its one encoding."""
        return canonical_json.write(
            {
                "content": self.content.encode(),
                "signatures": [
                    {"key": item.key_id, "signature": item.signature} for item in self.signatures
                ],
            }
        )

    @property
    def number(self) -> int:
        """The number of the bundle."""
        return self.content.number

    def with_signatures_of(self, others: Iterable[SignedBundle]) -> SignedBundle:
        """Return the bundle with the signatures that others of the same content have too."""
        by_key = {item.key_id: item for item in self.signatures}
        for other in others:
            if other.content.encode() == self.content.encode():
                by_key.update({item.key_id: item for item in other.signatures})
        return SignedBundle(self.content, tuple(by_key[key_id] for key_id in sorted(by_key)))

    def signature_of(self, root: x509.Certificate) -> BundleSignature | None:
        """Return the signature that names a root's key; None if there is none."""
        key_id = public_key_fingerprint(public_key_of(root))
        return next((item for item in self.signatures if item.key_id == key_id), None)

    def is_signed_by(self, root: x509.Certificate) -> bool:
        """Return whether a root's key signed the bundle."""
        found = self.signature_of(root)
        return found is not None and _is_valid(
            public_key_of(root), found.signature, statement_of(self.content)
        )


def sign_bundle(content: BundleContent, keys: Iterable[PrivateKey]) -> SignedBundle:
    """Sign a bundle with the keys of roots."""
    statement = statement_of(content)
    by_key = {
        public_key_fingerprint(key.public_key()): sign_statement(key, statement) for key in keys
    }
    return SignedBundle(
        content, tuple(BundleSignature(key_id, by_key[key_id]) for key_id in sorted(by_key))
    )


def statement_of(content: BundleContent) -> bytes:
    """Return the bytes that are signed."""
    return _PREFIX + content.encode()


def sign_statement(key: PrivateKey, statement: bytes) -> bytes:
    """Sign bytes with a CA's key, by the algorithm with which the key signs certificates."""
    algorithm = signature_hash(key)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(statement)
    assert algorithm is not None
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(statement, ec.ECDSA(algorithm))
    return key.sign(statement, padding.PKCS1v15(), algorithm)


def _is_valid(key: PublicKey, signature: bytes, statement: bytes) -> bool:
    algorithm = verification_hash(key)
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, statement)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            assert algorithm is not None
            key.verify(signature, statement, ec.ECDSA(algorithm))
        else:
            assert algorithm is not None
            key.verify(signature, statement, padding.PKCS1v15(), algorithm)
    except InvalidSignature:
        return False
    return True
