"""Describes certificates: names, validity, usage and issuer first, then all the rest."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from pki.errors import CertificateError
from pki.inspection.formatting import (
    format_list,
    format_relative,
    format_time,
    quote_if_unsafe,
    without_decoder_details,
)
from pki.inspection.report_item import Level, ReportItem
from pki.inspection.strictness import strict_faults
from pki.x509 import CLIENT, SERVER, WORKLOAD, LeafProfile, read_names
from pki.x509.decoding import UNREADABLE

_USES = {
    ExtendedKeyUsageOID.SERVER_AUTH: "server",
    ExtendedKeyUsageOID.CLIENT_AUTH: "client",
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE: "anything",
    ExtendedKeyUsageOID.OCSP_SIGNING: "OCSP signing",
    ExtendedKeyUsageOID.CODE_SIGNING: "code signing",
    ExtendedKeyUsageOID.EMAIL_PROTECTION: "email",
}
_KEY_USES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
)
_WEAK_HASHES = {"md5", "sha1"}
_LEAST_RSA_BITS = 2048
_MOST_TEXT = 400


def describe_certificate(certificate: x509.Certificate, now: datetime) -> ReportItem:
    """Describe a certificate, whatever is wrong with it."""
    extensions = _try(lambda: list(certificate.extensions), None)
    is_ca = _is_ca(extensions)
    report = ReportItem("CA certificate" if is_ca else "certificate", object=certificate)
    report.facts["subject"] = _name(lambda: certificate.subject)
    _add_names(report, certificate, extensions, is_ca=is_ca)
    _add_validity(report, certificate, now)
    _add_usage(report, certificate, extensions, is_ca=is_ca)
    _add_issuer(report, certificate)
    _add_key(report, certificate)
    _add_strictness(report, certificate, extensions, is_ca=is_ca)
    _add_details(report, certificate, extensions)
    if extensions is None:
        report.flag(Level.BAD, "its extensions can't be read")
    return report


def describe_key(key: object) -> str:
    """Return the kind of a public key."""
    match key:
        case rsa.RSAPublicKey():
            return f"RSA {key.key_size}"
        case ec.EllipticCurvePublicKey():
            return f"EC {key.curve.name}"
        case ed25519.Ed25519PublicKey():
            return "Ed25519"
        case ed448.Ed448PublicKey():
            return "Ed448"
        case dsa.DSAPublicKey():
            return f"DSA {key.key_size}"
        case _:
            return type(key).__name__.removesuffix("PublicKey")


def fingerprint(data: bytes) -> str:
    """Return the SHA-256 of some bytes, in hex."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(data)
    return digest.finalize().hex()


def _try(read: Callable[[], object], default: object) -> object:
    """Read a part that the library decodes only on access; return the default if it can't."""
    try:
        return read()
    except (*UNREADABLE, CertificateError):
        return default


def _name(read: Callable[[], x509.Name]) -> str:
    try:
        return read().rfc4514_string()
    except UNREADABLE:
        return "unreadable"


def _is_ca(extensions: object) -> bool:
    return isinstance(extensions, list) and any(
        isinstance(item.value, x509.BasicConstraints) and item.value.ca for item in extensions
    )


