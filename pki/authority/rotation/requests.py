"""A request to the roots: what the CA asks them to sign, and its one encoding.

A request holds all that the roots need, so that it can be signed on a machine that holds nothing
but their keys. It holds no secret.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from pki import canonical_json
from pki.authority.crls import RootCrlOrder
from pki.authority.ledger import IssuerKind
from pki.authority.orders import IssuerOrder, ca_subject
from pki.errors import InputError, quote_untrusted
from pki.identity import DnsName, TrustDomain
from pki.keys import PrivateKey, PublicKey, check_ca_key, public_key_fingerprint
from pki.x509 import NameLimits
from pki.x509.bundle_chain import BundleContent
from pki.x509.decoding import UNREADABLE
from pki.x509.profiles import RootProfile, rules
from pki.x509.profiles.builder import Validity, signature_hash
from pki.x509.profiles.ca import trust_domain_of_ca
from pki.x509.readers import decode_certificate
from pki.x509.revocation import RevokedEntry

_Value = TypeVar("_Value")

TYPE = "handfast root request v1"
MAX_REQUEST_BYTES = 4 * 1024 * 1024
_MAX_ISSUERS = 256
_MAX_ENTRIES = 10_000
_MAX_ROOTS = 16
_MAX_NAMES = 64
_LATEST = 253402300799
_HEX = re.compile("[0-7]?[0-9a-f]{1,39}")


class Purpose(StrEnum):
    """Why the roots are asked."""

    ISSUING_CA = "issuing-ca"
    """To sign a new issuing CA under the active root."""
    PREPARE_ROOT = "prepare-root"
    """To put a new root into the trust bundle, and sign an issuing CA under it."""
    WITHDRAW_ROOT = "withdraw-root"
    """To take a root out of the trust bundle."""
    CRLS = "crls"
    """To sign the roots' CRLs anew, those ahead included."""


@dataclass(frozen=True, slots=True)
class IssuerRequest:
    """A request for an issuing CA.

    Args:
        root: the root that signs it.
        limits: the names that it may certify.
        validity: of its certificate.
        csr: a certificate request (DER), which proves possession of the new key.
        serial: the serial number of its certificate; None in a request of before the CA chose it.
    """

    root: x509.Certificate
    limits: NameLimits
    validity: Validity
    csr: bytes
    serial: int | None = None

    def public_key(self) -> PublicKey:
        """Return the new key, after a check of the proof of possession.

        Raises:
            InputError: if the request for it is malformed or not signed with that key.
        """
        what = "request for an issuing CA"
        try:
            csr = x509.load_der_x509_csr(self.csr)
            key = check_ca_key(csr.public_key())
            rules.check_signature_algorithm(csr, what)
            is_signed = csr.is_signature_valid
        except UNREADABLE as error:
            raise InputError(f"{what} can't be decoded: {quote_untrusted(error)}") from None
        if not is_signed:
            raise InputError(f"{what} is not signed by its own key: no proof of possession")
        return key

    def order(self) -> IssuerOrder:
        """Return the order for it."""
        return IssuerOrder(self.limits, self.public_key(), self.validity)

    def subject(self) -> x509.Name:
        """Return the name that the issuing CA will have."""
        return ca_subject(self.limits.trust_domain, IssuerKind.ISSUING, self.key_id())

    def key_id(self) -> str:
        """Return the id of the new key."""
        return public_key_fingerprint(self.public_key())[:16]


