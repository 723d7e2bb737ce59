"""The profiles of CA certificates: the root, and the issuing CA that the root signs.

Handfast's own issuing CAs have ``pathlen:0`` and critical name constraints: the trust domain (DNS
and URI), the DNS names and IP ranges chosen when the CA was made, no other address and no email.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtensionOID as _Oid

from pki.errors import CertificateError, NameRefusedError, quote_untrusted
from pki.identity import DnsName, TrustDomain
from pki.keys import PrivateKey, PublicKey, check_ca_key
from pki.x509.decoding import UNREADABLE
from pki.x509.names import IpAddress, read_subject
from pki.x509.profiles import rules
from pki.x509.profiles.builder import Validity, build_certificate, key_usage

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

# Libraries disagree on "exclude every mailbox": for OpenSSL an empty one matches none, and for
# cryptography it is malformed. Permitting one mailbox that can't exist (RFC 2606) forbids the rest.
_NO_MAILBOX = "nobody@email.invalid"
_EVERY_ADDRESS: tuple[IpNetwork, ...] = (
    ipaddress.IPv4Network("0.0.0.0/0"),
    ipaddress.IPv6Network("::/0"),
)

_CRITICAL = frozenset(
    {
        _Oid.BASIC_CONSTRAINTS,
        _Oid.KEY_USAGE,
        _Oid.NAME_CONSTRAINTS,
        _Oid.POLICY_CONSTRAINTS,
        _Oid.CERTIFICATE_POLICIES,
        _Oid.INHIBIT_ANY_POLICY,
    }
)
_NEVER_CRITICAL = frozenset(
    {
        _Oid.SUBJECT_KEY_IDENTIFIER,
        _Oid.AUTHORITY_KEY_IDENTIFIER,
        _Oid.AUTHORITY_INFORMATION_ACCESS,
        _Oid.EXTENDED_KEY_USAGE,
    }
)


@dataclass(frozen=True, slots=True)
class NameLimits:
    """The names that an issuing CA may certify: its critical name constraints.

    Args:
        trust_domain: permits its SPIFFE IDs and the DNS names within it.
        dns: further DNS names; each permits itself and all names below it.
        ip: the permitted address ranges.
    """

    trust_domain: TrustDomain
    dns: tuple[DnsName, ...] = ()
    ip: tuple[IpNetwork, ...] = ()

    def permits_dns(self, name: DnsName) -> bool:
        """Return whether a DNS name is permitted."""
        return any(name.is_within(parent) for parent in (self._own_dns(), *self.dns))

    def permits_ip(self, address: IpAddress) -> bool:
        """Return whether an address is permitted."""
        return any(address in network for network in self.ip)

    def to_extension(self) -> x509.NameConstraints:
        """Return the extension (RFC 5280 section 4.2.1.10)."""
        permitted: list[x509.GeneralName] = [
            x509.DNSName(self._own_dns().name),
            *(x509.DNSName(name.name) for name in self.dns),
            x509.UniformResourceIdentifier(self.trust_domain.name),
            x509.RFC822Name(_NO_MAILBOX),
            *(x509.IPAddress(network) for network in self.ip),
        ]
        # A permitted range of one address family forbids all addresses of the other family, so
        # exclusions are needed only if no range is permitted.
        excluded = None if self.ip else [x509.IPAddress(network) for network in _EVERY_ADDRESS]
        return x509.NameConstraints(permitted, excluded)

    def _own_dns(self) -> DnsName:
        return DnsName(self.trust_domain.name)


class RootProfile:
    """A root: self-signed, long-lived, kept offline."""

    @staticmethod
    def build(
        trust_domain: TrustDomain, key: PrivateKey, *, subject: x509.Name, validity: Validity
    ) -> x509.Certificate:
        """Build a root for a trust domain and check it."""
        certificate = build_certificate(
            subject=subject,
            public_key=check_ca_key(key.public_key()),
            issuer=None,
            issuer_key=key,
            validity=validity,
            extensions=[
                (x509.BasicConstraints(ca=True, path_length=1), True),
                (key_usage(ca=True), True),
                (_trust_domain_san(trust_domain), False),
            ],
        )
        RootProfile.check(certificate)
        return certificate

    @staticmethod
    def check(certificate: x509.Certificate) -> None:
        """Check a root of a trust bundle, whichever CA made it.

        Raises:
            CertificateError: if it breaks a rule.
        """
        _check_ca(certificate)
        if certificate.issuer != certificate.subject:
            raise CertificateError(
                "certificate is not self-signed, so it is no root", remedy="Trust its root instead"
            )
        subject_key = rules.need(certificate, x509.SubjectKeyIdentifier, "subject key identifier")
        if rules.find(certificate, x509.AuthorityKeyIdentifier):
            rules.check_authority_key(certificate)
            own = rules.need(certificate, x509.AuthorityKeyIdentifier, "authority key identifier")
            if own.key_identifier != subject_key.digest:
                raise CertificateError("root names another key as that of its issuer")
        if rules.find(certificate, x509.ExtendedKeyUsage):
            raise CertificateError("root holds an extended key usage")
        try:
            certificate.verify_directly_issued_by(certificate)
        except (InvalidSignature, *UNREADABLE):
            raise CertificateError("root is not signed with its own key: it is damaged") from None


class IssuingProfile:
    """An issuing CA: signed by a root, signs leaves and nothing else."""

    @staticmethod
    def build(
        limits: NameLimits,
        public_key: PublicKey,
        *,
        subject: x509.Name,
        issuer: x509.Certificate,
        issuer_key: PrivateKey,
        validity: Validity,
        serial: int | None = None,
    ) -> x509.Certificate:
        """Build an issuing CA within the limits and check it.

        Without a serial number, it has a random one.
        """
        certificate = build_certificate(
            subject=subject,
            public_key=check_ca_key(public_key),
            issuer=issuer,
            issuer_key=issuer_key,
            validity=validity,
            extensions=[
                (x509.BasicConstraints(ca=True, path_length=0), True),
                (key_usage(ca=True), True),
                (_trust_domain_san(limits.trust_domain), False),
                (limits.to_extension(), True),
            ],
            serial=serial,
        )
        IssuingProfile.check(certificate)
        IssuingProfile.check_limits(certificate, limits)
        return certificate

    @staticmethod
    def check(certificate: x509.Certificate) -> None:
        """Check an intermediate CA of a chain, whichever CA made it.

        Raises:
            CertificateError: if it breaks a rule.
        """
        _check_ca(certificate)
        rules.need(certificate, x509.SubjectKeyIdentifier, "subject key identifier")
        rules.check_authority_key(certificate)

    @staticmethod
    def check_limits(certificate: x509.Certificate, limits: NameLimits) -> None:
        """Check that an issuing CA of handfast has ``pathlen:0`` and exactly these limits.

        Raises:
            CertificateError: if it does not.
        """
        basic = rules.need(certificate, x509.BasicConstraints, "basic constraints")
        if basic.path_length != 0:
            raise CertificateError("issuing CA has no path length of zero")
        if rules.need(certificate, x509.NameConstraints, "name constraints") != (
            limits.to_extension()
        ):
            raise CertificateError(
                "issuing CA's name constraints are not those of its trust domain"
            )


def trust_domain_of_ca(certificate: x509.Certificate) -> TrustDomain | None:
    """Return the trust domain in a CA certificate's URI SAN; None if it has none.

    Source: SPIFFE X509-SVID section 3.2 (a signing certificate's SPIFFE ID has no path).

    Raises:
        CertificateError: if it holds a SPIFFE ID and another URI, or a SPIFFE ID with a path.
    """
    san = rules.find(certificate, x509.SubjectAlternativeName)
    uris = san.value.get_values_for_type(x509.UniformResourceIdentifier) if san else []
    if not any(uri.lower().startswith("spiffe:") for uri in uris):
        return None
    if len(uris) != 1 or not uris[0].startswith("spiffe://"):
        raise CertificateError(
            f"CA certificate holds the URI names {quote_untrusted(', '.join(uris))}; its SPIFFE "
            "ID must be the only one, and that of its trust domain (X509-SVID section 2)"
        )
    try:
        return TrustDomain.parse(uris[0].removeprefix("spiffe://"))
    except NameRefusedError as error:
        raise CertificateError(f"CA certificate: {error.message}", remedy=error.remedy) from None


def _check_subtrees(limits: x509.NameConstraints) -> None:
    """Refuse DNS subtrees that verifiers read differently, such as ``.example.com``."""
    for subtree in (*(limits.permitted_subtrees or ()), *(limits.excluded_subtrees or ())):
        # An empty one means every DNS name.
        if isinstance(subtree, x509.DNSName) and subtree.value:
            try:
                DnsName.parse(subtree.value)
            except NameRefusedError as error:
                raise CertificateError(f"name constraint: {error.message}") from None


def _trust_domain_san(trust_domain: TrustDomain) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(trust_domain.id_uri)])


def _check_ca(certificate: x509.Certificate) -> None:
    rules.check_basic_fields(certificate, check_ca_key)
    if not certificate.subject.rdns:
        raise CertificateError("CA certificate's subject is empty (section 4.1.2.6)")
    read_subject(certificate.subject)
    rules.check_extensions(
        certificate, critical=_CRITICAL, never_critical=_NEVER_CRITICAL, forbidden=frozenset()
    )
    basic = rules.find(certificate, x509.BasicConstraints)
    if basic is None or not basic.value.ca:
        raise CertificateError("certificate is no CA: basic constraints do not say so")
    if not basic.critical:
        raise CertificateError("CA certificate's basic constraints are not critical (4.2.1.9)")
    rules.check_key_usage(
        certificate, need_bits=frozenset({"key_cert_sign"}), forbid_bits=frozenset()
    )
    limits = rules.find(certificate, x509.NameConstraints)
    if limits is not None:
        if not limits.critical:
            raise CertificateError("CA certificate's name constraints are not critical (4.2.1.10)")
        _check_subtrees(limits.value)
    constraints = rules.find(certificate, x509.PolicyConstraints)
    if constraints is not None and not constraints.critical:
        raise CertificateError("CA certificate's policy constraints are not critical (4.2.1.11)")
