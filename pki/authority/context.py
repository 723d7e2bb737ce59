"""The parts of an open CA that its operations share, and the CRLs that it publishes."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography import x509

from pki.authority.audit import CheckpointPublication
from pki.authority.crl_import import import_crls
from pki.authority.crls import KnownCrls, current_trust, refresh_issuing_crl, sign_root_crls
from pki.authority.directory import AUDIT_KEY, AuthorityDirectory
from pki.authority.ledger import (
    AuthoritySettings,
    IssuerKind,
    IssuerRecord,
    IssuerStatus,
    Ledger,
    Transaction,
)
from pki.authority.ledger.audit import Actor, AuditAction, AuditEntry
from pki.authority.ledger.audit.entry import Detail
from pki.authority.ledger.beside.reserve import Reserve
from pki.authority.ledger.hierarchy import no_active_issuer_error
from pki.authority.pending.revocations import PendingRevocations
from pki.authority.recent_trust import RecentTrust
from pki.authority.shared_keys import share_key_file, take_key_files
from pki.authority.signers import Signer, SignerError, TokenAccess
from pki.authority.signing import Signing, SigningCa
from pki.clock import Clock
from pki.errors import LedgerMovedError, OlderLedgerError, PkiError
from pki.x509 import Crl, CrlSet, TrustBundle
from pki.x509.decoding import public_key_of

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class AuthorityContext:
    """The parts of an open CA, for its operations."""

    directory: AuthorityDirectory
    ledger: Ledger
    settings: AuthoritySettings
    signing: Signing
    clock: Clock
    publication: CheckpointPublication
    pending: PendingRevocations
    passphrase: bytes | None = field(default=None, repr=False)
    actor: Actor = field(default_factory=Actor.local)
    signs_lists_later: bool = False
    """Whether a revocation is announced before its list is signed: a long list takes seconds."""
    revocation_wait: float = 5.0
    """How many seconds a revocation waits for a ledger that another process holds."""
    tokens: TokenAccess = field(default_factory=TokenAccess, repr=False)
    recent: RecentTrust = field(default_factory=RecentTrust, repr=False)
    _signers: dict[str, Signer] = field(default_factory=dict, repr=False)
    _opened: dict[str, SigningCa] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Publish the audit log's checkpoint after each commit that adds to it."""
        self.ledger.after_entries = self.publication.after_entries
        self.signing.before_signing = self.ledger.refuse_pending = self.pending.refuse_all

    @property
    def disk(self) -> Path:
        """The folder on whose disk this machine's part of the CA grows; nothing is read for it."""
        return self.ledger.place.folder or self.directory.path

    @property
    def reserve(self) -> Reserve:
        """Space that is given up when a revocation finds a full disk."""
        return Reserve(self.disk, self.directory.crls)

    def audit_entry(
        self,
        action: AuditAction,
        *,
        certificate: x509.Certificate | None = None,
        subject: str | None = None,
        serial: str | None = None,
        reason: str | None = None,
        at: datetime | None = None,
        **details: Detail,
    ) -> AuditEntry:
        """Return an entry of the one who asks, as :meth:`AuditEntry.of`; ``at`` is now if None."""
        return AuditEntry.of(
            action,
            at or self.now(),
            self.actor,
            certificate=certificate,
            subject=subject,
            serial=serial,
            reason=reason,
            **details,
        )

    def now(self) -> datetime:
        """Return the time in whole seconds."""
        return self.clock().replace(microsecond=0)

    def active_ca(self, transaction: Transaction) -> SigningCa:
        """Return the active issuing CA, which signs new leaves, with its key.

        Raises:
            StateError: if no issuing CA is active, or its key is not there.
        """
        issuing = [item for item in transaction.issuers() if item.kind is IssuerKind.ISSUING]
        for record in reversed(issuing):
            if record.status is IssuerStatus.ACTIVE:
                return self.issuing_ca(record)
        raise no_active_issuer_error(issuing)

    def active_signer(self, transaction: Transaction) -> Signer | None:
        """Return the signer of the active issuing CA if it is external, else None."""
        for record in transaction.issuers():
            path = self.directory.issuing_key(record.key_id)
            is_active = (record.kind, record.status) == (IssuerKind.ISSUING, IssuerStatus.ACTIVE)
            if is_active and path.with_suffix(".toml").exists():
                return self.issuing_ca(record).signer
        return None

    def issuing_ca(self, record: IssuerRecord) -> SigningCa:
        """Return an issuing CA with its key, which stays in memory.

        Raises:
            StateError: if the key is not there.
        """
        signer = self._signers.get(record.key_id)
        opened = self._opened.get(record.key_id)
        if opened is not None and opened.signer is signer and opened.record == record:
            return opened
        what = f"the key of issuing CA {record.key_id}"
        if signer is None:
            path = self.directory.issuing_key(record.key_id)
            if not self.directory.holds_key(path):
                # Another replica may have made it.
                take_key_files(self.directory, self.ledger)
            signer = self._signers[record.key_id] = self._open_signer(record, path, what)
        opened = self._opened[record.key_id] = SigningCa.of(record, signer, what)
        return opened

    def root_key_path(self, root: IssuerRecord, transaction: Transaction) -> Path:
        """Return where a root's key is, if it is on this machine.

        The first root's has a name without its key id, as set-up makes it.
        """
        path = self.directory.later_root_key(root.key_id)
        first = next(item for item in transaction.issuers() if item.kind is IssuerKind.ROOT)
        is_first = root.id == first.id and not self.directory.holds_key(path)
        return self.directory.root_key if is_first else path

    def has_root_key(self, root: IssuerRecord, transaction: Transaction) -> bool:
        """Return whether a root's key is on this machine, or a file that names its token."""
        return self.directory.holds_key(self.root_key_path(root, transaction))

    def root_ca(self, root: IssuerRecord, transaction: Transaction) -> SigningCa:
        """Return a root with its key, which does not stay in memory.

        Raises:
            StateError: if the key is not there.
        """
        path, what = self.root_key_path(root, transaction), "the root's key"
        return SigningCa.of(root, self._open_signer(root, path, what), what)

    def root_ca_if_there(self, root: IssuerRecord, transaction: Transaction) -> SigningCa | None:
        """Return a root with its key; None if the key, or its token, is elsewhere.

        Raises:
            PkiError: if the key is there, and can't be used.
        """
        if not self.has_root_key(root, transaction):
            return None
        opened = self.root_ca(root, transaction)
        try:
            opened.signer.connect()
        except SignerError:
            # A token that is away, or nobody to log in: as a key that lies in a safe.
            return None
        return opened

    def refresh_crl(self, record: IssuerRecord, transaction: Transaction) -> Crl:
        """Sign a new CRL for an issuing CA."""
        return refresh_issuing_crl(
            self.issuing_ca(record),
            transaction,
            now=self.now(),
            lifetime=self.settings.crl_lifetime,
            backdate=self.settings.backdate,
        )

    def refresh_root_crls(self, root: IssuerRecord, transaction: Transaction) -> Crl:
        """Sign a new CRL for a root, and those that are signed ahead. Needs the root's key."""
        return sign_root_crls(
            self.root_ca(root, transaction),
            transaction,
            now=self.now(),
            backdate=self.settings.backdate,
        )

    def trust(
        self, transaction: Transaction, *, known: KnownCrls | None = None
    ) -> tuple[TrustBundle, CrlSet]:
        """Return the trust bundle, and the CRLs as :func:`current_crls` does."""
        bundle, crls = current_trust(transaction, now=self.now(), known=known)
        return bundle, self.pending.newest(crls)

    def publish(self) -> tuple[TrustBundle, CrlSet]:
        """Write the bundle and CRLs of the ledger into the CA's directory.

        What is pending is recorded first, and CRLs in the directory that are newer than the ledger
        are imported. The audit log's checkpoint is published too, and space is taken in reserve.

        Raises:
            OlderLedgerError: if the published checkpoint is not on the ledger's own history.
        """
        self.ledger.record_pending()
        try:
            bundle, crls = self._publish()
        except LedgerMovedError:
            bundle, crls = self._publish()
        self.reserve.make()
        self.pending.file.prepare()
        return bundle, crls

    def _publish(self) -> tuple[TrustBundle, CrlSet]:
        with self.directory.publishing():
            with self.ledger.transaction() as transaction:
                self._refuse_rewritten(transaction)
                self._ensure_log_key(transaction)
                bundle, crls = self.trust(transaction)
                published = self.directory.read_published(unless=crls)
                if published is not None and self.import_crls(published, transaction):
                    bundle, crls = self.trust(transaction)
                head = transaction.audit.head()
            self.directory.publish(bundle, self.pending.carried(crls, published, now=self.now()))
            self.publication.publish_all(head)
        return bundle, crls

    def _refuse_rewritten(self, transaction: Transaction) -> None:
        try:
            self.publication.refuse_rewritten(transaction)
        except OlderLedgerError:
            if not self.ledger.place.is_shared:
                raise
            # Another process of this replica may have published more since our snapshot.
            with self.ledger.snapshot(newest=True) as newest:
                self.publication.refuse_rewritten(newest)
            raise LedgerMovedError from None

    def import_crls(
        self, published: CrlSet, transaction: Transaction, *, skip_numbers: int = 0
    ) -> bool:
        """Import published CRLs into the ledger; return whether they held something new.

        ``skip_numbers`` are left out for CRLs that may be out and are unknown.

        Raises:
            StateError: if a new CRL must be signed, and the key for it is not there.
        """
        now = self.now()
        touched, behind = import_crls(transaction, published, now=now, actor=self.actor)
        if skip_numbers and not transaction.waits:
            behind = (
                *behind,
                *(
                    item
                    for item in touched
                    if item.kind is IssuerKind.ISSUING and item.status is not IssuerStatus.WITHDRAWN
                ),
            )
            behind = tuple({item.id: item for item in behind}.values())
            for issuer in behind:
                current = transaction.crls.current(issuer.id)
                number = current.number if current is not None else 0
                transaction.recovery.raise_crl_floor(issuer.id, number + skip_numbers)
        for issuer in behind:
            if issuer.kind is IssuerKind.ROOT:
                self.refresh_root_crls(issuer, transaction)
            else:
                self.refresh_crl(issuer, transaction)
        return bool(touched)

    def _ensure_log_key(self, transaction: Transaction) -> None:
        """Give the audit log of an older CA its key, encrypted as the CA's other keys are."""
        if transaction.audit.verifier_key() is not None:
            return
        here = [
            item
            for item in transaction.issuers()
            if self.directory.holds_key(self.directory.issuing_key(item.key_id))
        ]
        try:
            if here:
                # Else a missing passphrase would leave this one key unencrypted.
                self.issuing_ca(here[-1])
            verifier_key = self.publication.make_key()
        except PkiError as error:
            _log.warning("the audit log has no key yet, and is not published: %s", error)
            return
        transaction.audit.set_verifier_key(verifier_key)
        share_key_file(self.directory, self.ledger, transaction, AUDIT_KEY)
        entry = self.audit_entry(AuditAction.LOG_KEY, verifier_key=verifier_key)
        transaction.audit.append(entry)

    def _open_signer(self, record: IssuerRecord, path: Path, what: str) -> Signer:
        return self.directory.open_signer(
            path,
            public_key_of(record.certificate),
            passphrase=self.passphrase,
            tokens=self.tokens,
            what=what,
        )
