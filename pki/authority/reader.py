"""What can be read from an open CA. Nothing here changes the CA."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from pki.authority.context import AuthorityContext
from pki.authority.ledger import CertificateRecord, IssuerKind, IssuerRecord, SigningIntent
from pki.authority.ledger.mark import LedgerState
from pki.authority.signers import SignerError
from pki.identity import TrustDomain
from pki.x509 import CrlSet, TrustBundle


class AuthorityReader:
    """An open CA and its records. Use it in a ``with`` block, which closes the ledger."""

    def __init__(self, context: AuthorityContext) -> None:
        self._context = context

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
        with self._context.ledger.transaction() as transaction:
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
        with self._context.ledger.transaction() as transaction:
            return transaction.certificates(
                ends_after=None if with_ended else now, ends_before=ends_before
            )

    def certificate(self, serial: int) -> CertificateRecord | None:
        """Return the issued certificate with a serial number; None if there is none."""
        with self._context.ledger.transaction() as transaction:
            return transaction.certificate_by_serial(f"{serial:x}")

    def issuers(self) -> tuple[IssuerRecord, ...]:
        """Return the CA's own certificates: the root, then the issuing CAs by age."""
        with self._context.ledger.transaction() as transaction:
            return transaction.issuers()

    def signing_intents(self) -> tuple[SigningIntent, ...]:
        """Return what an external signer was asked to sign, and has no certificate; oldest first.

        One of these moments ago is being signed. An older one was perhaps signed, and never handed
        out: the process that asked for it died.
        """
        with self._context.ledger.transaction() as transaction:
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
        with self._context.ledger.transaction() as transaction:
            signer = self._context.active_signer(transaction)
        if signer is not None:
            with suppress(SignerError):
                signer.connect()

    def ledger_state(self) -> tuple[LedgerState, datetime | None]:
        """Return the ledger's id and latest commit, and when an older copy was accepted last."""
        with self._context.ledger.transaction() as transaction:
            return transaction.state(), transaction.recovery.accepted_at()

    def migration_warnings(self) -> tuple[str, ...]:
        """Return the problems found when opening the ledger brought its tables up to date."""
        if not self._context.ledger.migrated:
            return ()
        return tuple(detail for _, kind, detail in self.events() if kind == "shared-key")

    def events(self) -> tuple[tuple[datetime, str, str], ...]:
        """Return the events that a person should look at: time, kind, detail."""
        with self._context.ledger.transaction() as transaction:
            return transaction.events()

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
