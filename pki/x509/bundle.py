"""Trust bundles: the roots to believe, per trust domain (SPIFFE Trust Domain and Bundle §3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from cryptography import x509

from pki.errors import CertificateError
from pki.identity import TrustDomain
from pki.x509.decoding import check_openssl_reads
from pki.x509.profiles.ca import RootProfile, trust_domain_of_ca
from pki.x509.readers import MAX_BUNDLE_BYTES, MAX_BUNDLE_LENGTH, read_certificates, to_pem


@dataclass(frozen=True, slots=True)
class TrustBundle:
    """Roots by trust domain. A leaf must chain to a root of the domain in its own URI."""

    roots: Mapping[TrustDomain, tuple[x509.Certificate, ...]]

    @classmethod
    def of_roots(
        cls, roots: Iterable[x509.Certificate], *, default: TrustDomain | None = None
    ) -> TrustBundle:
        """Sort roots by the trust domain that each names in its URI SAN.

        Args:
            roots: the certificates.
            default: the trust domain of roots that name none, as other CAs make them.

        Raises:
            CertificateError: if one is no root, if none is given, if one names no trust domain and
                there is no default, or if one trust domain lies inside another.
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
            known = sorted_roots.setdefault(domain, [])
            if root not in known:
                known.append(root)
        if not sorted_roots:
            raise CertificateError("trust bundle is empty: it would refuse everybody")
        for one in sorted_roots:
            for other in sorted_roots:
                if one != other and one.encloses(other):
                    raise CertificateError(
                        f"trust bundle holds {other} inside {one}: their DNS names could meet",
                        remedy="Trust domains that are believed side by side must be disjoint",
                    )
        return cls(MappingProxyType({name: tuple(found) for name, found in sorted_roots.items()}))

    @classmethod
    def read(cls, data: bytes, *, default: TrustDomain | None = None) -> TrustBundle:
        """Read PEM certificates, at most 256 in 1 MiB, each of them a root.

        Raises:
            InputError: if there is anything else in it, or as :meth:`of_roots`.
        """
        found = read_certificates(
            data, what="trust bundle", max_bytes=MAX_BUNDLE_BYTES, max_count=MAX_BUNDLE_LENGTH
        )
        return cls.of_roots(found, default=default)

    def roots_of(self, trust_domain: TrustDomain) -> tuple[x509.Certificate, ...]:
        """Return the roots of a trust domain; empty if it is not trusted."""
        return self.roots.get(trust_domain, ())

    def all_roots(self) -> tuple[x509.Certificate, ...]:
        """Return every root."""
        return tuple(root for found in self.roots.values() for root in found)

    def to_pem(self, trust_domain: TrustDomain | None = None) -> bytes:
        """Write the roots as PEM: those of one trust domain, or all."""
        return to_pem(self.roots_of(trust_domain) if trust_domain else self.all_roots())
