"""Describes a certificate: who, until when, for what, issued by whom; then all the rest."""

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
from pki.inspection.report_item import (
    Level,
    Thing,
    listed,
    moment,
    plain,
    relative,
    without_internals,
)
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


def describe_certificate(certificate: x509.Certificate, now: datetime) -> Thing:
    """Describe a certificate, whatever is wrong with it."""
    extensions = _try(lambda: list(certificate.extensions), None)
    is_ca = _is_ca(extensions)
    thing = Thing("CA certificate" if is_ca else "certificate", object=certificate)
    thing.facts["subject"] = _name(lambda: certificate.subject)
    _who(thing, certificate, extensions, is_ca=is_ca)
    _when(thing, certificate, now)
    _what_for(thing, certificate, extensions, is_ca=is_ca)
    _by_whom(thing, certificate)
    _key(thing, certificate)
    _rest(thing, certificate, extensions)
    if extensions is None:
        thing.flag(Level.BAD, "its extensions can't be read")
    return thing


def describe_key(key: object) -> str:
    """Write what kind of public key it is."""
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


def _try(read: Callable[[], object], otherwise: object) -> object:
    """Read what a library decodes only when somebody looks, and may not be able to."""
    try:
        return read()
    except (*UNREADABLE, CertificateError):
        return otherwise


def _name(read: Callable[[], x509.Name]) -> str:
    try:
        return read().rfc4514_string()
    except UNREADABLE:
        return "unreadable"


def _is_ca(extensions: object) -> bool:
    return isinstance(extensions, list) and any(
        isinstance(item.value, x509.BasicConstraints) and item.value.ca for item in extensions
    )


def _who(thing: Thing, certificate: x509.Certificate, extensions: object, *, is_ca: bool) -> None:
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
    thing.facts |= {"uris": uris, "dns": dns, "ip": addresses}
    subject = str(thing.facts["subject"])
    names_held = [*uris, *dns, *addresses]
    thing.title = plain(names_held[0]) if names_held else plain(subject or "nobody", letters=True)
    for label, found in (("URI", uris), ("DNS", dns), ("IP", addresses), ("other names", others)):
        if found:
            thing.row(label, listed(found))
    thing.row("subject", plain(subject, letters=True) if subject else "(empty)")
    if not is_ca:
        try:
            read_names(certificate)
        except CertificateError as error:
            words = f"refused: {without_internals(error.message)}"
            thing.facts["names"] = words
            thing.row("names", words)
            thing.flag(Level.WARNING, "names that handfast refuses")
        if len([item for item in uris if item.startswith("spiffe:")]) > 1:
            thing.flag(Level.BAD, "more than one SPIFFE ID")
        if not names:
            thing.flag(Level.WARNING, "no subject alternative name")


def _when(thing: Thing, certificate: x509.Certificate, now: datetime) -> None:
    times = _try(lambda: (certificate.not_valid_before_utc, certificate.not_valid_after_utc), None)
    if not isinstance(times, tuple):
        thing.flag(Level.BAD, "its times can't be read")
        return
    begin, end = times
    thing.facts |= {"until": end, "from": begin}
    thing.row("until", moment(end, now))
    thing.row("from", moment(begin, now))
    if end < begin:
        thing.flag(Level.BAD, "ends before it begins")
    elif end < now:
        thing.flag(Level.BAD, f"expired {relative(end, now)}")
    elif begin > now:
        thing.flag(Level.BAD, f"valid only {relative(begin, now)}")
    elif now > begin + (end - begin) / 2:
        thing.flag(Level.WARNING, "past half of its life")
    else:
        thing.flag(Level.GOOD, f"ends {relative(end, now)}")


