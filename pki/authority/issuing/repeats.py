"""Find the certificate of an order that is repeated because its answer was lost.

An order with the same key, names, profile and lifetime within ten minutes is the same order: it
gets the same certificate, not a second one and not an error. If that certificate was revoked
meanwhile, the order is refused.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from pki.authority.ledger import CertificateRecord, IssuerRecord, Transaction
from pki.authority.ledger.hierarchy import is_usable
from pki.authority.orders import LeafOrder
from pki.errors import NotPermittedError
from pki.x509 import read_names

REPEATED_WITHIN = timedelta(minutes=10)


def find_repeated(
    order: LeafOrder, transaction: Transaction, *, now: datetime
) -> CertificateRecord | None:
    """Find the certificate that was already issued for this order.

    Args:
        order: the order, with the lifetime that the certificate will have.
        transaction: of the ledger.
        now: the time.

    Returns:
        The newest such certificate; None if there is none.

    Raises:
        NotPermittedError: if a certificate for the same key and names was revoked meanwhile.
    """
    issuers = {item.id: item for item in transaction.issuers()}
    fingerprint = order.key.fingerprint
    repeated: CertificateRecord | None = None
    for record in transaction.certificates_of_key(fingerprint):
        # The absolute value, because the clock may have jumped back since.
        if abs(now - record.issued_at) > REPEATED_WITHIN or not _has_same_names(order, record):
            continue
        if record.revoked_at is not None:
            raise NotPermittedError(
                f"certificate {record.serial}, which was issued for this request at "
                f"{record.issued_at}, was revoked",
                remedy="Make a new key, and ask for it with a new request",
            )
        if _is_still_usable(order, record, issuers[record.issuer_id], now=now):
            repeated = record
    return repeated


def _has_same_names(order: LeafOrder, record: CertificateRecord) -> bool:
    names, ordered = read_names(record.certificate), order.names()
    return (
        record.spiffe_id == str(order.spiffe_id)
        and record.profile == order.profile.name
        and set(names.dns_names) == set(ordered.dns_names)
        and set(names.ip_addresses) == set(ordered.ip_addresses)
    )


def _is_still_usable(
    order: LeafOrder, record: CertificateRecord, issuer: IssuerRecord, *, now: datetime
) -> bool:
    end = min(record.issued_at + order.lifetime, issuer.certificate.not_valid_after_utc)
    return (
        record.not_after == end
        and record.not_before <= now <= record.not_after
        and is_usable(issuer)
    )
