"""Finds what was issued for an order that is made again because the answer to it was lost.

The same key, names, kind and lifetime again within ten minutes are the same order: it gets the same
certificate, not a second one and not an error. If that was revoked meanwhile, the order is refused.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from pki.authority.ledger import CertificateRecord, IssuerRecord, IssuerStatus, Transaction
from pki.authority.orders import LeafOrder
from pki.errors import NotPermittedError
from pki.keys import public_key_fingerprint
from pki.x509 import read_names

REPEATED_WITHIN = timedelta(minutes=10)


def find_repeated(
    order: LeafOrder, transaction: Transaction, *, now: datetime
) -> CertificateRecord | None:
    """Find the certificate that was issued for this order already.

    Args:
        order: what is wanted, with the lifetime that it is to have.
        transaction: of the ledger.
        now: the time.

    Returns:
        The newest such certificate; None if there is none.

    Raises:
        NotPermittedError: if a certificate for the same key and names was revoked meanwhile.
    """
    issuers = {item.id: item for item in transaction.issuers()}
    fingerprint = public_key_fingerprint(order.public_key)
    found: CertificateRecord | None = None
    for record in transaction.certificates_of_key(fingerprint):
        # A clock that jumped may have issued it in what is the future now.
        if abs(now - record.issued_at) > REPEATED_WITHIN or not _names_are_same(order, record):
            continue
        if record.revoked_at is not None:
            raise NotPermittedError(
                f"certificate {record.serial}, which was issued for this request at "
                f"{record.issued_at}, was revoked",
                remedy="Make a new key, and ask for it with a new request",
            )
        if _still_serves(order, record, issuers[record.issuer_id], now=now):
            found = record
    return found


def _names_are_same(order: LeafOrder, record: CertificateRecord) -> bool:
    names, wanted = read_names(record.certificate), order.names()
    return (
        record.spiffe_id == str(order.spiffe_id)
        and record.profile == order.profile.name
        and set(names.dns_names) == set(wanted.dns_names)
        and set(names.ip_addresses) == set(wanted.ip_addresses)
    )


def _still_serves(
    order: LeafOrder, record: CertificateRecord, issuer: IssuerRecord, *, now: datetime
) -> bool:
    end = min(record.issued_at + order.lifetime, issuer.certificate.not_valid_after_utc)
    return (
        record.not_after == end
        and record.not_before <= now <= record.not_after
        and issuer.status is not IssuerStatus.DISTRUSTED
    )