def _add_names(
    report: ReportItem, certificate: x509.Certificate, extensions: object, *, is_ca: bool
) -> None:
    names: list[x509.GeneralName] = []
    for item in extensions if isinstance(extensions, list) else []:
        if isinstance(item.value, x509.SubjectAlternativeName):
            names = list(item.value)
    uris = [item.value for item in names if isinstance(item, x509.UniformResourceIdentifier)]
    dns = [item.value for item in names if isinstance(item, x509.DNSName)]
    addresses = [str(item.value) for item in names if isinstance(item, x509.IPAddress)]
    others = [
        f"{type(item).__name__}"
        for item in names
        if not isinstance(item, x509.UniformResourceIdentifier | x509.DNSName | x509.IPAddress)
    ]
    report.facts |= {"uris": uris, "dns": dns, "ip": addresses}
    subject = str(report.facts["subject"])
    names_held = [*uris, *dns, *addresses]
    report.title = (
        quote_if_unsafe(names_held[0])
        if names_held
        else quote_if_unsafe(subject or "nobody", allow_letters=True)
    )
    for label, values in (("URI", uris), ("DNS", dns), ("IP", addresses), ("other names", others)):
        if values:
            report.row(label, format_list(values))
    report.row("subject", quote_if_unsafe(subject, allow_letters=True) if subject else "(empty)")
    if not is_ca:
        try:
            read_names(certificate)
        except CertificateError as error:
            message = f"refused: {without_decoder_details(error.message)}"
            report.facts["names"] = message
            report.row("names", message)
            report.flag(Level.WARNING, "names that handfast refuses")
        if len([item for item in uris if item.startswith("spiffe:")]) > 1:
            report.flag(Level.BAD, "more than one SPIFFE ID")
        if not names:
            report.flag(Level.WARNING, "no subject alternative name")


def _add_validity(report: ReportItem, certificate: x509.Certificate, now: datetime) -> None:
    times = _try(lambda: (certificate.not_valid_before_utc, certificate.not_valid_after_utc), None)
    if not isinstance(times, tuple):
        report.flag(Level.BAD, "its times can't be read")
        return
    begin, end = times
    report.facts |= {"not_before": begin, "not_after": end}
    report.row("until", format_time(end, now))
    report.row("from", format_time(begin, now))
    if end < begin:
        report.flag(Level.BAD, "ends before it begins")
    elif end < now:
        report.flag(Level.BAD, f"expired {format_relative(end, now)}")
    elif begin > now:
        report.flag(Level.BAD, f"valid only {format_relative(begin, now)}")
    elif now > begin + (end - begin) / 2:
        report.flag(Level.WARNING, "past half of its life")
    else:
        report.flag(Level.GOOD, f"expires {format_relative(end, now)}")


def _add_usage(
    report: ReportItem, certificate: x509.Certificate, extensions: object, *, is_ca: bool
) -> None:
    uses: list[str] = []
    key_uses: list[str] = []
    for item in extensions if isinstance(extensions, list) else []:
        value = item.value
        if isinstance(value, x509.ExtendedKeyUsage):
            uses += [_USES.get(usage, usage.dotted_string) for usage in value]
        elif isinstance(value, x509.KeyUsage):
            key_uses += [name.replace("_", " ") for name in _KEY_USES if getattr(value, name)]
        elif isinstance(value, x509.BasicConstraints) and value.ca:
            length = "" if value.path_length is None else f", {value.path_length} CAs below it"
            report.row("CA", f"may sign certificates{length}")
        elif isinstance(value, x509.NameConstraints):
            report.row("may name", format_list(_subtrees(value.permitted_subtrees)))
            report.row("must not name", format_list(_subtrees(value.excluded_subtrees)))
        elif isinstance(value, x509.UnrecognizedExtension) and item.critical:
            report.flag(Level.BAD, f"unknown critical extension {item.oid.dotted_string}")
    if is_ca and uses:
        report.row("issues for", format_list(uses))
        report.flag(
            Level.NOTE, f"limits what it issues to {format_list(uses)} (extended key usage)"
        )
    if not is_ca:
        report.row("for", format_list(uses) if uses else "anything (no extended key usage)")
        fits = [
            item.name
            for item in (WORKLOAD, SERVER, CLIENT)
            if _profile_fault(item, certificate) is None
        ]
        report.facts["profiles"] = fits
        why = _profile_fault(_closest(report), certificate)
        report.row("profile", format_list(fits) if fits else f"none of handfast's: {why}")
        if not uses:
            report.flag(Level.WARNING, "no extended key usage")
    report.facts |= {"extended_key_usage": uses, "key_usage": key_uses, "ca": is_ca}
    if key_uses:
        report.row("key usage", format_list(key_uses))


