"""Describes certificate signing requests."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pki.errors import InputError
from pki.inspection.certificates import describe_key, fingerprint
from pki.inspection.formatting import format_list, quote_if_unsafe, without_decoder_details
from pki.inspection.report_item import Level, ReportItem
from pki.x509 import read_request
from pki.x509.decoding import UNREADABLE


def describe_request(request: x509.CertificateSigningRequest, der: bytes) -> ReportItem:
    """Describe a certificate signing request."""
    report = ReportItem("certificate request", object=request)
    subject = request.subject.rfc4514_string()
    names: list[x509.GeneralName] = []
    try:
        extension = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = list(extension.value)
    except x509.ExtensionNotFound:
        pass
    except UNREADABLE:
        report.flag(Level.BAD, "its extensions can't be read")
    uris = [item.value for item in names if isinstance(item, x509.UniformResourceIdentifier)]
    dns = [item.value for item in names if isinstance(item, x509.DNSName)]
    report.facts |= {"subject": subject, "uris": uris, "dns": dns}
    report.title = quote_if_unsafe((uris or dns or [subject or "nobody"])[0])
    report.row("subject", quote_if_unsafe(subject, allow_letters=True) if subject else "(empty)")
    if names:
        report.row("names", format_list(uris + dns))
    _add_public_key(report, request)
    report.flag(Level.NOTE, "a request, and no certificate: a CA must sign it first")
    try:
        signed = request.is_signature_valid
    except (*UNREADABLE, UnsupportedAlgorithm):
        signed = False
    report.facts["signed"] = signed
    report.flag(
        *((Level.GOOD, "signed by its own key") if signed else (Level.BAD, "bad signature"))
    )
    try:
        read_request(der)
    except InputError as error:
        report.row("handfast", f"refuses it: {without_decoder_details(error.message)}")
        report.flag(Level.WARNING, "handfast refuses it")
    return report


def _add_public_key(report: ReportItem, request: x509.CertificateSigningRequest) -> None:
    try:
        key = request.public_key()
    except (*UNREADABLE, UnsupportedAlgorithm):
        report.flag(Level.BAD, "its key can't be read")
        return
    report.facts["key_sha256"] = fingerprint(
        key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )
    report.row("key", describe_key(key))
    report.row("key sha256", str(report.facts["key_sha256"]))
