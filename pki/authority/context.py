"""What every operation of the CA works with: its folder, ledger, settings, clock and keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pki.authority.admission import Admission
from pki.authority.crls import refresh_issuing_crl, sign_root_crls
from pki.authority.directory import AuthorityHome
from pki.authority.ledger import (
    AuthoritySettings,
    IssuerKind,
    IssuerRecord,
    IssuerStatus,
    Ledger,
    Transaction,
)
from pki.authority.published import take_in
from pki.authority.signing import Signing, SigningCa
from pki.clock import Clock
from pki.errors import LedgerError, StateError
from pki.keys import PrivateKey, public_key_fingerprint
from pki.x509 import Crl, CrlSet, TrustBundle
from pki.x509.decoding import public_key_of
from pki.x509.readers import read_crls

_SIGN_NO_MORE = frozenset({IssuerStatus.SUPERSEDED, IssuerStatus.DISTRUSTED})


@dataclass(slots=True)
class AuthorityContext:
    """An open CA, without its operations."""

    home: AuthorityHome
    ledger: Ledger
    settings: AuthoritySettings
    signing: Signing
    clock: Clock
    passphrase: bytes | None = field(default=None, repr=False)
    _keys: dict[str, PrivateKey] = field(default_factory=dict, repr=False)

    def now(self) -> datetime:
        """Return the time in whole seconds."""
        return self.clock().replace(microsecond=0)

    def active_ca(self, transaction: Transaction) -> SigningCa:
        """Return the issuing CA that signs new leaves.

        Raises:
            StateError: if there is none, or its key is not there.
        """
        issuing = [item for item in transaction.issuers() if item.kind is IssuerKind.ISSUING]
        for record in reversed(issuing):
            if record.status is IssuerStatus.ACTIVE:
                return self.issuing_ca(record)
        raise _none_is_active(issuing)

    def issuing_ca(self, record: IssuerRecord) -> SigningCa:
        """Return an issuing CA with its key."""
        path = self.home.issuing_key(record.key_id)
        what = f"the key of issuing CA {record.key_id}"
        if record.key_id not in self._keys:
            self._keys[record.key_id] = self.home.read_key(path, self.passphrase, what=what)
        return self._with_key(record, self._keys[record.key_id], what)

    def root_ca(self, transaction: Transaction) -> SigningCa:
        """Return the root with its key, which is not kept in memory.

        Raises:
            StateError: if the key was taken away.
        """
        key = self.home.read_key(self.home.root_key, self.passphrase, what="the root's key")
        return self._with_key(root_record(transaction), key, "the root's key")

    def refresh_crl(self, record: IssuerRecord, transaction: Transaction) -> Crl:
        """Sign an issuing CA's list anew."""
        return refresh_issuing_crl(
            self.issuing_ca(record),
            transaction,
            now=self.now(),
            lifetime=self.settings.crl_lifetime,
            backdate=self.settings.backdate,
        )

    def refresh_root_crls(self, transaction: Transaction) -> Crl:
        """Sign the root's list anew, with those that are signed ahead. Needs the root's key."""
        return sign_root_crls(
            self.root_ca(transaction),
            transaction,
            now=self.now(),
            backdate=self.settings.backdate,
        )

    def trust(self, transaction: Transaction) -> tuple[TrustBundle, CrlSet]:
        """Return the trust bundle and the lists of every issuer that may still be in use.

        Left out are issuing CAs that have ended and sign no more. Past the root's end nothing is
        left out: such a clock is most often a wrong one, and what was published stays.
        """
        now = self.now()
        root = root_record(transaction).certificate
        crls: list[Crl] = []
        for record in transaction.issuers():
            current = transaction.crl_of(record.id)
            ended = record.certificate.not_valid_after_utc < now <= root.not_valid_after_utc
            if current is not None and not (ended and record.status in _SIGN_NO_MORE):
                crls.append(Crl.of(read_crls(current.der)[0]))
        return TrustBundle.of_roots([root]), CrlSet.of(crls)

    def publish(self) -> tuple[TrustBundle, CrlSet]:
        """Write bundle and lists, as the ledger has them now, into the CA's folder.

        Lists that lie there and are ahead of the ledger are taken in first.
        """
        with self.home.publishing():
            with self.ledger.transaction() as transaction:
                bundle, crls = self.trust(transaction)
                there = self.home.published(unless=crls)
                if there is not None and self.take_in(there, transaction):
                    bundle, crls = self.trust(transaction)
            self.home.publish(bundle, crls)
        return bundle, crls

    def take_in(
        self, published: CrlSet, transaction: Transaction, *, leave_numbers: int = 0
    ) -> bool:
        """Take published lists into the ledger; tell whether there was something new.

        Args:
            published: the lists.
            transaction: of the ledger.
            leave_numbers: how many numbers to leave to lists that nobody has found.

        Raises:
            StateError: if a new list must be signed, and the key for it is away.
        """
        now = self.now()
        touched, behind = take_in(transaction, published, now=now)
        if leave_numbers:
            behind = (*behind, *(item for item in touched if item.kind is IssuerKind.ISSUING))
            behind = tuple({item.id: item for item in behind}.values())
            for issuer in behind:
                current = transaction.crl_of(issuer.id)
                number = current.number if current is not None else 0
                transaction.recovery.raise_crl_floor(issuer.id, number + leave_numbers)
        for issuer in behind:
            if issuer.kind is IssuerKind.ROOT:
                self.refresh_root_crls(transaction)
            else:
                self.refresh_crl(issuer, transaction)
        return bool(touched)

    @staticmethod
    def _with_key(record: IssuerRecord, key: PrivateKey, what: str) -> SigningCa:
        theirs = public_key_fingerprint(public_key_of(record.certificate))
        if public_key_fingerprint(key.public_key()) != theirs:
            raise StateError(f"{what} does not belong to its certificate")
        return SigningCa(record, key)


def _none_is_active(issuing: Sequence[IssuerRecord]) -> StateError:
    if not issuing:
        return StateError(
            "the CA has no issuing CA: its set-up was cut off before one was made",
            remedy="Finish it, with the root's key at hand: handfast ca rotate",
        )
    if any(item.status is IssuerStatus.PREPARED for item in issuing):
        return StateError(
            "no issuing CA is active, and one is prepared",
            remedy="Bring it into use: handfast ca rotate --activate",
        )
    return StateError(
        "no issuing CA is active: the last one was distrusted",
        remedy="Bring the root's key back and run: handfast ca rotate",
    )


def root_record(transaction: Transaction) -> IssuerRecord:
    """Return the root's record."""
    for record in transaction.issuers():
        if record.kind is IssuerKind.ROOT:
            return record
    raise LedgerError("the ledger holds no root: the CA's set-up was cut off")


def open_context(
    path: Path, *, passphrase: bytes | None, clock: Clock, accept_older: bool = False
) -> AuthorityContext:
    """Open the CA in a folder.

    Args:
        path: the folder.
        passphrase: of the CA's keys.
        clock: gives the time.
        accept_older: open an older copy of the ledger too, to look at it or to accept it.

    Raises:
        StateError: if there is none.
        OlderLedgerError: if its ledger is an older copy.
    """
    home = AuthorityHome(path)
    home.check()
    home.refuse_lost_ledger()
    ledger = Ledger.open(home.ledger)
    try:
        with ledger.transaction(accept_older=accept_older) as transaction:
            settings = transaction.settings()
    except BaseException:
        ledger.close()
        raise
    signing = Signing(Admission(settings.limits), settings.backdate)
    return AuthorityContext(home, ledger, settings, signing, clock, passphrase)
