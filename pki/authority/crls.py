"""Sign the CA's revocation lists: the issuing CAs' own, and the roots', some of them ahead.

A root's key is kept elsewhere after set-up, but a leaked issuing CA must be distrusted on the same
day. So whenever a root signs, it signs a CRL ahead for each set of its issuing CAs that may have to
be distrusted, and the ledger keeps these. Receivers never go back to a lower
number, so a CRL that revokes more has a higher number: ``base`` plus how many more it revokes,
where ``base`` is higher than every number used before.

A number is also at least the time of signing, in microseconds since 1970. So a ledger that was
restored from a backup goes on above all numbers that it has forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, combinations

from cryptography import x509

from pki.authority.ledger import IssuerRecord, IssuerStatus, Transaction
from pki.authority.ledger.hierarchy import issued_by, root_of, trusted_roots
from pki.authority.signing import SigningCa, check_validity
from pki.keys import PrivateKey
from pki.x509 import Crl, TrustBundle
from pki.x509.revocation import IssuerId, RevokedEntry

_NO_LONGER_SIGNING = frozenset({IssuerStatus.SUPERSEDED, IssuerStatus.DISTRUSTED})
_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
KnownCrls = Mapping[IssuerId, Crl]
# Six issuing CAs have 63 sets. For more issuing CAs, only sets of one and two are signed ahead.
_ALL_SETS_UP_TO = 6


def number_after(last: int, *, now: datetime) -> int:
    """Return the number of the CRL that follows the one with the number ``last``."""
    return max(last + 1, (now - _EPOCH) // _MICROSECOND)


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

    Raises:
        RestoredLedgerError: if the ledger may lack revocations.
    """
    transaction.refuse_to_sign_unknowing()
    now = now.replace(microsecond=0)
    current = transaction.crls.current_number(ca.record.id) or 0
    # RFC 5280 §3.3: an entry stays until it was on one CRL issued after the certificate's end.
    revoked = transaction.revoked_of(ca.record.id, ends_after=now - lifetime)
    floor = transaction.recovery.crl_floor(ca.record.id)
    crl = Crl.build(
        chain(revoked, transaction.recovery.unrecorded_of(ca.record.id)),
        issuer=ca.record.certificate,
        issuer_key=ca.key,
        number=number_after(max(current, floor), now=now),
        this_update=now - backdate,
        next_update=now + lifetime,
    )
    transaction.crls.put(ca.record.id, crl)
    return crl


def current_numbers(transaction: Transaction, *, now: datetime) -> dict[IssuerId, tuple[int, int]]:
    """Return the ledger's ids of all issuers that may still be in use, with their CRLs' numbers.

    An issuing CA that has ended and signs no more is left out, and so is all that a withdrawn root
    has signed. After a root's end nothing is left out: a clock that says so is most often wrong,
    and what was published must stay.
    """
    issuers = transaction.issuers()
    numbers: dict[IssuerId, tuple[int, int]] = {}
    for record in issuers:
        number = transaction.crls.numbers().get(record.id)
        root = root_of(record, issuers)
        if number is None or root.status is IssuerStatus.WITHDRAWN:
            continue
        root_end = root.certificate.not_valid_after_utc
        ended = record.certificate.not_valid_after_utc < now <= root_end
        if not (ended and record.status in _NO_LONGER_SIGNING):
            numbers[IssuerId.of_ca(record.certificate)] = record.id, number
    return numbers


def current_crls(
    transaction: Transaction, *, now: datetime, known: KnownCrls | None = None
) -> list[Crl]:
    """Return the CRLs of all issuers that may still be in use; as :func:`current_numbers`.

    Args:
        transaction: of the ledger.
        now: the time.
        known: CRLs of this ledger. One with the number of the current one is returned as it is,
            because no two have the same number.
    """
    crls: list[Crl] = []
    for name, (issuer_id, number) in current_numbers(transaction, now=now).items():
        crl = known.get(name) if known is not None else None
        if crl is None or crl.number != number:
            crl = transaction.crls.current_list(issuer_id)
        crls += [] if crl is None else [crl]
    return crls


def current_trust(
    transaction: Transaction, *, now: datetime, known: KnownCrls | None = None
) -> tuple[TrustBundle, list[Crl]]:
    """Return the trust bundle and the CRLs as :func:`current_crls`, made once in a transaction."""

    def make() -> tuple[TrustBundle, list[Crl]]:
        roots = trusted_roots(transaction.issuers())
        bundle = TrustBundle.of_roots(item.certificate for item in roots)
        return bundle, current_crls(transaction, now=now, known=known)

    return transaction.made_of_trust(now, make)


