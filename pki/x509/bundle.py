"""Trust bundles: the trusted roots of each trust domain (SPIFFE Trust Domain and Bundle §3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from cryptography import x509

from pki.errors import CertificateError
from pki.identity import TrustDomain
from pki.x509.decoding import check_openssl_reads
from pki.x509.profiles.ca import RootProfile, trust_domain_of_ca
from pki.x509.readers import MAX_BUNDLE_BYTES, MAX_BUNDLE_LENGTH, read_certificates, to_pem


@dataclass(frozen=True, slots=True)
class TrustBundle:
    """Roots by trust domain. A leaf must chain to a root of the trust domain in its URI."""

    roots: Mapping[TrustDomain, tuple[x509.Certificate, ...]]

    @classmethod
    def of_roots(
        cls, roots: Iterable[x509.Certificate], *, default: TrustDomain | None = None
    ) -> TrustBundle:
        """Group roots by the trust domain in their URI SAN.

        Args:
            roots: the certificates.
            default: the trust domain of roots without one, as other CAs make them.

        Raises:
            CertificateError: if a certificate is no root, if there is none, if a root has no trust
                domain and there is no default, or if one trust domain is inside another.
        """
        sorted_roots: dict[TrustDomain, list[x509.Certificate]] = {}
        for root in roots:
            RootProfile.check(root)
            check_openssl_reads(root, "root")
            domain = trust_domain_of_ca(root) or default
            if domain is None:
                raise CertificateError(
                    "root names no trust domain in a URI SAN, and none was given for it"
                )
            of_domain = sorted_roots.setdefault(domain, [])
            if root not in of_domain:
                of_domain.append(root)
        if not sorted_roots:
            raise CertificateError("trust bundle is empty: it would refuse everybody")
        for one in sorted_roots:
            for other in sorted_roots:
                if one != other and one.encloses(other):
                    raise CertificateError(
                        f"trust bundle holds {other} inside {one}: their DNS names could "
                        "be the same",
                        remedy="Trust only trust domains of which none is inside another",
                    )
        return cls(MappingProxyType({name: tuple(items) for name, items in sorted_roots.items()}))

    @classmethod
    def read(cls, data: bytes, *, default: TrustDomain | None = None) -> TrustBundle:
        """Read PEM certificates, at most 256 in 1 MiB, each of them a root.

        Raises:
            InputError: if the data holds anything else, or as :meth:`of_roots`.
        """
        return _read(bytes(data), default)

    def roots_of(self, trust_domain: TrustDomain) -> tuple[x509.Certificate, ...]:
        """Return the roots of a trust domain; empty if it is not trusted."""
        return self.roots.get(trust_domain, ())

    def all_roots(self) -> tuple[x509.Certificate, ...]:
        """Return every root."""
        return tuple(root for roots in self.roots.values() for root in roots)

    def to_pem(self, trust_domain: TrustDomain | None = None) -> bytes:
        """Return the roots as PEM: those of one trust domain, or all."""
        return to_pem(self.roots_of(trust_domain) if trust_domain else self.all_roots())


# The same bytes are read every few seconds, and with each new leaf.
@lru_cache(maxsize=4)
def _read(data: bytes, default: TrustDomain | None) -> TrustBundle:
    certificates = read_certificates(
        data, what="trust bundle", max_bytes=MAX_BUNDLE_BYTES, max_count=MAX_BUNDLE_LENGTH
    )
    return TrustBundle.of_roots(certificates, default=default)
