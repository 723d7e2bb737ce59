"""Checks of several objects together: a key and its chain, a revocation list and a leaf."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pki.inspection.certificates import fingerprint
from pki.inspection.formatting import quote_if_unsafe
from pki.inspection.report_item import Level, ReportItem
from pki.x509.decoding import UNREADABLE

_FAILS = (*UNREADABLE, UnsupportedAlgorithm)


def cross_check(files: Sequence[Sequence[ReportItem]]) -> None:
    """Add the flags that only several objects together can give.

    Args:
        files: the objects of each file or server, in their order. The order of a chain is checked
            within one file, keys and revocation lists across all files.
    """
    reports = [report for items in files for report in items]
    certificates = _certificates(reports)
    crls = [
        item.object for item in reports if isinstance(item.object, x509.CertificateRevocationList)
    ]
    keys = [item for item in reports if item.kind == "private key (not shown)"]
    _check_keys(keys, certificates)
    for items in files:
        _check_order(_certificates(items))
        _check_roots(_certificates(items))
    for report in certificates:
        _check_revocation(report, crls, certificates)


def _certificates(reports: Sequence[ReportItem]) -> list[ReportItem]:
    return [item for item in reports if isinstance(item.object, x509.Certificate)]


def _check_keys(keys: list[ReportItem], certificates: list[ReportItem]) -> None:
    if not certificates:
        return
    fingerprints = {_key_fingerprint(item) for item in certificates}
    for key in keys:
        if key.facts["key_sha256"] in fingerprints:
            key.flag(Level.GOOD, "belongs to the certificate beside it")
        else:
            key.flag(Level.BAD, "belongs to none of the certificates beside it")


def _key_fingerprint(report: ReportItem) -> str:
    assert isinstance(report.object, x509.Certificate)
    try:
        key = report.object.public_key()
        return fingerprint(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    except _FAILS:
        return ""


def _check_order(certificates: list[ReportItem]) -> None:
    """Flag a chain in which a certificate is not followed by its issuer."""
    if len(certificates) < 2 or certificates[0].facts["ca"]:
        if len(certificates) > 1 and any(not item.facts["ca"] for item in certificates):
            certificates[0].flag(Level.WARNING, "a CA certificate stands before the leaf")
        return
    leaf = certificates[0]
    issuers = [item.facts["subject"] for item in certificates]
    if leaf.facts["issuer"] in issuers[2:] and leaf.facts["issuer"] != issuers[1]:
        leaf.flag(Level.WARNING, "not followed by its issuer: the chain is out of order")


def _check_roots(certificates: list[ReportItem]) -> None:
    """Flag a file of CAs without a root: as a trust bundle it makes verifiers refuse everybody."""
    if not certificates or not all(item.facts["ca"] for item in certificates):
        return
    if any(item.facts["self_signed"] for item in certificates):
        return
    subjects = {item.facts["subject"] for item in certificates}
    above = next(
        (item for item in certificates if item.facts["issuer"] not in subjects), certificates[0]
    )
    root = quote_if_unsafe(above.facts["issuer"], allow_letters=True)
    certificates[0].flag(
        Level.WARNING,
        f"holds no root, only CAs below one: for a trust bundle, put the root {root} there",
    )


def _check_revocation(
    report: ReportItem, crls: list[x509.CertificateRevocationList], certificates: list[ReportItem]
) -> None:
    certificate = report.object
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
            report.flag(Level.WARNING, "named by a CRL that its issuer did not sign")
        else:
            report.flag(Level.BAD, "revoked by the CRL beside it")


def _is_forged(crl: x509.CertificateRevocationList, certificates: list[ReportItem]) -> bool:
    """Return whether the issuer of a revocation list is at hand, and did not sign it."""
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