def _what_for(
    thing: Thing, certificate: x509.Certificate, extensions: object, *, is_ca: bool
) -> None:
    uses: list[str] = []
    key_uses: list[str] = []
    for item in extensions if isinstance(extensions, list) else []:
        value = item.value
        if isinstance(value, x509.ExtendedKeyUsage):
            uses += [_USES.get(found, found.dotted_string) for found in value]
        elif isinstance(value, x509.KeyUsage):
            key_uses += [name.replace("_", " ") for name in _KEY_USES if getattr(value, name)]
        elif isinstance(value, x509.BasicConstraints) and value.ca:
            length = "" if value.path_length is None else f", {value.path_length} CAs below it"
            thing.row("CA", f"may sign certificates{length}")
        elif isinstance(value, x509.NameConstraints):
            thing.row("may name", listed(_subtrees(value.permitted_subtrees)))
            thing.row("must not name", listed(_subtrees(value.excluded_subtrees)))
        elif isinstance(value, x509.UnrecognizedExtension) and item.critical:
            thing.flag(Level.BAD, f"unknown critical extension {item.oid.dotted_string}")
    if not is_ca:
        thing.row("for", listed(uses) if uses else "anything (no extended key usage)")
        fits = [
            item.name for item in (WORKLOAD, SERVER, CLIENT) if _fault(item, certificate) is None
        ]
        thing.facts["profiles"] = fits
        why = _fault(_closest(thing), certificate)
        thing.row("profile", listed(fits) if fits else f"none of handfast's: {why}")
        if not uses:
            thing.flag(Level.WARNING, "no extended key usage")
    thing.facts |= {"extended_key_usage": uses, "key_usage": key_uses, "ca": is_ca}
    if key_uses:
        thing.row("key usage", listed(key_uses))


def _closest(thing: Thing) -> LeafProfile:
    uris = thing.facts["uris"]
    return WORKLOAD if isinstance(uris, list) and uris else SERVER


def _fault(profile: LeafProfile, certificate: x509.Certificate) -> str | None:
    try:
        profile.check(certificate)
    except CertificateError as error:
        return without_internals(error.message)
    return None


def _subtrees(found: list[x509.GeneralName] | None) -> list[str]:
    return [f"{type(item).__name__} {item.value}" for item in found or []]


def _by_whom(thing: Thing, certificate: x509.Certificate) -> None:
    issuer = _name(lambda: certificate.issuer)
    thing.facts |= {"issuer": issuer, "serial": f"{certificate.serial_number:x}"}
    thing.row("issuer", plain(issuer, letters=True) if issuer else "(empty)")
    self_issued = bool(issuer) and issuer == thing.facts["subject"]
    thing.facts["self_signed"] = self_issued and _is_signed_by_itself(certificate)
    if self_issued:
        thing.flag(Level.NOTE, "self-signed" if thing.facts["self_signed"] else "self-issued")
    serial = certificate.serial_number
    thing.row("serial", f"{serial:x}")
    if serial <= 0 or serial.bit_length() > 159:
        thing.flag(Level.BAD, "serial number is not positive and within 20 octets")


def _is_signed_by_itself(certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(certificate)
    except (*UNREADABLE, InvalidSignature):
        return False
    return True


def _key(thing: Thing, certificate: x509.Certificate) -> None:
    key = _try(certificate.public_key, None)
    thing.facts["key"] = describe_key(key) if key is not None else "unreadable"
    thing.row("key", str(thing.facts["key"]))
    signed = _try(lambda: certificate.signature_hash_algorithm, None)
    name = getattr(signed, "name", "")
    thing.facts["signature"] = name or certificate.signature_algorithm_oid.dotted_string
    if name in _WEAK_HASHES:
        thing.flag(Level.BAD, f"signed with {name.upper()}")
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < _LEAST_RSA_BITS:
        thing.flag(Level.BAD, f"RSA key of {key.key_size} bits")
    if key is None:
        thing.flag(Level.BAD, "its key can't be read")


def _rest(thing: Thing, certificate: x509.Certificate, extensions: object) -> None:
    der = certificate.public_bytes(Encoding.DER)
    thing.facts["sha256"] = fingerprint(der)
    thing.text += [
        f"Version: {_try(lambda: certificate.version.name, 'unreadable')}",
        f"Signature algorithm: {certificate.signature_algorithm_oid.dotted_string} "
        f"({thing.facts['signature']})",
        f"SHA-256 fingerprint: {thing.facts['sha256']}",
        f"Size: {len(der)} bytes",
    ]
    for item in extensions if isinstance(extensions, list) else []:
        critical = ", critical" if item.critical else ""
        name = getattr(item.oid, "_name", "unknown")
        thing.text.append(f"Extension {item.oid.dotted_string} ({name}{critical}):")
        thing.text.append(f"    {_bounded(item.value)}")


def _bounded(value: object) -> str:
    words = repr(value)
    if len(words) > _MOST_TEXT:
        words = f"{words[:_MOST_TEXT]} (and {len(words) - _MOST_TEXT} characters more)"
    return words if words.isascii() and words.isprintable() else ascii(words)
