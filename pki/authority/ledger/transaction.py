"""Everything that is read from and written to the ledger, within one transaction."""

from __future__ import annotations

import ipaddress
import json
import secrets
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from sqlalchemy import Connection, Row, Select, delete, insert, select, update

from pki.authority.ledger import keys, tables
from pki.authority.ledger.mark import LedgerState
from pki.authority.ledger.records import (
    AuthoritySettings,
    CertificateRecord,
    CrlRecord,
    IssuerKind,
    IssuerRecord,
    IssuerStatus,
    NameKind,
    NewCertificate,
)
from pki.authority.ledger.recovery import RecoveryRecords
from pki.errors import LedgerError, NotPermittedError, quote_untrusted
from pki.identity import DnsName, TrustDomain
from pki.keys import PublicKey
from pki.x509 import Crl, NameLimits

_KEPT_COMMITS = 1000


class Transaction:
    """One transaction: a view that nobody else changes, and the changes to it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._changes = _changes(connection)

    @property
    def changed(self) -> bool:
        """Whether something was written."""
        return _changes(self._connection) != self._changes

    def state(self) -> LedgerState:
        """Return which ledger it is, and how many commits have changed it."""
        row = self._connection.execute(select(tables.ledger_state)).one()
        return LedgerState(row.ledger_id, row.sequence)

    def advance(self) -> str:
        """Return the coming commit its number, and return its token."""
        token = secrets.token_hex(16)
        sequence = self.state().sequence + 1
        self._connection.execute(update(tables.ledger_state).values(sequence=sequence))
        self._connection.execute(insert(tables.commits).values(sequence=sequence, token=token))
        self._connection.execute(
            delete(tables.commits).where(tables.commits.c.sequence <= sequence - _KEPT_COMMITS)
        )
        return token

    def holds_commit(self, token: str) -> bool:
        """Return whether the commit with this token took place."""
        query = select(tables.commits.c.sequence).where(tables.commits.c.token == token)
        return self._connection.scalar(query) is not None

    @property
    def recovery(self) -> RecoveryRecords:
        """What the ledger holds of commits that it has lost."""
        return RecoveryRecords(self._connection)

    def claim_key(self, key: PublicKey, *, owner: str) -> None:
        """Return a key to a workload, for good.

        Raises:
            NotPermittedError: if it is another workload's, or is known to have leaked.
        """
        keys.claim_key(self._connection, key, owner=owner)

    def holds_key(self, key: PublicKey) -> bool:
        """Return whether some leaf has, or had, this key."""
        return keys.holds_key(self._connection, key)

    def put_settings(self, settings: AuthoritySettings) -> None:
        """Record what was chosen when the CA was made; once."""
        self._connection.execute(
            insert(tables.authority).values(
                id=1,
                trust_domain=settings.limits.trust_domain.name,
                permit_dns=json.dumps([name.name for name in settings.limits.dns]),
                permit_ip=json.dumps([str(network) for network in settings.limits.ip]),
                backdate_seconds=int(settings.backdate.total_seconds()),
                list_seconds=int(settings.crl_lifetime.total_seconds()),
                created_at=_seconds(settings.created_at),
            )
        )

    def settings(self) -> AuthoritySettings:
        """Return what was chosen when the CA was made.

        Raises:
            LedgerError: if set-up was cut off before its end.
        """
        row = self._connection.execute(select(tables.authority)).one_or_none()
        if row is None:
            raise LedgerError(
                "the CA's set-up was cut off",
                remedy="Take it up again: handfast ca init, as before",
            )
        limits = NameLimits(
            TrustDomain(row.trust_domain),
            tuple(DnsName(name) for name in json.loads(row.permit_dns)),
            tuple(ipaddress.ip_network(network) for network in json.loads(row.permit_ip)),
        )
        return AuthoritySettings(
            limits,
            timedelta(seconds=row.backdate_seconds),
            timedelta(seconds=row.list_seconds),
            _moment(row.created_at),
        )

    def add_issuer(
        self,
        certificate: x509.Certificate,
        *,
        kind: IssuerKind,
        status: IssuerStatus,
        key_id: str,
        now: datetime,
    ) -> int:
        """Record a CA certificate; give its id."""
        return self._insert(
            tables.issuers,
            kind=kind.value,
            status=status.value,
            key_id=key_id,
            serial=f"{certificate.serial_number:x}",
            certificate=_der(certificate),
            not_after=_seconds(certificate.not_valid_after_utc),
            created_at=_seconds(now),
        )

    def issuers(self) -> tuple[IssuerRecord, ...]:
        """Return every CA certificate of ours, the root first, then by age."""
        rows = self._connection.execute(select(tables.issuers).order_by(tables.issuers.c.id))
        return tuple(
            IssuerRecord(
                row.id,
                IssuerKind(row.kind),
                IssuerStatus(row.status),
                row.key_id,
                x509.load_der_x509_certificate(row.certificate),
                _moment(row.created_at),
            )
            for row in rows
        )

    def set_status(self, issuer_id: int, status: IssuerStatus) -> None:
        """Move an issuing CA on in its life."""
        self._connection.execute(
            update(tables.issuers)
            .where(tables.issuers.c.id == issuer_id)
            .values(status=status.value)
        )

    def claim_name(
        self, kind: NameKind, value: str, *, owner: str, until: datetime, now: datetime
    ) -> None:
        """Return a name to a workload, until its last certificate with it has ended.

        Raises:
            NotPermittedError: if another workload holds it.
        """
        found = self._connection.execute(
            select(tables.names).where(
                tables.names.c.kind == kind.value, tables.names.c.value == value
            )
        ).one_or_none()
        if found is None:
            self._insert(
                tables.names,
                kind=kind.value,
                value=value,
                spiffe_id=owner,
                held_until=_seconds(until),
            )
            return
        if found.spiffe_id != owner and found.held_until >= _seconds(now):
            raise NotPermittedError(
                f"the {kind.value} name {quote_untrusted(value)} belongs to "
                f"{found.spiffe_id} until "
                f"{_moment(found.held_until):%Y-%m-%d %H:%M:%S} UTC",
                remedy="Choose another name, or wait until its last certificate has ended",
            )
        held_until = _seconds(until)
        if found.spiffe_id == owner:
            held_until = max(held_until, found.held_until)
        self._connection.execute(
            update(tables.names)
            .where(tables.names.c.id == found.id)
            .values(spiffe_id=owner, held_until=held_until)
        )

    def add_certificate(self, new: NewCertificate) -> int:
        """Record an issued certificate; give its id."""
        certificate = new.certificate
        return self._insert(
            tables.certificates,
            issuer_id=new.issuer_id,
            serial=f"{certificate.serial_number:x}",
            spiffe_id=new.spiffe_id,
            profile=new.profile,
            certificate=_der(certificate),
            key_fingerprint=new.key_fingerprint,
            not_before=_seconds(certificate.not_valid_before_utc),
            not_after=_seconds(certificate.not_valid_after_utc),
            issued_at=_seconds(new.issued_at),
            renewed_from=new.renewed_from,
        )

    def certificate_by_serial(self, serial: str) -> CertificateRecord | None:
        """Find a certificate by its serial number in lower-case hex."""
        return self._one(select(tables.certificates).where(tables.certificates.c.serial == serial))

    def renewal_of(self, certificate_id: int) -> CertificateRecord | None:
        """Return what a certificate was renewed to."""
        return self._one(
            select(tables.certificates).where(tables.certificates.c.renewed_from == certificate_id)
        )

    def certificates(
        self, *, ends_after: datetime | None = None, ends_before: datetime | None = None
    ) -> tuple[CertificateRecord, ...]:
        """Return issued certificates, the oldest first."""
        query = select(tables.certificates).order_by(tables.certificates.c.id)
        if ends_after is not None:
            query = query.where(tables.certificates.c.not_after >= _seconds(ends_after))
        if ends_before is not None:
            query = query.where(tables.certificates.c.not_after < _seconds(ends_before))
        return tuple(_certificate(row) for row in self._connection.execute(query))

    def certificates_of_key(self, fingerprint: str) -> tuple[CertificateRecord, ...]:
        """Return every certificate of just this key, the oldest first."""
        query = (
            select(tables.certificates)
            .where(tables.certificates.c.key_fingerprint == fingerprint)
            .order_by(tables.certificates.c.id)
        )
        return tuple(_certificate(row) for row in self._connection.execute(query))

    def certificates_of_keys(self, fingerprints: Iterable[str]) -> tuple[CertificateRecord, ...]:
        """Return every certificate of these keys, and of others that the same secrets yield."""
        same = keys.same_keys(self._connection, fingerprints)
        query = (
            select(tables.certificates)
            .where(tables.certificates.c.key_fingerprint.in_(same))
            .order_by(tables.certificates.c.id)
        )
        return tuple(_certificate(row) for row in self._connection.execute(query))

    def mark_compromised(self, fingerprints: Iterable[str], *, at: datetime) -> None:
        """Record that keys have leaked: nothing is certified for them any more."""
        keys.mark_compromised(self._connection, fingerprints, at=at)

    def mark_revoked(self, ids: Iterable[int], *, at: datetime, reason: str) -> None:
        """Revoke certificates; one that is revoked already keeps its time and reason."""
        self._connection.execute(
            update(tables.certificates)
            .where(tables.certificates.c.id.in_(list(ids)))
            .where(tables.certificates.c.revoked_at.is_(None))
            .values(revoked_at=_seconds(at), reason=reason)
        )

    def revoked_of(self, issuer_id: int, *, ends_after: datetime) -> tuple[CertificateRecord, ...]:
        """Return an issuer's revoked certificates that must stand on its list."""
        query = (
            select(tables.certificates)
            .where(tables.certificates.c.issuer_id == issuer_id)
            .where(tables.certificates.c.revoked_at.is_not(None))
            .where(tables.certificates.c.not_after >= _seconds(ends_after))
            .order_by(tables.certificates.c.id)
        )
        return tuple(_certificate(row) for row in self._connection.execute(query))

    def put_crl(self, issuer_id: int, made: Crl) -> None:
        """Make a list its issuer's current one.

        Raises:
            LedgerError: if its number is not above that of the one before, or of one that was lost.
        """
        current = self.crl_of(issuer_id)
        if current is not None and made.number <= current.number:
            raise LedgerError(
                f"list number {made.number} does not follow {current.number}",
                remedy="Sign a new list; for the root's, bring its key back first",
            )
        if made.number <= self.recovery.crl_floor(issuer_id):
            raise LedgerError(
                f"list number {made.number} may have been published before the ledger was lost",
                remedy="Sign a new list; for the root's, bring its key back first",
            )
        self._connection.execute(delete(tables.crls).where(tables.crls.c.issuer_id == issuer_id))
        self._connection.execute(
            insert(tables.crls).values(
                issuer_id=issuer_id,
                number=made.number,
                list=made.der,
                next_update=_seconds(made.next_update),
            )
        )

    def crl_of(self, issuer_id: int) -> CrlRecord | None:
        """Return an issuer's current list."""
        row = self._connection.execute(
            select(tables.crls).where(tables.crls.c.issuer_id == issuer_id)
        ).one_or_none()
        return _crl(row) if row is not None else None

    def put_distrust_crls(self, made: Iterable[tuple[Sequence[int], Crl]]) -> None:
        """Replace the root lists that were signed ahead."""
        self._connection.execute(delete(tables.distrust_crls))
        for members, item in made:
            self._connection.execute(
                insert(tables.distrust_crls).values(
                    members=_members(members), number=item.number, list=item.der
                )
            )

    def distrust_crl(self, members: Sequence[int]) -> bytes | None:
        """Return the root list, signed ahead, that revokes just these issuing CAs (DER)."""
        found: bytes | None = self._connection.scalar(
            select(tables.distrust_crls.c.list).where(
                tables.distrust_crls.c.members == _members(members)
            )
        )
        return found

    def highest_distrust_number(self) -> int:
        """Return the highest number among the root lists signed ahead; 0 if there are none."""
        numbers = self._connection.scalars(select(tables.distrust_crls.c.number)).all()
        return max(numbers, default=0)

    def add_event(
        self, kind: str, detail: str, *, at: datetime, certificate_id: int | None = None
    ) -> None:
        """Record something that a person should look at."""
        self._insert(
            tables.events, at=_seconds(at), kind=kind, detail=detail, certificate_id=certificate_id
        )

    def events(self) -> tuple[tuple[datetime, str, str], ...]:
        """Return what was recorded for a person to look at: time, kind, detail."""
        rows = self._connection.execute(select(tables.events).order_by(tables.events.c.id))
        return tuple((_moment(row.at), row.kind, row.detail) for row in rows)

    def _insert(self, table: Any, **values: object) -> int:
        result = self._connection.execute(insert(table).values(**values))
        key = result.inserted_primary_key
        assert key is not None
        return int(key[0])

    def _one(self, query: Select[Any]) -> CertificateRecord | None:
        row = self._connection.execute(query).one_or_none()
        return _certificate(row) if row is not None else None


def _changes(connection: Connection) -> int:
    """Return how many rows this connection has written since it was opened."""
    found: int = connection.exec_driver_sql("SELECT total_changes()").scalar_one()
    return found


def _certificate(row: Row[Any]) -> CertificateRecord:
    return CertificateRecord(
        row.id,
        row.issuer_id,
        row.serial,
        row.spiffe_id,
        row.profile,
        x509.load_der_x509_certificate(row.certificate),
        row.key_fingerprint,
        _moment(row.not_before),
        _moment(row.not_after),
        _moment(row.issued_at),
        row.renewed_from,
        _moment(row.revoked_at) if row.revoked_at is not None else None,
        row.reason,
    )


def _crl(row: Row[Any]) -> CrlRecord:
    return CrlRecord(row.issuer_id, row.number, row.list, _moment(row.next_update))


def _members(ids: Sequence[int]) -> str:
    return ",".join(str(item) for item in sorted(ids))


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)