@dataclass(frozen=True, slots=True)
class RootRequest:
    """What the CA asks its roots to sign.

    Args:
        purpose: why.
        trust_domain: of the CA.
        made_at: when the request was made.
        issuing: the issuing CA to sign, if there is one.
        previous: the bundle before ``bundle``; None before the first.
        bundle: the trust bundle to sign, if there is a new one.
        crls: the CRLs to sign. Those of the root of ``issuing`` cover that issuing CA too.
    """

    purpose: Purpose
    trust_domain: TrustDomain
    made_at: datetime
    issuing: IssuerRequest | None = None
    previous: BundleContent | None = None
    bundle: BundleContent | None = None
    crls: tuple[RootCrlOrder, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of the encoding, in hex, by which an answer names the request."""
        return hashlib.sha256(self.encode()).hexdigest()

    def roots(self) -> tuple[x509.Certificate, ...]:
        """Return every root that the request names, each once."""
        named = [
            *(self.previous.roots if self.previous else ()),
            *(self.bundle.roots if self.bundle else ()),
            *([self.issuing.root] if self.issuing else ()),
            *(order.root for order in self.crls),
        ]
        return tuple(dict.fromkeys(named))

    def removed_roots(self) -> tuple[x509.Certificate, ...]:
        """Return the roots that the new trust bundle holds no more."""
        if self.bundle is None or self.previous is None:
            return ()
        return tuple(root for root in self.previous.roots if root not in self.bundle.roots)

    def encode(self) -> bytes:
        """Return the request in its one encoding."""
        document: dict[str, object] = {
            "type": TYPE,
            "purpose": self.purpose.value,
            "trust_domain": self.trust_domain.name,
            "made_at": seconds(self.made_at),
            "crls": [_encode_crls(order) for order in self.crls],
        }
        if self.issuing is not None:
            document["issuing"] = _encode_issuing(self.issuing)
        if self.bundle is not None:
            document["bundle"] = self.bundle.encode()
        if self.previous is not None:
            document["previous"] = self.previous.encode()
        return canonical_json.write(document)

    @classmethod
    def read(cls, data: bytes) -> RootRequest:
        """Parse a request in its one encoding, but for a line feed at its end.

        Raises:
            InputError: if it has any other form, or a root in it is of another trust domain.
        """
        what = "request to the root"
        document = canonical_json.read(
            data.removesuffix(b"\n"), what=what, max_bytes=MAX_REQUEST_BYTES
        )
        if "type" not in document or document.text("type") != TYPE:
            raise InputError(
                f"{what} is not of the type {TYPE!r}",
                remedy="Sign what handfast ca root prepare or ca rotate --prepare wrote",
            )
        document.require(
            ("crls", "made_at", "purpose", "trust_domain", "type"),
            optional=("bundle", "issuing", "previous"),
        )
        try:
            purpose = Purpose(document.text("purpose"))
        except ValueError:
            raise InputError(f"{what} has an unknown purpose") from None
        domain = TrustDomain.parse(document.text("trust_domain"))
        request = cls(
            purpose,
            domain,
            moment(document, "made_at"),
            _read_issuing(document.object("issuing"), domain) if "issuing" in document else None,
            _optional(document, "previous"),
            _optional(document, "bundle"),
            tuple(_read_crls(item) for item in document.objects("crls", most=_MAX_ROOTS)),
        )
        for root in request.roots():
            RootProfile.check(root)
            if trust_domain_of_ca(root) != domain:
                raise InputError(f"{what} of {domain} names a root of another trust domain")
        if request.issuing is not None:
            request.issuing.public_key()
        if request.encode() != data.removesuffix(b"\n"):
            raise InputError(f"{what} holds a name or a number in another form than its one")
        return request


def issuing_csr(key: PrivateKey, subject: x509.Name) -> bytes:
    """Return a certificate request (DER) that proves possession of an issuing CA's new key."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    csr = builder.sign(key, signature_hash(key))
    return csr.public_bytes(serialization.Encoding.DER)


def seconds(at: datetime) -> int:
    """Return a time as a document holds it."""
    return int(at.timestamp())


def moment(document: canonical_json.Members, name: str) -> datetime:
    """Return a time that a document holds.

    Raises:
        InputError: if it is no time.
    """
    value = document.integer(name)
    if value > _LATEST:
        raise InputError(f"request to the root: {name} is after the year 9999")
    return datetime.fromtimestamp(value, tz=UTC)


def der(certificate: x509.Certificate) -> bytes:
    """Return a certificate as a document holds it."""
    return certificate.public_bytes(serialization.Encoding.DER)


def _optional(document: canonical_json.Members, name: str) -> BundleContent | None:
    return BundleContent.read(document.octets(name)) if name in document else None


def _encode_issuing(issuing: IssuerRequest) -> dict[str, object]:
    document: dict[str, object] = {
        "root": der(issuing.root),
        "dns": [item.name for item in issuing.limits.dns],
        "ip": [str(item) for item in issuing.limits.ip],
        "not_before": seconds(issuing.validity.not_before),
        "not_after": seconds(issuing.validity.not_after),
        "csr": issuing.csr,
    }
    if issuing.serial is not None:
        document["serial"] = f"{issuing.serial:x}"
    return document


def _read_issuing(document: canonical_json.Members, domain: TrustDomain) -> IssuerRequest:
    document.require(("csr", "dns", "ip", "not_after", "not_before", "root"), optional=("serial",))
    return IssuerRequest(
        decode_certificate(document.octets("root"), what="request to the root"),
        NameLimits(
            domain,
            tuple(map(DnsName.parse, document.text_list("dns", most=_MAX_NAMES))),
            tuple(
                _parse(ipaddress.ip_network, item)
                for item in document.text_list("ip", most=_MAX_NAMES)
            ),
        ),
        Validity(moment(document, "not_before"), moment(document, "not_after")),
        document.octets("csr"),
        _serial(document.text("serial")) if "serial" in document else None,
    )


def _encode_crls(order: RootCrlOrder) -> dict[str, object]:
    return {
        "root": der(order.root),
        "base": f"{order.base:x}",
        "distrusted": [der(item) for item in order.distrusted],
        "trusted": [der(item) for item in order.trusted],
        "unrecorded": [
            {
                "serial": f"{entry.serial:x}",
                "revoked_at": seconds(entry.revoked_at),
                "reason": entry.reason.value,
            }
            for entry in order.unrecorded
        ],
        "this_update": seconds(order.this_update),
        "revoked_at": seconds(order.revoked_at),
    }


def _read_crls(document: canonical_json.Members) -> RootCrlOrder:
    document.require(
        ("base", "distrusted", "revoked_at", "root", "this_update", "trusted", "unrecorded")
    )

    def certificates(name: str) -> tuple[x509.Certificate, ...]:
        return tuple(
            decode_certificate(item, what="request to the root")
            for item in document.octets_list(name, most=_MAX_ISSUERS)
        )

    return RootCrlOrder(
        decode_certificate(document.octets("root"), what="request to the root"),
        _parse_hex(document.text("base")),
        certificates("distrusted"),
        certificates("trusted"),
        tuple(_read_entry(item) for item in document.objects("unrecorded", most=_MAX_ENTRIES)),
        moment(document, "this_update"),
        moment(document, "revoked_at"),
    )


def _read_entry(document: canonical_json.Members) -> RevokedEntry:
    document.require(("reason", "revoked_at", "serial"))
    return RevokedEntry(
        _parse_hex(document.text("serial")),
        moment(document, "revoked_at"),
        _parse(x509.ReasonFlags, document.text("reason")),
    )


def _serial(text: str) -> int:
    if text == "0":
        raise InputError("request to the root holds the serial number 0, which no certificate has")
    return _parse_hex(text)


def _parse_hex(text: str) -> int:
    """Return a number of at most 20 octets (RFC 5280 sections 4.1.2.2 and 5.2.3)."""
    if not _HEX.fullmatch(text):
        raise InputError(f"request to the root holds {quote_untrusted(text)}, which is no number")
    return int(text, 16)


def _parse(parse: Callable[[str], _Value], text: str) -> _Value:
    try:
        return parse(text)
    except ValueError:
        raise InputError(
            f"request to the root holds {quote_untrusted(text)}, which has another form"
        ) from None
