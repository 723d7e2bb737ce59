"""What can be read from an open CA. Nothing here changes the CA.

What only reports, backups and the audit need is loaded when they are asked for: most commands issue
or revoke, and start with each call of a script.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pki.authority.context import AuthorityContext
from pki.authority.ledger import CertificateRecord, IssuerKind, IssuerRecord, SigningIntent
from pki.authority.ledger.audit import Actor, AuditEntry
from pki.authority.ledger.beside.mark import LedgerState
from pki.authority.signers import SignerError
from pki.identity import TrustDomain
from pki.transparency import InclusionProofFile
from pki.x509 import CrlSet, TrustBundle

if TYPE_CHECKING:
    from pki.authority.audit.findings import VerifiedLog
    from pki.authority.backups.manifest import Manifest
    from pki.authority.inventory import Forecast, InventoryRow, Selection


class AuthorityReader:
    """An open CA and its records. Use it in a ``with`` block, which closes the ledger."""

    def __init__(self, context: AuthorityContext) -> None:
        self._context = context

    @property
    def context(self) -> AuthorityContext:
        """The parts of the CA, for the operations of ``pki.authority.enrollment``."""
        return self._context

    @property
    def trust_domain(self) -> TrustDomain:
        """The trust domain for which the CA issues certificates."""
        return self._context.settings.limits.trust_domain

    @property
    def path(self) -> Path:
        """The CA's directory."""
        return self._context.directory.path

    def now(self) -> datetime:
        """Return the time by the CA's clock."""
        return self._context.now()

    def trust(self) -> tuple[TrustBundle, CrlSet]:
        """Return the trust bundle and the current CRLs."""
        with self._context.ledger.snapshot(newest=True) as transaction:
            return self._context.trust(transaction)

    def certificates(
        self, *, ends_before: datetime | None = None, with_ended: bool = False
    ) -> tuple[CertificateRecord, ...]:
        """Return the issued certificates, oldest first.

        Args:
            ends_before: leave out those that end at this time or later.
            with_ended: include those that have ended.
        """
        now = self._context.now()
        with self._context.ledger.snapshot(newest=True) as transaction:
            return transaction.certificates(
                ends_after=None if with_ended else now, ends_before=ends_before
            )

    def inventory(
        self, selection: Selection | None = None, *, with_names: bool = False
    ) -> Iterator[InventoryRow]:
        """Yield issued certificates as reports need them; a million takes no more memory than one.

        Args:
            selection: which, and in which order; None: all.
            with_names: read their DNS names and addresses, which takes longer.
        """
        from pki.authority.inventory import ALL, select_certificates  # noqa: PLC0415 - see above

        with self._context.ledger.snapshot(newest=True) as transaction:
            yield from select_certificates(
                transaction, selection or ALL, now=self._context.now(), with_names=with_names
            )

    def forecast(self, period: timedelta, step: timedelta) -> Forecast:
        """Return how many certificates are expected to be renewed and to end, step by step.

        Args:
            period: from now on.
            step: how long a step is, whole seconds.

        Raises:
            InputError: if a step is shorter than a second, or there are more than 10,000.
        """
        from pki.authority.inventory import forecast  # noqa: PLC0415 - see above

        now = self._context.now()
        with self._context.ledger.snapshot(newest=True) as transaction:
            return forecast(transaction, now=now, until=now + period, step=step)

    def certificate(self, serial: int) -> CertificateRecord | None:
        """Return the issued certificate with a serial number; None if there is none."""
        with self._context.ledger.snapshot(newest=True) as transaction:
            return transaction.certificate_by_serial(f"{serial:x}")

    def issuers(self) -> tuple[IssuerRecord, ...]:
        """Return the CA's own certificates: the root, then the issuing CAs by age."""
        with self._context.ledger.snapshot(newest=True) as transaction:
            return transaction.issuers()

    def signing_intents(self) -> tuple[SigningIntent, ...]:
        """Return what an external signer was asked to sign, and has no certificate; oldest first.

        One of these moments ago is being signed. An older one was perhaps signed, and never handed
        out: the process that asked for it died.
        """
        with self._context.ledger.snapshot(newest=True) as transaction:
            return transaction.intents.all()

    def key_place(self, issuer: IssuerRecord) -> str:
        """Return where the key of one of the CA's certificates lives.

        Returns:
            ``file``, the URI of a key in a token, or ``not here``.

        Raises:
            PkiError: if the file that says so can't be read.
        """
        directory = self._context.directory
        is_root = issuer.kind is IssuerKind.ROOT
        path = directory.root_key if is_root else directory.issuing_key(issuer.key_id)
        if not directory.holds_key(path):
            return "not here"
        uri = directory.key_uri(path, what=f"the key of CA {issuer.key_id}")
        return "file" if uri is None else str(uri)

    def log_in(self) -> None:
        """Log in to the token that holds the active issuing CA's key, if it is in one.

        Done first, nobody types a PIN while an operation holds the ledger. A token that does not
        work is refused by the operation that needs it.
        """
        with self._context.ledger.snapshot(newest=True) as transaction:
            signer = self._context.active_signer(transaction)
        if signer is not None:
            with suppress(SignerError):
                signer.connect()

    def ledger_state(self) -> tuple[LedgerState, datetime | None]:
        """Return the ledger's id and latest commit, and when an older copy was accepted last."""
        with self._context.ledger.snapshot(newest=True) as transaction:
            return transaction.state(), transaction.recovery.accepted_at()

    def migration_warnings(self) -> tuple[str, ...]:
        """Return the problems found when opening the ledger brought its tables up to date."""
        if not self._context.ledger.migrated:
            return ()
        return tuple(detail for _, kind, detail in self.events() if kind == "shared-key")

    def events(self) -> tuple[tuple[datetime, str, str], ...]:
        """Return the events that a person should look at: time, kind, detail."""
        with self._context.ledger.snapshot(newest=True) as transaction:
            return transaction.events()

    def verify_audit_log(
        self, against: Sequence[tuple[str, bytes]] = (), *, verifier_key: str | None = None
    ) -> VerifiedLog:
        """Verify the audit log, and the ledger's rows against it.

        Args:
            against: older checkpoints that were kept elsewhere, each with a name for messages.
            verifier_key: the log's vkey, as it was kept elsewhere; None trusts the ledger for it.
        """
        from pki.authority.audit.verification import verify_log  # noqa: PLC0415 - see above

        published = self._context.publication.read()
        with self._context.ledger.snapshot() as transaction:
            return verify_log(
                transaction, published=published, against=against, verifier_key=verifier_key
            )

    def audit_entries(self) -> Iterator[tuple[int, AuditEntry]]:
        """Yield the entries of the audit log, oldest first, each with its index."""
        with self._context.ledger.snapshot() as transaction:
            for index, text, _ in transaction.audit.entries():
                yield index, AuditEntry.parse(text)

    def prove_audit_entry(
        self, *, serial: str | None = None, index: int | None = None
    ) -> InclusionProofFile:
        """Return the proof that the audit log holds an entry.

        Args:
            serial: of the certificate that the entry issued, in lower-case hex.
            index: of the entry, if no serial is given.

        Raises:
            InputError: if there is no such entry.
            StateError: if the published checkpoint does not cover it.
        """
        from pki.authority.audit.proofs import (  # noqa: PLC0415 - see above
            find_issuing_entry,
            prove_entry,
        )

        published = self._context.publication.read()
        with self._context.ledger.snapshot() as transaction:
            if serial is not None:
                index = find_issuing_entry(transaction, serial)
            return prove_entry(transaction, index or 0, checkpoint=published)

    def waits_for_lists(self) -> bool:
        """Return whether this CA was restored from a backup, and signs nothing yet."""
        with self._context.ledger.snapshot(newest=True) as transaction:
            return transaction.waits

    def restored_at(self) -> datetime | None:
        """Return when this CA was restored from a backup last; None if never."""
        with self._context.ledger.snapshot(newest=True) as transaction:
            return transaction.recovery.restored_at()

    def backup(self, path: Path) -> Manifest:
        """Write a backup of this CA to a new file; others may use the CA meanwhile.

        Args:
            path: of the file, which gets mode 0600: it holds the CA's keys as they are on disk.

        Raises:
            StateError: if the file is there already, or can't be written.
        """
        from pki.authority.backups.making import make_backup  # noqa: PLC0415 - see above

        return make_backup(self._context, path)

    def acting_as(self, actor: Actor) -> Self:
        """Return this CA for another caller: the audit log names that one for what it asks.

        The result shares the ledger; close only one of the two.
        """
        return type(self)(replace(self._context, actor=actor))

    def close(self) -> None:
        """Close the ledger."""
        self._context.ledger.close()

    def __enter__(self) -> Self:
        """Return the CA itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the ledger."""
        self.close()
