"""Record what workloads say of the trust bundle that they hold."""

from __future__ import annotations

from collections.abc import Iterable

from pki.authority.context import AuthorityContext
from pki.authority.ledger import TrustReport
from pki.errors import InputError, NotPermittedError, quote_untrusted
from pki.identity import SpiffeId


def report_trust(
    context: AuthorityContext, spiffe_id: SpiffeId, serials: Iterable[str], bundle_number: int
) -> int:
    """Record that a workload trusts a bundle, and which certificates it uses.

    A report is believed for its sender alone: at worst, a workload strands itself. Whoever reports
    a bundle must hold the CRLs that were published with it too.

    Args:
        context: the CA.
        spiffe_id: the workload, as its own certificate proves it.
        serials: of the certificates that it uses, in lower-case hex.
        bundle_number: of the newest bundle that it trusts.

    Returns:
        How many reports were recorded; one that says the same again changes nothing.

    Raises:
        NotPermittedError: if a certificate is not one of this workload.
        InputError: if there is no bundle of that number.
    """
    with context.ledger.transaction() as transaction:
        newest = transaction.rotation.newest_bundle()
        if newest is None or not 1 <= bundle_number <= newest.bundle.number:
            raise InputError(f"there is no trust bundle with the number {bundle_number}")
        known = {item.serial: item for item in transaction.rotation.reports()}
        recorded = 0
        for serial in serials:
            certificate = transaction.certificate_by_serial(serial)
            if certificate is None or certificate.spiffe_id != str(spiffe_id):
                raise NotPermittedError(
                    f"{spiffe_id} has no certificate with the serial number "
                    f"{quote_untrusted(serial)}, so it can't report what that one's holder trusts"
                )
            before = known.get(serial)
            if before is not None and before.bundle_number == bundle_number:
                continue
            transaction.rotation.put_report(
                TrustReport(serial, str(spiffe_id), bundle_number, context.now())
            )
            recorded += 1
        return recorded
