"""Which workloads a step of a rotation would strand, from what the ledger knows of them.

1. Each certificate counts that a receiver could accept now: recorded, unexpired, not revoked, of an
   issuing CA that is neither distrusted nor withdrawn.
2. The holder of a certificate trusts the bundle that was handed out with it, or a newer one: the
   newest that was recorded before it was issued. Over the network, that is so for the first
   certificate of a line alone: who renews there fetches newer bundles by themselves, and reports
   what they got. The CA itself takes each new bundle from its ledger.
3. A report counts for the certificate that it names, and for the other certificates of its line of
   renewals that were issued before it: they belong to one workload. The newest report counts, even
   if its number is lower: the workload went back.
4. To activate a new root strands each holder whose bundle lacks that root: it would refuse
   everybody whose certificate is new.
5. To withdraw a root strands each holder whose certificate hangs on it: everybody would refuse it.

A workload without an unexpired certificate can talk to nobody, so no step strands it. It comes back
with the newest bundle.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pki.authority.ledger import (
    BundleRecord,
    CertificateRecord,
    IssuerRecord,
    Transaction,
    TrustReport,
)
from pki.authority.ledger.hierarchy import is_usable, root_of
from pki.authority.registrations import Proof


@dataclass(frozen=True, slots=True)
class Holder:
    """Whoever holds an unexpired certificate, and what is known of their trust.

    Args:
        certificate: the certificate.
        issuer: the issuing CA that signed it.
        root: the root above.
        bundle_number: of the newest bundle that they are known to trust; 0 if none is known.
        reported_at: when they reported it; None if the bundle came with the certificate.
    """

    certificate: CertificateRecord
    issuer: IssuerRecord
    root: IssuerRecord
    bundle_number: int
    reported_at: datetime | None

    def __str__(self) -> str:
        """Return the workload and the certificate."""
        return f"{self.certificate.spiffe_id} (certificate {self.certificate.serial})"


def find_holders(transaction: Transaction, *, now: datetime) -> tuple[Holder, ...]:
    """Return the holders of all certificates that count, oldest certificate first."""
    issuers = {item.id: item for item in transaction.issuers()}
    live = [
        item
        for item in transaction.certificates(ends_after=now)
        if item.revoked_at is None and is_usable(issuers[item.issuer_id])
    ]
    bundles = transaction.rotation.bundles()
    reports = _reports_of_lines(live, transaction.rotation.reports())
    origins = transaction.lines.origins()
    holders = []
    for certificate in live:
        issuer = issuers[certificate.issuer_id]
        root = root_of(issuer, issuers.values())
        proof, first = origins[certificate.line_id]
        if proof == Proof.CA:
            continue
        number = _handed_out_with(_certificate_with_bundle(certificate, proof, first), bundles)
        report = reports.get(certificate.id)
        reported_at = None
        if report is not None and report.reported_at >= certificate.issued_at:
            number, reported_at = report.bundle_number, report.reported_at
        holders.append(Holder(certificate, issuer, root, number, reported_at))
    return tuple(holders)


def without_root(
    holders: Iterable[Holder], root: IssuerRecord, transaction: Transaction
) -> tuple[Holder, ...]:
    """Return the holders who are not known to trust a root that the newest bundle holds."""
    holding = [
        item.bundle.number
        for item in transaction.rotation.bundles()
        if root.certificate in item.bundle.content.roots
    ]
    if not holding:
        return tuple(holders)
    return tuple(item for item in holders if item.bundle_number not in holding)


def hanging_on(holders: Iterable[Holder], root: IssuerRecord) -> tuple[Holder, ...]:
    """Return the holders whose certificate hangs on a root."""
    return tuple(item for item in holders if item.root.id == root.id)


def last_end(holders: Iterable[Holder]) -> datetime | None:
    """Return when the last certificate of these holders ends; None without holders."""
    return max((item.certificate.not_after for item in holders), default=None)


def bundle_without_report(transaction: Transaction, certificate: CertificateRecord) -> int:
    """Return the bundle that a certificate's holder trusts by what was handed out to them."""
    origin = transaction.lines.origin(certificate.line_id)
    if origin is None:
        return 0
    carrier = _certificate_with_bundle(certificate, *origin)
    return transaction.rotation.bundle_number_before(carrier)


def _certificate_with_bundle(certificate: CertificateRecord, proof: str, first: int) -> int:
    """Return the id of the certificate with which a bundle was handed out for sure.

    Args:
        certificate: the certificate.
        proof: by which its line began.
        first: the id of the first certificate of its line.
    """
    return certificate.id if proof == Proof.OPERATOR else first


def _handed_out_with(certificate_id: int, bundles: Sequence[BundleRecord]) -> int:
    earlier = [item.bundle.number for item in bundles if item.last_certificate < certificate_id]
    return max(earlier, default=0)


def _reports_of_lines(
    live: Sequence[CertificateRecord], reports: Iterable[TrustReport]
) -> dict[int, TrustReport]:
    """Return the newest report of the line of each certificate, by the certificate's id."""
    by_serial = {item.serial: item for item in reports}
    ids = {item.id for item in live}
    # Oldest first, so that the certificate from which one was renewed has its line already.
    line: dict[int, int] = {}
    for item in live:
        parent = item.renewed_from
        line[item.id] = line[parent] if parent in ids and parent is not None else item.id
    newest: dict[int, TrustReport] = {}
    for item in live:
        report = by_serial.get(item.serial)
        if report is None:
            continue
        before = newest.get(line[item.id])
        if before is None or report.reported_at >= before.reported_at:
            newest[line[item.id]] = report
    return {item.id: newest[line[item.id]] for item in live if line[item.id] in newest}
