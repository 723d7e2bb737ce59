"""Everything that is read from and written to the ledger, within one transaction."""

from __future__ import annotations

import ipaddress
import json
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, TypeVar, cast

from cryptography import x509
from sqlalchemy import Connection, Row, bindparam, delete, insert, literal_column, select, update

from pki.authority.ledger import tables
from pki.authority.ledger.audit.log import AuditLog
from pki.authority.ledger.batching.connection import LedgerConnection
from pki.authority.ledger.batching.names import NameRecords
from pki.authority.ledger.batching.needs import Needs
from pki.authority.ledger.beside.mark import LedgerState
from pki.authority.ledger.certificates import CertificateRecords
from pki.authority.ledger.crls import CrlRecords
from pki.authority.ledger.databases.schema import SCHEMA_VERSION
from pki.authority.ledger.intents import IntentRecords
from pki.authority.ledger.key_files import KeyFileRecords
from pki.authority.ledger.proofs import ProofRecords
from pki.authority.ledger.records import (
    AuthoritySettings,
    IssuerKind,
    IssuerRecord,
    IssuerStatus,
)
from pki.authority.ledger.recovery import RecoveryRecords
from pki.authority.ledger.registrations import RegistrationRecords
from pki.authority.ledger.rotation import RotationRecords
from pki.authority.ledger.rows import der_of, to_moment, to_seconds
from pki.errors import (
    LedgerError,
    LedgerMovedError,
    RestoredLedgerError,
    quote_untrusted,
)
from pki.identity import DnsName, TrustDomain
from pki.x509 import NameLimits

_KEPT_COMMITS, _FORGET_COMMITS_EACH = 1000, 100
_Result = TypeVar("_Result")

# Made once: each certificate runs them.
_SELECT_STATE = select(
    tables.ledger_state,
    literal_column("(SELECT version_num FROM alembic_version)").label("schema_version"),
)
_ADVANCE = (
    update(tables.ledger_state)
    .where(
        tables.ledger_state.c.sequence == bindparam("before"),
        tables.ledger_state.c.ledger_id == bindparam("ledger"),
    )
    .values(sequence=bindparam("after"))
)
_ADD_COMMIT = insert(tables.commits)
_FORGET_COMMITS = delete(tables.commits).where(tables.commits.c.sequence <= bindparam("last"))
_OF_TRUST = frozenset({tables.issuers, tables.crls, tables.revocation_log, tables.bundles})
_SELECT_ISSUERS = select(tables.issuers).order_by(tables.issuers.c.id)


