"""The CA's revocation lists: an issuing CA's own, and the root's, signed ahead.

The root's key is away after set-up, yet a leaked issuing CA must be distrusted on the day. So
whenever the root's key is at hand, a root list is signed for each set of issuing CAs that might
have to go, and kept in the ledger. Receivers never go back to a lower number, so a list that
revokes more has a higher number: ``base + how many it revokes``, where ``base`` lies above every
number used before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import chain, combinations

from cryptography import x509

from pki.authority.ledger import IssuerKind, IssuerRecord, IssuerStatus, Transaction
from pki.authority.signing import SigningCa, check_within
from pki.x509 import Crl
from pki.x509.revocation import RevokedEntry

# All sets of up to six issuing CAs are 63 lists; beyond that, sets of one and two.
_ALL_SETS_UP_TO = 6


def refresh_issuing_crl(
    ca: SigningCa,
    transaction: Transaction,
    *,
    now: datetime,
    lifetime: timedelta,
    backdate: timedelta,
) -> Crl:
    """Sign an issuing CA's list anew and make it the current one.

    Args:
        ca: the issuing CA.
        transaction: where the revocations stand and the list goes.
        now: the time.
        lifetime: until its ``nextUpdate``; never past the CA's own end.
        backdate: how far ``thisUpdate`` is set back.
    """
    now = now.replace(microsecond=0)
    current = transaction.crl_of(ca.record.id)
    # RFC 5280 §3.3: an entry stays until it was on one list after the certificate's end.
    revoked = transaction.revoked_of(ca.record.id, ends_after=now - lifetime)
    floor = transaction.recovery.crl_floor(ca.record.id)
    made = Crl.build(
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
    transaction.put_crl(ca.record.id, made)
    return made


def sign_root_crls(
    root: SigningCa, transaction: Transaction, *, now: datetime, backdate: timedelta
) -> Crl:
    """Sign the root's list of today, and those for every set that might have to be distrusted.

    Raises:
        StateError: if the clock stands outside the root's own time.
    """
    check_within(root.record.certificate, now, what="root")
    issuers = transaction.issuers()
    gone = [item for item in issuers if item.status is IssuerStatus.DISTRUSTED]
    live = [
        item
        for item in issuers
        if item.kind is IssuerKind.ISSUING
        and item.status is not IssuerStatus.DISTRUSTED
        and item.certificate.not_valid_after_utc > now
    ]
    current = transaction.crl_of(root.record.id)
    floor = transaction.recovery.crl_floor(root.record.id)
    elsewhere = transaction.recovery.unrecorded_of(root.record.id)
    base = max(transaction.highest_distrust_number(), current.number if current else 0, floor) + 1
    now = now.replace(microsecond=0)

    def signed(revoked: Iterable[IssuerRecord], number: int) -> Crl:
        return Crl.build(
            chain(
                (
                    RevokedEntry(
                        item.certificate.serial_number, now, x509.ReasonFlags.ca_compromise
                    )
                    for item in revoked
                ),
                elsewhere,
            ),
            issuer=root.record.certificate,
            issuer_key=root.key,
            number=number,
            this_update=now - backdate,
            # The root's key may never come back before its end, and nobody else can sign for it.
            next_update=root.record.certificate.not_valid_after_utc,
        )

    today = signed(gone, base)
    transaction.put_crl(root.record.id, today)
    transaction.put_distrust_crls(
        (
            [item.id for item in (*gone, *chosen)],
            signed((*gone, *chosen), base + len(chosen)),
        )
        for chosen in _sets(live)
    )
    return today


def _sets(live: Sequence[IssuerRecord]) -> Iterator[tuple[IssuerRecord, ...]]:
    largest = len(live) if len(live) <= _ALL_SETS_UP_TO else 2
    for size in range(1, largest + 1):
        yield from combinations(live, size)
