"""Collect the certificates that are revoked together."""

from __future__ import annotations

from collections.abc import Sequence

from pki.authority.ledger.records import CertificateRecord
from pki.authority.ledger.transaction import Transaction


def with_renewals(
    certificates: Sequence[CertificateRecord],
    transaction: Transaction,
    *,
    same_keys: bool,
    whole_line: bool = False,
) -> list[CertificateRecord]:
    """Return certificates with all their renewals.

    Args:
        certificates: the certificates to begin with.
        transaction: of the ledger.
        same_keys: include every other certificate of the same keys.
        whole_line: include the certificates from which these were renewed.
    """
    collected: dict[int, CertificateRecord] = {}
    pending = list(certificates)
    while pending:
        item = pending.pop(0)
        if item.id in collected:
            continue
        collected[item.id] = item
        renewal = transaction.renewal_of(item.id)
        pending += [renewal] if renewal is not None else []
        if whole_line and item.renewed_from is not None:
            earlier = transaction.certificate_by_id(item.renewed_from)
            pending += [earlier] if earlier is not None else []
        if same_keys:
            pending += transaction.certificates_of_keys([item.key_fingerprint])
    return list(collected.values())