class Transaction(CertificateRecords):
    """One transaction: a view of the ledger that nobody else changes, and its changes."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(LedgerConnection(connection))
        self._checked: set[Callable[[], object]] = set()
        self._issuers: tuple[IssuerRecord, ...] | None = None
        self._issuer_changes = 0
        self._made: dict[object, object] = {}
        self._made_of = (0, 0)
        self._waits: bool | None = None
        self.audit = AuditLog(self._connection)
        self.crls = CrlRecords(self._connection)
        self.names = NameRecords(self._connection)
        self.proofs = ProofRecords(self._connection)
        self.registrations = RegistrationRecords(self._connection)

    @property
    def changed(self) -> bool:
        """Whether the transaction has written something."""
        return self._connection.has_waiting or self._connection.has_changed

    @property
    def changes_trust(self) -> bool:
        """Whether it may have changed what followers of the CA are told; a hint, and no more."""
        return not _OF_TRUST.isdisjoint(self._connection.changed_tables)

    def state(self) -> LedgerState:
        """Return the ledger's id and the number of commits that have changed it.

        Raises:
            LedgerError: if another handfast has brought the tables to its version since the ledger
                was opened: this one would not know what they say now.
        """
        row = self._connection.execute(_SELECT_STATE).one()
        if row.schema_version != SCHEMA_VERSION:
            raise LedgerError(
                f"ledger has schema {quote_untrusted(row.schema_version)} by now; this handfast "
                f"knows {SCHEMA_VERSION}",
                remedy="Use the newer handfast that changed it, on every replica",
            )
        self._waits = row.waits_since is not None
        return LedgerState(row.ledger_id, row.sequence)

    def refuse_to_sign_unknowing(self) -> None:
        """Refuse to sign as long as a restored ledger does not know what was revoked meanwhile.

        Raises:
            RestoredLedgerError: if it does not.
        """
        if self.waits:
            raise RestoredLedgerError(
                "the CA was restored from a backup, and does not know yet what was revoked after "
                "that: it signs nothing",
                remedy="Give it the lists that receivers hold (handfast ca recover --crl FILE), or "
                "let it distrust all that it signed: handfast ca recover --retire",
            )

    @property
    def waits(self) -> bool:
        """Whether this ledger was restored, and waits for the lists that are known outside."""
        if self._waits is None:
            self.state()
        return bool(self._waits)

    def set_waiting(self, since: datetime | None) -> None:
        """Wait for the lists that are known outside; None: no more."""
        self._waits = since is not None
        seconds = None if since is None else to_seconds(since)
        self._connection.execute(update(tables.ledger_state).values(waits_since=seconds))

    def alone(self, step: Callable[[], _Result]) -> _Result:
        """Take a step that is undone by itself if it raises, while the transaction goes on."""
        log = self.audit.mark()

        def undone() -> None:
            self._waits = None
            self._forget_issuers()
            self.crls.changes += 1
            self.audit.back_to(log)

        return self._connection.alone(step, undone)

    def once(self, check: Callable[[], object]) -> None:
        """Make a check that raises or not, and not again in this transaction if it did not."""
        if check not in self._checked:
            check()
            self._checked.add(check)

    def flush(self) -> None:
        """Write all that waits; before the commit."""
        self.audit.flush()
        self._connection.flush()

    def advance(self) -> tuple[str, LedgerState]:
        """Assign the next commit its number; return its token and the state after it.

        Raises:
            LedgerMovedError: if another commit has taken that number since the transaction began.
        """
        token = secrets.token_hex(16)
        before = self.state()
        sequence = before.sequence + 1
        moved = self._connection.execute(
            _ADVANCE, {"before": before.sequence, "after": sequence, "ledger": before.ledger_id}
        )
        if moved.rowcount != 1:
            raise LedgerMovedError
        self._connection.execute(_ADD_COMMIT, {"sequence": sequence, "token": token})
        if not sequence % _FORGET_COMMITS_EACH:
            self._connection.execute(_FORGET_COMMITS, {"last": sequence - _KEPT_COMMITS})
        return token, LedgerState(before.ledger_id, sequence)

    @property
    def recovery(self) -> RecoveryRecords:
        """What the ledger knows about commits that it has lost."""
        return RecoveryRecords(self._connection)

    @property
    def intents(self) -> IntentRecords:
        """The signatures that an external signer was asked for."""
        return IntentRecords(self._connection)

    @property
    def key_files(self) -> KeyFileRecords:
        """The files of keys that replicas share."""
        return KeyFileRecords(self._connection)

    @property
    def rotation(self) -> RotationRecords:
        """The signed trust bundles, and what workloads reported of them."""
        return RotationRecords(self._connection)

    def put_settings(self, settings: AuthoritySettings) -> None:
        """Record the settings of a new CA; called once."""
        self._connection.execute(
            insert(tables.authority).values(
                id=1,
                trust_domain=settings.limits.trust_domain.name,
                permit_dns=json.dumps([name.name for name in settings.limits.dns]),
                permit_ip=json.dumps([str(network) for network in settings.limits.ip]),
                backdate_seconds=int(settings.backdate.total_seconds()),
                list_seconds=int(settings.crl_lifetime.total_seconds()),
                created_at=to_seconds(settings.created_at),
            )
        )

    def settings(self) -> AuthoritySettings:
        """Return the CA's settings.

        Raises:
            LedgerError: if the set-up of the CA was interrupted.
        """
        row = self._connection.execute(select(tables.authority)).one_or_none()
        if row is None:
            raise LedgerError(
                "the CA's set-up was interrupted",
                remedy="Run it again, with the same options: handfast ca init",
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
            to_moment(row.created_at),
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
        """Record a CA certificate; return its id."""
        self._forget_issuers()
        return self._insert(
            tables.issuers,
            kind=kind.value,
            status=status.value,
            key_id=key_id,
            serial=f"{certificate.serial_number:x}",
            certificate=der_of(certificate),
            not_after=to_seconds(certificate.not_valid_after_utc),
            created_at=to_seconds(now),
        )

    def issuers(self) -> tuple[IssuerRecord, ...]:
        """Return all CA certificates of this CA, roots and issuing CAs, by age."""
        if self._issuers is None:
            self._issuers = tuple(
                map(_issuer_of, self._connection.read(_SELECT_ISSUERS, of=tables.issuers))
            )
        return self._issuers

    def set_status(self, issuer_id: int, status: IssuerStatus) -> None:
        """Set the status of a root or an issuing CA."""
        self._forget_issuers()
        self._connection.execute(
            update(tables.issuers)
            .where(tables.issuers.c.id == issuer_id)
            .values(status=status.value)
        )

    def _forget_issuers(self) -> None:
        self._issuers = None
        self._issuer_changes += 1

    def made_of_trust(self, key: object, make: Callable[[], _Result]) -> _Result:
        """Return what is made of the CA certificates and the lists, made anew when these change.

        Many certificates that share a transaction are handed out with the same.

        Args:
            key: what else it depends on.
            make: makes it.
        """
        made_of = (self._issuer_changes, self.crls.changes)
        if self._made_of != made_of:
            self._made, self._made_of = {}, made_of
        if key not in self._made:
            self._made[key] = make()
        return cast("_Result", self._made[key])

    def read_ahead(self, needs: Needs) -> None:
        """Read what steps will ask for, with a few statements for all of them."""
        self.registrations.read_ahead(needs.workloads)
        self.names.read_ahead(needs.names)
        self.keys.read_ahead(needs.keys)
        self.lines.read_ahead(needs.keys)
        self.read_certificates_ahead(needs)

    def add_event(
        self, kind: str, detail: str, *, at: datetime, certificate_id: int | None = None
    ) -> None:
        """Record an event for a person to look at."""
        self._insert(
            tables.events,
            at=to_seconds(at),
            kind=kind,
            detail=detail,
            certificate_id=certificate_id,
        )

    def events(self) -> tuple[tuple[datetime, str, str], ...]:
        """Return the recorded events: time, kind, detail."""
        rows = self._connection.execute(select(tables.events).order_by(tables.events.c.id))
        return tuple((to_moment(row.at), row.kind, row.detail) for row in rows)


def _issuer_of(row: Row[Any]) -> IssuerRecord:
    return IssuerRecord(
        row.id,
        IssuerKind(row.kind),
        IssuerStatus(row.status),
        row.key_id,
        _parsed(row.certificate),
        to_moment(row.created_at),
    )


@lru_cache(maxsize=256)
def _parsed(der: bytes) -> x509.Certificate:
    return x509.load_der_x509_certificate(der)
