"""Record what workloads say of the trust bundle that they hold."""

from __future__ import annotations

from collections.abc import Iterable

from pki.authority.context import AuthorityContext
from pki.authority.ledger import Transaction, TrustReport
from pki.authority.rotation.readiness import bundle_without_report
from pki.errors import InputError, NotPermittedError, quote_untrusted
from pki.identity import SpiffeId


def report_trust(
    context: AuthorityContext, held: Iterable[tuple[SpiffeId, str]], bundle_number: int
) -> int:
    """Record that workloads trust a bundle, and which certificates they use.

    A report is believed for its sender alone: at worst, a workload strands itself. Whoever reports
    a bundle must hold the CRLs that were published with it too.

    Args:
        context: the CA.
        held: each workload, as its own certificate proves it, with the serial number (lower-case
            hex) of a certificate that it uses.
        bundle_number: of the newest bundle that they trust.

    Returns:
        How many reports were recorded. One that says nothing new is not.

    Raises:
        NotPermittedError: if a certificate is not one of its workload; then nothing is recorded.
        InputError: if there is no bundle of that number.
    """
    reports = tuple(held)
    # Most say nothing new: for those, nobody waits for a turn to write.
    with context.ledger.snapshot() as transaction:
        if not new_reports(transaction, reports, bundle_number):
            return 0
    return record_trust(context, reports, bundle_number)


def record_trust(
    context: AuthorityContext, held: Iterable[tuple[SpiffeId, str]], bundle_number: int
) -> int:
    """Record reports as :func:`report_trust`, where some of them say something new."""
    with context.ledger.transaction() as transaction:
        new = new_reports(transaction, held, bundle_number)
        for spiffe_id, serial in new:
            transaction.rotation.put_report(
                TrustReport(serial, str(spiffe_id), bundle_number, context.now())
            )
        return len(new)


def new_reports(
    transaction: Transaction, held: Iterable[tuple[SpiffeId, str]], bundle_number: int
) -> list[tuple[SpiffeId, str]]:
    """Return which reports say something new; raise as :func:`report_trust`."""
    if not 1 <= bundle_number <= transaction.rotation.newest_bundle_number():
        raise InputError(f"there is no trust bundle with the number {bundle_number}")
    new = []
    for spiffe_id, serial in held:
        certificate = transaction.certificate_by_serial(serial)
        if certificate is None or certificate.spiffe_id != str(spiffe_id):
            raise NotPermittedError(
                f"{spiffe_id} has no certificate with the serial number "
                f"{quote_untrusted(serial)}, so it can't report what that one's holder trusts"
            )
        report = transaction.rotation.report_of(serial)
        known = (
            report.bundle_number
            if report is not None
            else bundle_without_report(transaction, certificate)
        )
        if known != bundle_number:
            new.append((spiffe_id, serial))
    return new
