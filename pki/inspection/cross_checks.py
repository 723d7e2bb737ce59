"""What stands out only when several things lie together: a key and its chain, a list and a leaf."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pki.inspection.certificates import fingerprint
from pki.inspection.report_item import Level, Thing
from pki.x509.decoding import UNREADABLE

_FAILS = (*UNREADABLE, UnsupportedAlgorithm)


def judge_together(files: Sequence[Sequence[Thing]]) -> None:
    """Add the flags that only things that lie together can give.

    Args:
        files: the things of each file or server, in their order. A chain stands in one file: its
            order is judged there, keys and lists by all.
    """
    things = [thing for items in files for thing in items]
    certificates = _certificates(things)
    crls = [
        item.object for item in things if isinstance(item.object, x509.CertificateRevocationList)
    ]
    keys = [item for item in things if item.kind == "private key (not shown)"]
    _keys(keys, certificates)
    for items in files:
        _order(_certificates(items))
    for thing in certificates:
        _revoked(thing, crls, certificates)


def _certificates(things: Sequence[Thing]) -> list[Thing]:
    return [item for item in things if isinstance(item.object, x509.Certificate)]


def _keys(keys: list[Thing], certificates: list[Thing]) -> None:
    if not certificates:
        return
    held = {_key_of(item) for item in certificates}
    for key in keys:
        if key.facts["key"] in held:
            key.flag(Level.GOOD, "belongs to the certificate beside it")
        else:
            key.flag(Level.BAD, "belongs to none of the certificates beside it")


def _key_of(thing: Thing) -> str:
    assert isinstance(thing.object, x509.Certificate)
    try:
        key = thing.object.public_key()
        return fingerprint(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    except _FAILS:
        return ""


def _order(certificates: list[Thing]) -> None:
    """Flag a chain whose certificates are there, and not each followed by its issuer."""
    if len(certificates) < 2 or certificates[0].facts["ca"]:
        if len(certificates) > 1 and any(not item.facts["ca"] for item in certificates):
            certificates[0].flag(Level.WARNING, "a CA certificate stands before the leaf")
        return
    leaf = certificates[0]
    issuers = [item.facts["subject"] for item in certificates]
    if leaf.facts["issuer"] in issuers[2:] and leaf.facts["issuer"] != issuers[1]:
        leaf.flag(Level.WARNING, "not followed by its issuer: the chain is out of order")


def _revoked(
    thing: Thing, crls: list[x509.CertificateRevocationList], certificates: list[Thing]
) -> None:
    certificate = thing.object
    assert isinstance(certificate, x509.Certificate)
    for crl in crls:
        try:
            if crl.issuer != certificate.issuer:
                continue
            entry = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
        except _FAILS:
            continue
        if entry is None:
            continue
        if _is_forged(crl, certificates):
            thing.flag(Level.WARNING, "named by a list that its issuer did not sign")
        else:
            thing.flag(Level.BAD, "revoked by the list beside it")


def _is_forged(crl: x509.CertificateRevocationList, certificates: list[Thing]) -> bool:
    """Return whether the issuer is at hand, and did not sign the list."""
    issuers = [
        item.object
        for item in certificates
        if isinstance(item.object, x509.Certificate) and item.object.subject == crl.issuer
    ]
    signed = []
    for issuer in issuers:
        try:
            signed.append(crl.is_signature_valid(issuer.public_key()))  # type: ignore[arg-type]
        except (*_FAILS, InvalidSignature):
            signed.append(False)
    return bool(signed) and not any(signed)
