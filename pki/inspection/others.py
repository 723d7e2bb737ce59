"""Describes requests, keys and revocation lists."""

from __future__ import annotations

from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pki.errors import InputError
from pki.inspection.certificates import describe_key, fingerprint
from pki.inspection.report_item import (
    MOST_SHOWN,
    Level,
    Thing,
    listed,
    moment,
    plain,
    without_internals,
)
from pki.x509 import read_request
from pki.x509.decoding import UNREADABLE


def describe_request(request: x509.CertificateSigningRequest, der: bytes) -> Thing:
    """Describe a certificate signing request."""
    thing = Thing("certificate request", object=request)
    subject = request.subject.rfc4514_string()
    names: list[x509.GeneralName] = []
    try:
        found = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = list(found.value)
    except x509.ExtensionNotFound:
        pass
    except UNREADABLE:
        thing.flag(Level.BAD, "its extensions can't be read")
    uris = [item.value for item in names if isinstance(item, x509.UniformResourceIdentifier)]
    dns = [item.value for item in names if isinstance(item, x509.DNSName)]
    thing.facts |= {"subject": subject, "uris": uris, "dns": dns}
    thing.title = plain((uris or dns or [subject or "nobody"])[0])
    thing.row("subject", plain(subject, letters=True) if subject else "(empty)")
    if names:
        thing.row("names", listed(uris + dns))
    _public_key(thing, request)
    try:
        signed = request.is_signature_valid
    except (*UNREADABLE, UnsupportedAlgorithm):
        signed = False
    thing.facts["signed"] = signed
    thing.flag(*((Level.GOOD, "signed by its own key") if signed else (Level.BAD, "bad signature")))
    try:
        read_request(der)
    except InputError as error:
        thing.row("handfast", f"refuses it: {without_internals(error.message)}")
        thing.flag(Level.WARNING, "handfast refuses it")
    return thing


def _public_key(thing: Thing, request: x509.CertificateSigningRequest) -> None:
    try:
        key = request.public_key()
    except (*UNREADABLE, UnsupportedAlgorithm):
        thing.flag(Level.BAD, "its key can't be read")
        return
    thing.facts["key"] = fingerprint(
        key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )
    thing.row("key", describe_key(key))
    thing.row("key sha256", str(thing.facts["key"]))


def describe_private_key(public: PublicKeyTypes) -> Thing:
    """Describe a private key by its public half alone."""
    return _key(Thing("private key (not shown)", object=public), public)


def describe_public_key(key: PublicKeyTypes) -> Thing:
    """Describe a public key that stands alone."""
    return _key(Thing("public key", object=key), key)


def _key(thing: Thing, public: PublicKeyTypes) -> Thing:
    thing.facts["key"] = fingerprint(
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )
    thing.title = describe_key(public)
    thing.facts["type"] = thing.title
    thing.row("type", thing.title)
    thing.row("key sha256", str(thing.facts["key"]))
    return thing


def describe_crl(crl: x509.CertificateRevocationList, now: datetime) -> Thing:
    """Describe a revocation list."""
    thing = Thing("revocation list", object=crl)
    issuer = crl.issuer.rfc4514_string()
    number = _number(crl)
    begin, end = crl.last_update_utc, crl.next_update_utc
    entries = len(crl)
    thing.title = plain(issuer, letters=True)
    thing.facts |= {
        "issuer": issuer,
        "number": number,
        "entries": entries,
        "this_update": begin,
        "next_update": end,
    }
    thing.row("issuer", plain(issuer, letters=True))
    thing.row("number", "-" if number is None else str(number))
    thing.row("until", "no end" if end is None else moment(end, now))
    thing.row("from", moment(begin, now))
    thing.row("entries", str(entries))
    if entries:
        shown_entries = [crl[at] for at in range(min(entries, MOST_SHOWN))]
        thing.row("revoked", listed(f"{item.serial_number:x}" for item in shown_entries))
        if entries > MOST_SHOWN:
            thing.row("", f"and {entries - MOST_SHOWN} more")
    if end is None:
        thing.flag(Level.WARNING, "names no next update")
    elif end < now:
        thing.flag(Level.BAD, "stale: its next update has passed")
    elif now > begin + (end - begin) / 2:
        thing.flag(Level.WARNING, "past half of its life")
    else:
        thing.flag(Level.GOOD, "fresh")
    if begin > now:
        thing.flag(Level.BAD, "begins in the future")
    return thing


def _number(crl: x509.CertificateRevocationList) -> int | None:
    try:
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except (x509.ExtensionNotFound, *UNREADABLE):
        return None