@dataclass(frozen=True, slots=True)
class RootCrlOrder:
    """What a root's CRLs must hold: all that is needed to sign them where the root is.

    Args:
        root: the root's certificate.
        base: the number of the current CRL; one that was signed ahead has a higher one.
        distrusted: the issuing CAs that the current CRL revokes.
        trusted: the issuing CAs for whose sets CRLs are signed ahead.
        unrecorded: further entries of every CRL.
        this_update: when the CRLs begin.
        revoked_at: the date of the entries.
    """

    root: x509.Certificate
    base: int
    distrusted: tuple[x509.Certificate, ...]
    trusted: tuple[x509.Certificate, ...]
    unrecorded: tuple[RevokedEntry, ...]
    this_update: datetime
    revoked_at: datetime

    def sets(self) -> Iterator[tuple[int, frozenset[int]]]:
        """Yield the number and the serials of the issuing CAs of each CRL, the current one first.

        All sets of up to six trusted issuing CAs are covered; of more, sets of one and two.
        """
        distrusted = frozenset(item.serial_number for item in self.distrusted)
        yield self.base, distrusted
        for chosen in _subsets(self.trusted):
            serials = distrusted | {item.serial_number for item in chosen}
            yield self.base + len(chosen), serials


def root_crl_order(
    root: IssuerRecord, transaction: Transaction, *, now: datetime, backdate: timedelta
) -> RootCrlOrder:
    """Return what a root's next CRLs must hold.

    Raises:
        StateError: if the clock is outside the root's validity.
    """
    check_validity(root.certificate, now, what="root")
    issuing = issued_by(root, transaction.issuers())
    now = now.replace(microsecond=0)
    return RootCrlOrder(
        root.certificate,
        number_after(last_root_number(root, transaction), now=now),
        tuple(item.certificate for item in issuing if item.status is IssuerStatus.DISTRUSTED),
        tuple(
            item.certificate
            for item in issuing
            if item.status is not IssuerStatus.DISTRUSTED
            and item.certificate.not_valid_after_utc > now
        ),
        transaction.recovery.unrecorded_of(root.id),
        now - backdate,
        now,
    )


def last_root_number(root: IssuerRecord, transaction: Transaction) -> int:
    """Return the highest number that a root's CRLs may have, those signed ahead included."""
    return max(
        transaction.crls.highest_presigned_number(root.id),
        transaction.crls.current_number(root.id) or 0,
        transaction.recovery.crl_floor(root.id),
    )


def build_root_crls(order: RootCrlOrder, key: PrivateKey) -> tuple[Crl, ...]:
    """Sign a root's current CRL, and those for every set that may have to be distrusted."""
    return tuple(
        Crl.build(
            chain(
                (
                    RevokedEntry(serial, order.revoked_at, x509.ReasonFlags.ca_compromise)
                    for serial in sorted(serials)
                ),
                order.unrecorded,
            ),
            issuer=order.root,
            issuer_key=key,
            number=number,
            this_update=order.this_update,
            # Until the root's end, because its key may not come back to sign another one.
            next_update=order.root.not_valid_after_utc,
        )
        for number, serials in order.sets()
    )


def record_root_crls(
    order: RootCrlOrder, crls: Sequence[Crl], root: IssuerRecord, transaction: Transaction
) -> Crl:
    """Record a root's CRLs, and return the current one.

    Args:
        order: what they hold.
        crls: in the order of ``order.sets()``.
        root: the root.
        transaction: holds the issuing CAs on them, and records them.
    """
    ids = {item.certificate.serial_number: item.id for item in transaction.issuers()}
    (_, _), *ahead = order.sets()
    transaction.crls.put(root.id, crls[0])
    transaction.crls.put_presigned(
        root.id,
        (
            ([ids[serial] for serial in serials], crl)
            for (_, serials), crl in zip(ahead, crls[1:], strict=True)
        ),
    )
    return crls[0]


def sign_root_crls(
    root: SigningCa, transaction: Transaction, *, now: datetime, backdate: timedelta
) -> Crl:
    """Sign and record a root's current CRL, and those that are signed ahead.

    Raises:
        RestoredLedgerError: if the ledger may lack revocations.
        StateError: if the clock is outside the root's validity.
    """
    transaction.refuse_to_sign_unknowing()
    order = root_crl_order(root.record, transaction, now=now, backdate=backdate)
    return record_root_crls(order, build_root_crls(order, root.key), root.record, transaction)


def _subsets(issuers: Sequence[x509.Certificate]) -> Iterator[tuple[x509.Certificate, ...]]:
    largest = len(issuers) if len(issuers) <= _ALL_SETS_UP_TO else 2
    for size in range(1, largest + 1):
        yield from combinations(issuers, size)
