"""What a signed trust bundle says, and its one encoding.

The page ``docs/trust-bundles.md`` describes the bytes for other implementations.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from pki import canonical_json
from pki.errors import InputError
from pki.identity import TrustDomain
from pki.x509.bundle import TrustBundle
from pki.x509.bundle_chain.refusal import BundleFault, BundleRefusedError
from pki.x509.profiles.ca import trust_domain_of_ca
from pki.x509.readers import decode_certificate

TYPE = "handfast trust bundle v1"
MAX_ROOTS = 16
MAX_CONTENT_BYTES = 512 * 1024
_DIGEST_BYTES = 32
_ED25519_BYTES = 32
_ORIGIN = re.compile(r"[A-Za-z0-9._/-]{1,400}", re.ASCII)
_REQUIRED = ("created", "number", "previous", "roots", "trust_domain", "type")
_LATEST = 253402300799  # the last second of the year 9999


@dataclass(frozen=True, slots=True)
class BundleContent:
    """The roots of one trust domain, under a number.

    Args:
        trust_domain: of all roots.
        number: 1 for the first bundle, and one more for each later one.
        created: when it was made; whole seconds. It decides nothing.
        roots: the trusted roots, sorted by their DER, each once.
        previous: SHA-256 of the content of the bundle before; empty for the first.
        audit_key: the Ed25519 public key of the CA's audit log (32 bytes), if there is one.
        audit_origin: the name of the audit log, if the CA was restored from a backup: a root has
            acknowledged that this log takes the place of the one before.
    """

    trust_domain: TrustDomain
    number: int
    created: datetime
    roots: tuple[x509.Certificate, ...]
    previous: bytes = b""
    audit_key: bytes | None = None
    audit_origin: str | None = None

    def __post_init__(self) -> None:
        with malformed():
            self._check()

    @classmethod
    def first(
        cls,
        trust_domain: TrustDomain,
        roots: Iterable[x509.Certificate],
        *,
        created: datetime,
        audit_key: bytes | None = None,
        audit_origin: str | None = None,
    ) -> BundleContent:
        """Return the content of the first bundle.

        Raises:
            BundleRefusedError: if these roots can't be in one bundle.
        """
        return cls(trust_domain, 1, created, sorted_roots(roots), b"", audit_key, audit_origin)

    def next(
        self,
        roots: Iterable[x509.Certificate],
        *,
        created: datetime,
        audit_key: bytes | None = None,
        audit_origin: str | None = None,
    ) -> BundleContent:
        """Return the content of the bundle after this one.

        Args:
            roots: the trusted roots of the new bundle.
            created: when it is made.
            audit_key: None takes that of this bundle.
            audit_origin: None takes that of this bundle.

        Raises:
            BundleRefusedError: if these roots can't be in one bundle.
        """
        return BundleContent(
            self.trust_domain,
            self.number + 1,
            created,
            sorted_roots(roots),
            self.digest,
            audit_key if audit_key is not None else self.audit_key,
            audit_origin if audit_origin is not None else self.audit_origin,
        )

    @classmethod
    def read(cls, data: bytes) -> BundleContent:
        """Parse a content in its one encoding.

        Raises:
            BundleRefusedError: if it has any other form.
        """
        with malformed():
            members = canonical_json.read(data, what="trust bundle", max_bytes=MAX_CONTENT_BYTES)
            members.require(_REQUIRED, optional=("audit_key", "audit_origin"))
            if members.text("type") != TYPE:
                raise InputError(f"trust bundle is not of the type {TYPE!r}")
            created = members.integer("created")
            if created > _LATEST:
                raise InputError("trust bundle was created after the year 9999")
            content = cls(
                TrustDomain.parse(members.text("trust_domain")),
                members.integer("number"),
                datetime.fromtimestamp(created, tz=UTC),
                tuple(
                    decode_certificate(der, what="trust bundle")
                    for der in members.octets_list("roots", most=MAX_ROOTS)
                ),
                members.octets("previous"),
                members.octets("audit_key") if "audit_key" in members else None,
                members.text("audit_origin") if "audit_origin" in members else None,
            )
            if content.encode() != data:
                raise InputError("trust bundle holds a name or a root in another form than its one")
            return content

    def encode(self) -> bytes:
        """Return the content in its one encoding, as it is signed."""
        members: dict[str, object] = {
            "created": int(self.created.timestamp()),
            "number": self.number,
            "previous": self.previous,
            "roots": [_der(root) for root in self.roots],
            "trust_domain": self.trust_domain.name,
            "type": TYPE,
        }
        if self.audit_key is not None:
            members["audit_key"] = self.audit_key
        if self.audit_origin is not None:
            members["audit_origin"] = self.audit_origin
        return canonical_json.write(members)

    @property
    def log_origin(self) -> str:
        """The name of the CA's audit log."""
        return self.audit_origin or self.trust_domain.audit_log

    @property
    def digest(self) -> bytes:
        """SHA-256 of the encoding, by which the next bundle names this one."""
        return hashlib.sha256(self.encode()).digest()

    def to_trust_bundle(self) -> TrustBundle:
        """Return the roots in the form in which chains are verified."""
        return TrustBundle.of_roots(self.roots)

    def _check(self) -> None:
        if not 1 <= self.number <= canonical_json.MAX_INTEGER:
            raise InputError(f"trust bundle has the number {self.number}; the first one is 1")
        if len(self.previous) != (_DIGEST_BYTES if self.number > 1 else 0):
            raise InputError(
                "trust bundle must name the one before it by SHA-256; the first one names none"
            )
        if self.audit_key is not None and len(self.audit_key) != _ED25519_BYTES:
            raise InputError("trust bundle: audit_key is no Ed25519 public key of 32 bytes")
        first = self.trust_domain.audit_log
        if self.audit_origin is not None and not (
            self.audit_origin.startswith(f"{first}/") and _ORIGIN.fullmatch(self.audit_origin)
        ):
            raise InputError(f"trust bundle: audit_origin is no name of a log below {first}/")
        if not 1 <= len(self.roots) <= MAX_ROOTS:
            raise InputError(
                f"trust bundle holds {len(self.roots)} roots; 1 to {MAX_ROOTS} are allowed"
            )
        if list(self.roots) != list(sorted_roots(self.roots)):
            raise InputError("trust bundle: the roots are not sorted by their DER, each once")
        # Checks the profile of each root too.
        TrustBundle.of_roots(self.roots, default=self.trust_domain)
        for root in self.roots:
            domain = trust_domain_of_ca(root)
            if domain != self.trust_domain:
                raise InputError(
                    f"trust bundle of {self.trust_domain} holds a root of "
                    f"{domain or 'no trust domain'}"
                )
        if self.created.tzinfo is None or self.created.microsecond:
            raise InputError("trust bundle was not created at a whole second of UTC")


def sorted_roots(roots: Iterable[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    """Return roots in the order of a bundle: by their DER, each once."""
    by_der = {_der(root): root for root in roots}
    return tuple(by_der[der] for der in sorted(by_der))


@contextmanager
def malformed() -> Iterator[None]:
    """Turn the errors of a strict parser into the refusal of a bundle."""
    try:
        yield
    except BundleRefusedError:
        raise
    except InputError as error:
        raise BundleRefusedError(
            error.message, fault=BundleFault.MALFORMED, remedy=error.remedy
        ) from error


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)
