"""What the revocation lists at hand say of a chain."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509

from pki.diagnosis.checks.issuer_path import is_self_issued, named, path_within
from pki.diagnosis.report import Finding, failed, ok, unknown, warning
from pki.x509 import Crl, Fault
from pki.x509.revocation import IssuerId


def examine_revocation(
    whose: str,
    chain: Sequence[x509.Certificate],
    crls: Sequence[Crl],
    now: datetime,
) -> list[Finding]:
    """Look for the certificates of a chain on the lists of their issuers.

    Args:
        whose: for the question: ``server certificate`` or ``our certificate``.
        chain: the certificates, in the order in which they were presented.
        crls: those at hand.
        now: the time, aware.
    """
    question = f"{whose}: revocation"
    if not crls:
        return [
            unknown(
                question,
                "no revocation list is at hand",
                "handfast refuses peers without one unless revocation is set to when-present",
            )
        ]
    by_issuer = {item.issuer: item for item in crls}
    # For a certificate that names no key of its issuer, the name must do.
    by_name = {item.issuer.name: item for item in crls}
    answers: list[Finding] = []
    for depth, certificate in enumerate(path_within(chain)):
        if is_self_issued(certificate):
            break
        issuer = IssuerId.of(certificate)
        found = by_issuer.get(issuer) if issuer.key_id else by_name.get(issuer.name)
        answers.append(_on_crl(question, certificate, found, depth, now))
    faults = [item for item in answers if item.failure]
    return faults[:1] or answers[:1]


def _on_crl(
    question: str,
    certificate: x509.Certificate,
    found: Crl | None,
    depth: int,
    now: datetime,
) -> Finding:
    what = "the leaf" if depth == 0 else f"the CA {named(certificate.subject)}"
    if found is None:
        return warning(
            question,
            "no-list",
            f"no list is at hand of {named(certificate.issuer)}, the issuer of {what}",
            remedy="Bring its list; handfast refuses the peer without it where revocation is "
            "required",
        )
    if certificate.serial_number in found.revoked:
        return failed(
            question,
            "issuer-revoked" if depth else "revoked",
            f"{what} (serial {certificate.serial_number:x}) stands on list {found.number}",
            verdict=Fault.REVOKED.verdict,
        )
    if now > found.next_update:
        return failed(
            question,
            "stale-list",
            f"the list of {named(certificate.issuer)} ended at "
            f"{found.next_update:%Y-%m-%d %H:%M:%S} UTC: nobody can tell what was revoked since",
            verdict=Fault.REVOCATION_UNKNOWN.verdict,
        )
    if now < found.this_update:
        return failed(
            question,
            "clock-differs",
            f"the list of {named(certificate.issuer)} begins at "
            f"{found.this_update:%Y-%m-%d %H:%M:%S} UTC, which is yet to come by this clock",
            verdict=Fault.REVOCATION_UNKNOWN.verdict,
        )
    return ok(
        question,
        f"not revoked; list {found.number} is good until {found.next_update:%Y-%m-%d %H:%M:%S} UTC",
    )
