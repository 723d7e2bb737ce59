"""Describes keys, and shows only what is public of them."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pki.inspection.certificates import describe_key, fingerprint
from pki.inspection.report_item import ReportItem


def describe_private_key(public: PublicKeyTypes) -> ReportItem:
    """Describe a private key by its public half alone."""
    return _key(ReportItem("private key (not shown)", object=public), public)


def describe_public_key(key: PublicKeyTypes) -> ReportItem:
    """Describe a public key that stands alone."""
    return _key(ReportItem("public key", object=key), key)


def _key(report: ReportItem, public: PublicKeyTypes) -> ReportItem:
    report.facts["key_sha256"] = fingerprint(
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )
    report.title = describe_key(public)
    report.facts["key_type"] = report.title
    report.row("type", report.title)
    report.row("key sha256", str(report.facts["key_sha256"]))
    return report
