"""The CA as its users hold it: one object, whose every operation is whole or did not happen."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography import x509

from pki.authority import issuance, recovery, revocation, rotation
from pki.authority.admission import Admission
from pki.authority.bootstrap import AuthorityPlan, open_new_ledger, record_root
from pki.authority.context import AuthorityContext, open_context
from pki.authority.directory import AuthorityHome
from pki.authority.issued import Issued
from pki.authority.ledger import CertificateRecord, IssuerRecord
from pki.authority.ledger.mark import LedgerState
from pki.authority.lifetimes import DEFAULT_ISSUING, DEFAULT_LEAF
from pki.authority.orders import LeafOrder
from pki.authority.recovery import Recovered
from pki.authority.signing import Signing
from pki.clock import Clock, system_clock
from pki.identity import DnsName, SpiffeId, TrustDomain
from pki.keys import KeyType, PrivateKey, PublicKey, generate_key
from pki.x509 import (
    WORKLOAD,
    CrlSet,
    IpAddress,
    LeafProfile,
    NameLimits,
    TrustBundle,
    read_request,
)


class Authority:
    """A CA. Make one with :meth:`create`, open it with :meth:`open`; use it in a ``with`` block."""

    def __init__(self, context: AuthorityContext) -> None:
        self._context = context

    @classmethod
    def create(
        cls,
        path: str | Path,
        plan: AuthorityPlan | TrustDomain | str,
        *,
        passphrase: bytes | None = None,
        clock: Clock = system_clock,
    ) -> Authority:
        """Make a CA in a folder: root, issuing CA, lists, ledger.

        Args:
            path: the folder, made 0700 if it is not there.
            plan: what it is to be; a trust domain alone takes the defaults for the rest.
            passphrase: encrypts the CA's keys on disk.
            clock: gives the time.

        Raises:
            StateError: if there is a CA already, or the folder can't be written.
            InputError: if the plan does not make a CA.
        """
        if not isinstance(plan, AuthorityPlan):
            plan = AuthorityPlan(TrustDomain.parse(str(plan)))
        plan.check()
        home = AuthorityHome(Path(path))
        limits = NameLimits(plan.trust_domain, plan.permit_dns, plan.permit_ip)
        signing = Signing(Admission(limits), plan.backdate)
        ledger = open_new_ledger(home)
        try:
            settings = record_root(plan, home, ledger, signing, clock=clock, passphrase=passphrase)
            made = cls(AuthorityContext(home, ledger, settings, signing, clock, passphrase))
            made.rotate(key_type=plan.key_type, lifetime=plan.issuing_lifetime)
        except BaseException:
            ledger.close()
            raise
        return made

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        passphrase: bytes | None = None,
        clock: Clock = system_clock,
        read_only: bool = False,
    ) -> Authority:
        """Open a CA, and publish its bundle and lists again in case that was cut off.

        Args:
            path: the CA's folder.
            passphrase: of the CA's keys.
            clock: gives the time.
            read_only: publish nothing; for whoever only wants to look.

        Raises:
            StateError: if there is none.
            OlderLedgerError: if its ledger is an older copy.
        """
        made = cls(open_context(Path(path), passphrase=passphrase, clock=clock))
        if not read_only:
            try:
                made._context.publish()
            except BaseException:
                made.close()
                raise
        return made

    @classmethod
    def recover(
        cls,
        path: str | Path,
        crls: Sequence[CrlSet] = (),
        *,
        passphrase: bytes | None = None,
        clock: Clock = system_clock,
    ) -> Recovered:
        """Go on with an older copy of the ledger, because the newest one is lost for good.

        Args:
            path: the CA's folder.
            crls: every list that receivers hold; those in the CA's folder are read anyway.
            passphrase: of the CA's keys.
            clock: gives the time.

        Raises:
            StateError: if there is none, it is another CA's, or a key that must sign is away.
        """
        context = open_context(Path(path), passphrase=passphrase, clock=clock, accept_older=True)
        try:
            return recovery.recover(context, crls)
        finally:
            context.ledger.close()

    @property
    def trust_domain(self) -> TrustDomain:
        """The namespace that the CA speaks for."""
        return self._context.settings.limits.trust_domain

    @property
    def path(self) -> Path:
        """The CA's folder."""
        return self._context.home.path

    def issue(
        self,
        name: str,
        *,
        dns: Sequence[DnsName] = (),
        ip: Sequence[IpAddress] = (),
        lifetime: timedelta = DEFAULT_LEAF,
        key_type: KeyType = KeyType.ECDSA_P256,
        profile: LeafProfile = WORKLOAD,
    ) -> Issued:
        """Make a key and issue a certificate for it.

        Args:
            name: the workload: a path such as ``orders``, or a whole SPIFFE ID.
            dns: DNS names beyond the derived one.
            ip: addresses.
            lifetime: whole seconds; at most 24 hours.
            key_type: not Ed25519.
            profile: which kind of leaf.

        Raises:
            NotPermittedError: if the names may not be signed.
            InputError: if a name or the lifetime is none.
            LedgerError: if it could not be recorded; then nothing is handed out.
        """
        key = generate_key(key_type)
        order = self._order(
            name, key.public_key(), dns=dns, ip=ip, lifetime=lifetime, profile=profile
        )
        return issuance.issue(self._context, order, key=key)

    def issue_request(
        self,
        name: str,
        request: bytes,
        *,
        dns: Sequence[DnsName] = (),
        ip: Sequence[IpAddress] = (),
        lifetime: timedelta = DEFAULT_LEAF,
        profile: LeafProfile = WORKLOAD,
    ) -> Issued:
        """Issue a certificate for a request (CSR): the asker keeps the key.

        Args:
            name: the workload that the request is for.
            request: PEM or DER, at most 64 KiB; it may ask for the ordered names and nothing else.
            dns: as :meth:`issue`.
            ip: as :meth:`issue`.
            lifetime: as :meth:`issue`.
            profile: as :meth:`issue`.

        Raises:
            InputError: if the request is malformed or proves no possession.
            NotPermittedError: if it asks for other names.
        """
        parsed = read_request(request)
        order = self._order(
            name, parsed.public_key, dns=dns, ip=ip, lifetime=lifetime, profile=profile
        )
        return issuance.issue(self._context, issuance.order_for_request(order, parsed))

    def renew(
        self,
        old: x509.Certificate,
        *,
        key: PrivateKey | None = None,
        public_key: PublicKey | None = None,
        lifetime: timedelta | None = None,
    ) -> Issued:
        """Renew a certificate: same names, new key. The same key again gives the same certificate.

        Args:
            old: the certificate; it must be of this CA, not ended and not revoked.
            key: the new private key; None makes one.
            public_key: the new public key, where the private one is elsewhere.
            lifetime: None takes that of the old one.

        Raises:
            NotPermittedError: if it may not be renewed.
        """
        if public_key is None:
            key = key or generate_key()
            public_key = key.public_key()
        return issuance.renew(self._context, old, public_key, key=key, lifetime=lifetime)

    def renew_request(
        self, old: x509.Certificate, request: bytes, *, lifetime: timedelta | None = None
    ) -> Issued:
        """Renew a certificate for a new request (CSR): same names, a new key that the asker keeps.

        Args:
            old: as :meth:`renew`.
            request: PEM or DER, at most 64 KiB; it may ask for the certificate's names and nothing
                else.
            lifetime: as :meth:`renew`.

        Raises:
            InputError: if the request is malformed or proves no possession.
            NotPermittedError: if the certificate may not be renewed, or other names are asked for.
        """
        parsed = read_request(request)
        return issuance.renew(
            self._context, old, parsed.public_key, key=None, lifetime=lifetime, request=parsed
        )

    def revoke(
        self, serial: int | str, *, reason: str = "unspecified"
    ) -> tuple[CertificateRecord, ...]:
        """Revoke a certificate and all that was renewed from it, and publish the lists.

        Args:
            serial: its serial number, or that in hex.
            reason: RFC 5280's, e.g. ``key-compromise``.

        Raises:
            InputError: if there is no such certificate or reason.
        """
        text = f"{serial:x}" if isinstance(serial, int) else _canonical_serial(serial)
        hit = revocation.revoke(self._context, text, revocation.parse_reason(reason))
        self._context.publish()
        return hit

    def take_in(self, crls: CrlSet) -> bool:
        """Take lists of ours that receivers hold into the ledger, and publish what came of it.

        A list that is ahead of the ledger shows that the whole folder is an older copy, mark and
        all: what it revokes is revoked here too, and lists to come bear higher numbers.

        Returns:
            Whether there was something new.

        Raises:
            StateError: if a new list must be signed, and the key for it is away.
        """
        with self._context.ledger.transaction() as transaction:
            found = self._context.take_in(crls, transaction, leave_numbers=recovery.UNKNOWN_NUMBERS)
            if found:
                # Certificates may be good that it does not hold: they can be revoked by number.
                transaction.recovery.note_older(at=self._context.now())
        if found:
            self._context.publish()
        return found

    def refresh_crls(self, *, force: bool = False) -> int:
        """Sign the lists anew that are past half of their life, or all; publish; say how many."""
        signed = revocation.refresh_crls(self._context, force=force)
        self._context.publish()
        return signed

    def trust(self) -> tuple[TrustBundle, CrlSet]:
        """Return the trust bundle and the current lists."""
        with self._context.ledger.transaction() as transaction:
            return self._context.trust(transaction)

    def prepare_issuer(
        self, *, key_type: KeyType = KeyType.ECDSA_P256, lifetime: timedelta = DEFAULT_ISSUING
    ) -> IssuerRecord:
        """Make the next issuing CA and publish its list; it signs no leaf yet. Needs the root key.

        Raises:
            StateError: if the root's key is away.
        """
        record = rotation.prepare_issuer(self._context, key_type=key_type, lifetime=lifetime)
        self._context.publish()
        return record

    def activate_issuer(self) -> IssuerRecord:
        """Bring the prepared issuing CA into use.

        Raises:
            StateError: if none is prepared.
        """
        return rotation.activate_issuer(self._context)

    def rotate(
        self, *, key_type: KeyType = KeyType.ECDSA_P256, lifetime: timedelta = DEFAULT_ISSUING
    ) -> IssuerRecord:
        """Make a new issuing CA and bring it into use at once. Needs the root's key."""
        self.prepare_issuer(key_type=key_type, lifetime=lifetime)
        return self.activate_issuer()

    def distrust(self, key_id: str) -> IssuerRecord:
        """Distrust an issuing CA and all that it signed, and publish the root's list.

        Raises:
            InputError: if the key id names none.
        """
        record = rotation.distrust_issuer(self._context, key_id)
        self._context.publish()
        return record

    def certificates(
        self, *, ends_before: datetime | None = None, with_ended: bool = False
    ) -> tuple[CertificateRecord, ...]:
        """List issued certificates, the oldest first; those that have ended only if asked for."""
        now = self._context.now()
        with self._context.ledger.transaction() as transaction:
            return transaction.certificates(
                ends_after=None if with_ended else now, ends_before=ends_before
            )

    def certificate(self, serial: int) -> CertificateRecord | None:
        """Find an issued certificate."""
        with self._context.ledger.transaction() as transaction:
            return transaction.certificate_by_serial(f"{serial:x}")

    def issuers(self) -> tuple[IssuerRecord, ...]:
        """List the CA's own certificates, the root first."""
        with self._context.ledger.transaction() as transaction:
            return transaction.issuers()

    def ledger_state(self) -> tuple[LedgerState, datetime | None]:
        """Return which ledger it is, its latest commit, and when an older copy was accepted."""
        with self._context.ledger.transaction() as transaction:
            return transaction.state(), transaction.recovery.accepted_at()

    def migration_warnings(self) -> tuple[str, ...]:
        """Return what was found amiss when the ledger's tables were just brought up to date."""
        if not self._context.ledger.migrated:
            return ()
        return tuple(detail for _, kind, detail in self.events() if kind == "shared-key")

    def events(self) -> tuple[tuple[datetime, str, str], ...]:
        """List what was recorded for a person to look at: time, kind, detail."""
        with self._context.ledger.transaction() as transaction:
            return transaction.events()

    def now(self) -> datetime:
        """Return the time by the CA's clock."""
        return self._context.now()

    def close(self) -> None:
        """Close the ledger."""
        self._context.ledger.close()

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def _order(
        self,
        name: str,
        public_key: PublicKey,
        *,
        dns: Sequence[DnsName],
        ip: Sequence[IpAddress],
        lifetime: timedelta,
        profile: LeafProfile,
    ) -> LeafOrder:
        spiffe_id = SpiffeId.parse_name(name, self.trust_domain)
        return LeafOrder(spiffe_id, profile, public_key, lifetime, tuple(dns), tuple(ip))


def _canonical_serial(text: str) -> str:
    return text.lower().replace(":", "").removeprefix("0x").lstrip("0")
