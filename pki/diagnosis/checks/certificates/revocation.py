"""What the available revocation lists say of a chain."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509

from pki.diagnosis.checks.certificates.issuer_path import is_self_issued, quote_name
from pki.diagnosis.report import Finding, failed, ok, unknown, warning
from pki.x509 import Crl, Fault
from pki.x509.revocation import IssuerId


def examine_revocation(
    whose: str,
    path: Sequence[x509.Certificate],
    crls: Sequence[Crl],
    now: datetime,
) -> list[Finding]:
    """Look up the certificates of a path in the CRLs of their issuers.

    Args:
        whose: for the name of the check: ``server certificate`` or ``our certificate``.
        path: the certificates, from the leaf upward.
        crls: the available revocation lists.
        now: the time, aware.
    """
    check = f"{whose}: revocation"
    if not crls:
        return [
            unknown(
                check,
                "no revocation list is at hand",
                "handfast refuses peers without one unless revocation is set to when-present",
            )
        ]
    by_issuer = {item.issuer: item for item in crls}
    # A certificate without the key identifier of its issuer is matched by the issuer's name alone.
    by_name = {item.issuer.name: item for item in crls}
    findings: list[Finding] = []
    for depth, certificate in enumerate(path):
        if is_self_issued(certificate):
            break
        issuer = IssuerId.of(certificate)
        crl = by_issuer.get(issuer) if issuer.key_id else by_name.get(issuer.name)
        findings.append(_look_up(check, certificate, crl, depth, now))
    failures = [item for item in findings if item.failure]
    return failures[:1] or findings[:1]


def _look_up(
    check: str,
    certificate: x509.Certificate,
    crl: Crl | None,
    depth: int,
    now: datetime,
) -> Finding:
    what = "the leaf" if depth == 0 else f"the CA {quote_name(certificate.subject)}"
    if crl is None:
        return warning(
            check,
            "no-crl",
            f"no list is at hand of {quote_name(certificate.issuer)}, the issuer of {what}",
            remedy="Bring its list; handfast refuses the peer without it where revocation is "
            "required",
        )
    if certificate.serial_number in crl.revoked:
        return failed(
            check,
            "issuer-revoked" if depth else "revoked",
            f"{what} (serial {certificate.serial_number:x}) is on revocation list {crl.number}",
            handshake_result=Fault.REVOKED.handshake_result,
        )
    if now > crl.next_update:
        return failed(
            check,
            "stale-crl",
            f"the list of {quote_name(certificate.issuer)} ended at "
            f"{crl.next_update:%Y-%m-%d %H:%M:%S} UTC: nobody can tell what was revoked since",
            handshake_result=Fault.REVOCATION_UNKNOWN.handshake_result,
        )
    if now < crl.this_update:
        return failed(
            check,
            "clock-skew",
            f"the list of {quote_name(certificate.issuer)} begins at "
            f"{crl.this_update:%Y-%m-%d %H:%M:%S} UTC, which is in the future by this clock",
            handshake_result=Fault.REVOCATION_UNKNOWN.handshake_result,
        )
    return ok(
        check,
        f"not revoked; list {crl.number} is good until {crl.next_update:%Y-%m-%d %H:%M:%S} UTC",
    )
