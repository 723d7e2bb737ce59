"""Sign the CA's revocation lists: the issuing CAs' own, and the root's, some of them ahead.

The root's key is kept elsewhere after set-up, but a leaked issuing CA must be distrusted on the
same day. So whenever the root's key is there, a root CRL is signed ahead for each set of issuing
CAs that may have to be distrusted, and kept in the ledger. Receivers never go back to a lower
number, so a CRL that revokes more has a higher number: ``base`` plus how many more it revokes,
where ``base`` is higher than every number used before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import chain, combinations

from cryptography import x509

from pki.authority.ledger import IssuerKind, IssuerRecord, IssuerStatus, Transaction
from pki.authority.signing import SigningCa, check_validity
from pki.x509 import Crl
from pki.x509.revocation import RevokedEntry

# Six issuing CAs have 63 sets. For more issuing CAs, only sets of one and two are signed ahead.
_ALL_SETS_UP_TO = 6


def refresh_issuing_crl(
    ca: SigningCa,
    transaction: Transaction,
    *,
    now: datetime,
    lifetime: timedelta,
    backdate: timedelta,
) -> Crl:
    """Sign a new CRL for an issuing CA, and make it the current one.

    Args:
        ca: the issuing CA.
        transaction: holds the revocations, and records the CRL.
        now: the time.
        lifetime: until the CRL's ``nextUpdate``.
        backdate: how long before ``now`` the CRL begins.
    """
    now = now.replace(microsecond=0)
    current = transaction.crls.current(ca.record.id)
    # RFC 5280 §3.3: an entry stays until it was on one CRL issued after the certificate's end.
    revoked = transaction.revoked_of(ca.record.id, ends_after=now - lifetime)
    floor = transaction.recovery.crl_floor(ca.record.id)
    crl = Crl.build(
        chain(
            (
                RevokedEntry(int(item.serial, 16), item.revoked_at, x509.ReasonFlags(item.reason))
                for item in revoked
                if item.revoked_at and item.reason
            ),
            transaction.recovery.unrecorded_of(ca.record.id),
        ),
        issuer=ca.record.certificate,
        issuer_key=ca.key,
        number=max(current.number if current else 0, floor) + 1,
        this_update=now - backdate,
        next_update=now + lifetime,
    )
    transaction.crls.put(ca.record.id, crl)
    return crl


def sign_root_crls(
    root: SigningCa, transaction: Transaction, *, now: datetime, backdate: timedelta
) -> Crl:
    """Sign the root's current CRL, and those for every set that may have to be distrusted.

    Raises:
        StateError: if the clock is outside the root's validity.
    """
    check_validity(root.record.certificate, now, what="root")
    issuers = transaction.issuers()
    distrusted = [item for item in issuers if item.status is IssuerStatus.DISTRUSTED]
    trusted = [
        item
        for item in issuers
        if item.kind is IssuerKind.ISSUING
        and item.status is not IssuerStatus.DISTRUSTED
        and item.certificate.not_valid_after_utc > now
    ]
    before = transaction.crls.current(root.record.id)
    floor = transaction.recovery.crl_floor(root.record.id)
    unrecorded = transaction.recovery.unrecorded_of(root.record.id)
    numbers = (transaction.crls.highest_presigned_number(), before.number if before else 0, floor)
    base = max(numbers) + 1
    now = now.replace(microsecond=0)

    def sign(revoked: Iterable[IssuerRecord], number: int) -> Crl:
        return Crl.build(
            chain(
                (
                    RevokedEntry(
                        item.certificate.serial_number, now, x509.ReasonFlags.ca_compromise
                    )
                    for item in revoked
                ),
                unrecorded,
            ),
            issuer=root.record.certificate,
            issuer_key=root.key,
            number=number,
            this_update=now - backdate,
            # Until the root's end, because its key may not come back to sign another one.
            next_update=root.record.certificate.not_valid_after_utc,
        )

    current = sign(distrusted, base)
    transaction.crls.put(root.record.id, current)
    transaction.crls.put_presigned(
        (
            [item.id for item in (*distrusted, *chosen)],
            sign((*distrusted, *chosen), base + len(chosen)),
        )
        for chosen in _subsets(trusted)
    )
    return current


def _subsets(issuers: Sequence[IssuerRecord]) -> Iterator[tuple[IssuerRecord, ...]]:
    largest = len(issuers) if len(issuers) <= _ALL_SETS_UP_TO else 2
    for size in range(1, largest + 1):
        yield from combinations(issuers, size)
