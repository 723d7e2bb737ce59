"""The profiles of leaves: workload (SPIFFE X509-SVID), server and client.

A workload certificate is used at both ends of a connection and has exactly one URI SAN, its SPIFFE
ID. Server and client certificates are for peers that are no workload: a proxy, a database, a tool.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID as _Eku
from cryptography.x509.oid import ExtensionOID as _Oid

from pki.errors import CertificateError, NameRefusedError
from pki.identity import DnsName, SpiffeId, Subject
from pki.keys import PrivateKey, PublicKey, check_leaf_key, public_key_to_der
from pki.x509.names import CertificateNames, IpAddress, read_names
from pki.x509.profiles import rules
from pki.x509.profiles.builder import (
    Validity,
    build_certificate,
    key_usage,
    random_serial,
)
from pki.x509.profiles.checked_forms import CheckedForm, Fields

_CRITICAL = frozenset({_Oid.BASIC_CONSTRAINTS, _Oid.KEY_USAGE, _Oid.SUBJECT_ALTERNATIVE_NAME})
_NEVER_CRITICAL = frozenset(
    {
        _Oid.EXTENDED_KEY_USAGE,
        _Oid.SUBJECT_KEY_IDENTIFIER,
        _Oid.AUTHORITY_KEY_IDENTIFIER,
        _Oid.AUTHORITY_INFORMATION_ACCESS,
    }
)
_FORBIDDEN = frozenset(
    {_Oid.NAME_CONSTRAINTS, _Oid.POLICY_CONSTRAINTS, _Oid.INHIBIT_ANY_POLICY, _Oid.POLICY_MAPPINGS}
)


_MOST_FORMS = 16


class Purpose(StrEnum):
    """The end of a connection at which a certificate is presented."""

    SERVER = "server"
    CLIENT = "client"


_EKU_OF = MappingProxyType({Purpose.SERVER: _Eku.SERVER_AUTH, Purpose.CLIENT: _Eku.CLIENT_AUTH})


@dataclass(frozen=True, slots=True)
class LeafNames:
    """The names for a leaf."""

    subject: Subject
    spiffe_id: SpiffeId | None = None
    dns_names: tuple[DnsName, ...] = ()
    ip_addresses: tuple[IpAddress, ...] = ()


@dataclass(frozen=True, slots=True)
class LeafProfile:
    """What one kind of leaf must and may contain.

    Args:
        name: of the profile.
        purposes: the ends of a connection at which it may be presented.
        needs_spiffe_id: whether it must hold exactly one URI, a SPIFFE ID.
        needs_host_name: whether it must hold a DNS name or an address.
    """

    name: str
    purposes: frozenset[Purpose]
    needs_spiffe_id: bool
    needs_host_name: bool = False

    def build(
        self,
        names: LeafNames,
        public_key: PublicKey,
        *,
        issuer: x509.Certificate,
        issuer_key: PrivateKey,
        validity: Validity,
        serial: int | None = None,
    ) -> x509.Certificate:
        """Build a leaf of this kind and check it; without a serial number, with a random one.

        Raises:
            CertificateError: if the names do not fit the profile.
            KeyRefusedError: if a leaf may not have this key.
        """
        check_leaf_key(public_key)
        written = _written(names)
        subject, alternatives = written.subject, written.alternatives
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (_END_ENTITY, True),
            (key_usage(ca=False), True),
            (_extended_key_usage(self.purposes), False),
        ]
        if alternatives is not None:  # the check below requires a name
            extensions.append((alternatives, not subject.rdns))
        serial = random_serial() if serial is None else serial
        subject_key = x509.SubjectKeyIdentifier.from_public_key(public_key)
        certificate = build_certificate(
            subject=subject,
            public_key=public_key,
            issuer=issuer,
            issuer_key=issuer_key,
            validity=validity,
            extensions=extensions,
            serial=serial,
            subject_key=subject_key,
        )
        der = public_key_to_der(public_key)
        fields = Fields(serial, validity.not_before, validity.not_after, der, subject_key.digest)
        kind = (self, issuer, len(der), certificate.signature_algorithm_oid)
        form = written.forms.get(kind)
        if form is None or not form.fits(certificate, fields):
            self.check(certificate)
            if len(written.forms) >= _MOST_FORMS:
                written.forms.clear()
            written.forms[kind] = CheckedForm.of(certificate, fields)
        return certificate

    def check(
        self, certificate: x509.Certificate, purpose: Purpose | None = None
    ) -> CertificateNames:
        """Check a leaf against this profile; return its names.

        Args:
            certificate: the leaf.
            purpose: the end at which it is presented; None checks every purpose of the profile.

        Raises:
            CertificateError: if it breaks a rule.
        """
        rules.check_basic_fields(certificate, check_leaf_key)
        rules.check_extensions(
            certificate, critical=_CRITICAL, never_critical=_NEVER_CRITICAL, forbidden=_FORBIDDEN
        )
        basic = rules.find(certificate, x509.BasicConstraints)
        if basic is not None and basic.value.ca:
            raise CertificateError(f"{self.name} certificate says that it is a CA")
        rules.check_key_usage(
            certificate,
            need_bits=frozenset({"digital_signature"}),
            forbid_bits=frozenset({"key_cert_sign", "crl_sign"}),
        )
        usage = rules.find(certificate, x509.KeyUsage)
        # Required by X509-SVID §4.3, but only recommended by RFC 5280 §4.2.1.3: few CAs do it.
        if self.needs_spiffe_id and usage is not None and not usage.critical:
            raise CertificateError(f"{self.name} certificate's key usage is not critical")
        self._check_extended_key_usage(certificate, purpose)
        rules.check_authority_key(certificate)
        return self._check_names(certificate)

    def _check_extended_key_usage(
        self, certificate: x509.Certificate, purpose: Purpose | None
    ) -> None:
        usages = rules.need(certificate, x509.ExtendedKeyUsage, "extended key usage")
        if _Eku.ANY_EXTENDED_KEY_USAGE in usages:
            raise CertificateError(f"{self.name} certificate allows any extended key usage")
        for required in sorted({purpose} if purpose else self.purposes):
            if _EKU_OF[required] not in usages:
                raise CertificateError(
                    f"{self.name} certificate lacks the extended key usage of a {required.value}"
                )

    def _check_names(self, certificate: x509.Certificate) -> CertificateNames:
        names = read_names(certificate)
        if self.needs_host_name and not names.dns_names and not names.ip_addresses:
            raise CertificateError(f"{self.name} certificate has neither DNS name nor address")
        alternative = rules.find(certificate, x509.SubjectAlternativeName)
        if alternative is None or not list(alternative.value):
            raise CertificateError(f"{self.name} certificate has no subject alternative name")
        if alternative.critical == bool(certificate.subject.rdns):
            raise CertificateError(
                "subject alternative name must be critical exactly if the subject is empty "
                "(section 4.2.1.6)"
            )
        spiffe = any(uri.startswith("spiffe:") for uri in names.uris)
        # With another URI, the SPIFFE ID would not decide which roots are trust anchors.
        if (self.needs_spiffe_id or spiffe) and (len(names.uris) != 1 or names.spiffe_id is None):
            raise CertificateError(
                f"{self.name} certificate has {len(names.uris)} URI names; it must have "
                "exactly one, a SPIFFE ID (X509-SVID section 2)"
            )
        return names


_END_ENTITY = x509.BasicConstraints(ca=False, path_length=None)


@dataclass(frozen=True, slots=True)
class _Written:
    """Names as certificates hold them, and the forms of certificates with these names."""

    subject: x509.Name
    alternatives: x509.SubjectAlternativeName | None
    forms: dict[object, CheckedForm | None]


# A workload has the same names in each of its certificates.
@lru_cache(maxsize=4096)
def _written(names: LeafNames) -> _Written:
    # An empty extension would be malformed.
    alternatives: list[x509.GeneralName] = []
    if names.spiffe_id is not None:
        alternatives.append(x509.UniformResourceIdentifier(str(names.spiffe_id)))
    alternatives.extend(x509.DNSName(name.name) for name in names.dns_names)
    alternatives.extend(x509.IPAddress(address) for address in names.ip_addresses)
    try:
        subject = names.subject.to_name()
    except NameRefusedError as error:
        raise CertificateError(error.message, remedy=error.remedy) from None
    extension = x509.SubjectAlternativeName(alternatives) if alternatives else None
    return _Written(subject, extension, {})


@lru_cache
def _extended_key_usage(purposes: frozenset[Purpose]) -> x509.ExtendedKeyUsage:
    return x509.ExtendedKeyUsage([_EKU_OF[item] for item in sorted(purposes)])


WORKLOAD = LeafProfile("workload", frozenset(Purpose), needs_spiffe_id=True)
SERVER = LeafProfile(
    "server", frozenset({Purpose.SERVER}), needs_spiffe_id=False, needs_host_name=True
)
CLIENT = LeafProfile("client", frozenset({Purpose.CLIENT}), needs_spiffe_id=False)
LEAF_PROFILES = MappingProxyType({item.name: item for item in (WORKLOAD, SERVER, CLIENT)})
