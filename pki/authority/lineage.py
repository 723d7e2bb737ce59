"""What belongs together when one certificate is revoked."""

from __future__ import annotations

from collections.abc import Sequence

from pki.authority.ledger import CertificateRecord, Transaction


def all_that_follows(
    first: Sequence[CertificateRecord], transaction: Transaction, *, same_keys: bool
) -> list[CertificateRecord]:
    """Return certificates with what was renewed from them.

    Args:
        first: the certificates to begin with.
        transaction: of the ledger.
        same_keys: whether every other certificate of their keys is meant too.
    """
    hit: dict[int, CertificateRecord] = {}
    waiting = list(first)
    while waiting:
        item = waiting.pop(0)
        if item.id in hit:
            continue
        hit[item.id] = item
        follower = transaction.renewal_of(item.id)
        waiting += [follower] if follower is not None else []
        if same_keys:
            waiting += transaction.certificates_of_keys([item.key_fingerprint])
    return list(hit.values())