def _closest(report: ReportItem) -> LeafProfile:
    uris = report.facts["uris"]
    return WORKLOAD if isinstance(uris, list) and uris else SERVER


def _profile_fault(profile: LeafProfile, certificate: x509.Certificate) -> str | None:
    try:
        profile.check(certificate)
    except CertificateError as error:
        return without_decoder_details(error.message)
    return None


def _subtrees(names: list[x509.GeneralName] | None) -> list[str]:
    return [f"{type(item).__name__} {item.value}" for item in names or []]


def _add_issuer(report: ReportItem, certificate: x509.Certificate) -> None:
    issuer = _name(lambda: certificate.issuer)
    report.facts |= {"issuer": issuer, "serial": f"{certificate.serial_number:x}"}
    report.row("issuer", quote_if_unsafe(issuer, allow_letters=True) if issuer else "(empty)")
    self_issued = bool(issuer) and issuer == report.facts["subject"]
    report.facts["self_signed"] = self_issued and _is_signed_by_itself(certificate)
    if self_issued:
        report.flag(Level.NOTE, "self-signed" if report.facts["self_signed"] else "self-issued")
    serial = certificate.serial_number
    report.row("serial", f"{serial:x}")
    if serial <= 0 or serial.bit_length() > 159:
        report.flag(Level.BAD, "serial number is not positive and within 20 octets")


def _is_signed_by_itself(certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(certificate)
    except (*UNREADABLE, InvalidSignature):
        return False
    return True


def _add_key(report: ReportItem, certificate: x509.Certificate) -> None:
    key = _try(certificate.public_key, None)
    report.facts["key_type"] = describe_key(key) if key is not None else "unreadable"
    report.row("key", str(report.facts["key_type"]))
    signed = _try(lambda: certificate.signature_hash_algorithm, None)
    name = getattr(signed, "name", "")
    report.facts["signature"] = name or certificate.signature_algorithm_oid.dotted_string
    if name in _WEAK_HASHES:
        report.flag(Level.BAD, f"signed with {name.upper()}")
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < _LEAST_RSA_BITS:
        report.flag(Level.BAD, f"RSA key of {key.key_size} bits")
    if key is None:
        report.flag(Level.BAD, "its key can't be read")


def _add_strictness(
    report: ReportItem, certificate: x509.Certificate, extensions: object, *, is_ca: bool
) -> None:
    if not isinstance(extensions, list):
        return
    is_root = bool(report.facts["self_signed"])
    faults = _try(
        lambda: list(strict_faults(certificate, extensions, is_ca=is_ca, is_root=is_root)), []
    )
    report.facts["strict_faults"] = faults
    if isinstance(faults, list) and faults:
        report.flag(
            Level.WARNING,
            f"strict verifiers (Python 3.13 and later) refuse it: {', '.join(faults)}",
        )


def _add_details(report: ReportItem, certificate: x509.Certificate, extensions: object) -> None:
    der = certificate.public_bytes(Encoding.DER)
    report.facts["sha256"] = fingerprint(der)
    report.text += [
        f"Version: {_try(lambda: certificate.version.name, 'unreadable')}",
        f"Signature algorithm: {certificate.signature_algorithm_oid.dotted_string} "
        f"({report.facts['signature']})",
        f"SHA-256 fingerprint: {report.facts['sha256']}",
        f"Size: {len(der)} bytes",
    ]
    for item in extensions if isinstance(extensions, list) else []:
        critical = ", critical" if item.critical else ""
        name = getattr(item.oid, "_name", "unknown")
        report.text.append(f"Extension {item.oid.dotted_string} ({name}{critical}):")
        report.text.append(f"    {_shorten(item.value)}")


def _shorten(value: object) -> str:
    text = repr(value)
    if len(text) > _MOST_TEXT:
        text = f"{text[:_MOST_TEXT]} (and {len(text) - _MOST_TEXT} characters more)"
    return text if text.isascii() and text.isprintable() else ascii(text)
