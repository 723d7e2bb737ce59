"""The CA as its users see it: one object. Each operation takes effect as a whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

from cryptography import x509

from pki.authority import recovery
from pki.authority.backups.resuming import Retirement
from pki.authority.bootstrap import AuthorityPlan, create_root
from pki.authority.issued import Issued
from pki.authority.issuing import batches, issuance, renewal
from pki.authority.ledger.databases.access import WRITING, LedgerAccess
from pki.authority.ledger.databases.place import LedgerPlace
from pki.authority.ledger.databases.sqlite import place_of
from pki.authority.opening import open_context
from pki.authority.orders import LeafOrder, NamedOrder, order_leaf
from pki.authority.publishing.recording import record_first
from pki.authority.recovery import RecoveryResult
from pki.authority.rotation.operations import RotatingAuthority
from pki.authority.signers import TokenAccess
from pki.clock import Clock, system_clock
from pki.errors import PkiError
from pki.files.ephemeral_folder import EphemeralFolder
from pki.identity import DnsName, TrustDomain
from pki.keys import IdentifiedKey, KeyType, PrivateKey, PublicKey, generate_key
from pki.x509 import WORKLOAD, CrlSet, IpAddress, LeafProfile, read_request


class Authority(RotatingAuthority):
    """A CA. Make one with :meth:`create`, open it with :meth:`open`; use it in a ``with`` block."""

    _remove_folder: Callable[[], None] | None = None

    @classmethod
    def create(
        cls,
        path: str | Path,
        plan: AuthorityPlan | TrustDomain | str,
        *,
        passphrase: bytes | None = None,
        tokens: TokenAccess | None = None,
        ledger: LedgerPlace | Path | None = None,
        clock: Clock = system_clock,
    ) -> Authority:
        """Make a CA in a directory: root, issuing CA, CRLs and ledger.

        Args:
            path: the directory; made with mode 0700 if it does not exist.
            plan: the CA's settings; with a trust domain alone, the others have their defaults.
            passphrase: encrypts the CA's keys on disk.
            tokens: how to reach the PKCS#11 tokens in which keys live.
            ledger: a file in another folder, which each opening names, or a database.
            clock: returns the time.

        Raises:
            StateError: if the directory holds a CA already or can't be written.
            InputError: if the plan is not valid.
        """
        if not isinstance(plan, AuthorityPlan):
            plan = AuthorityPlan(TrustDomain.parse(str(plan)))
        context = create_root(
            plan,
            Path(path),
            clock=clock,
            passphrase=passphrase,
            tokens=tokens,
            ledger=place_of(ledger),
        )
        authority = cls(record_first(context))
        try:
            authority.rotate(
                key_type=plan.key_type, lifetime=plan.issuing_lifetime, place=plan.issuing_key
            )
        except BaseException:
            authority.close()
            raise
        return authority

    @classmethod
    def ephemeral(
        cls,
        trust_domain: TrustDomain | str,
        *,
        permit_dns: Sequence[str] = ("localhost",),
        clock: Clock = system_clock,
    ) -> Authority:
        """Make a throw-away CA for tests: a whole one, which is gone when it is closed.

        Its files lie in memory where the system has a file system in memory, else in a temporary
        folder; only the present user can read them.

        Args:
            trust_domain: the trust domain, e.g. ``shop.internal``.
            permit_dns: further DNS names that certificates may hold.
            clock: returns the time.

        Raises:
            InputError: if one of the names is not valid.
        """
        plan = AuthorityPlan(
            TrustDomain.parse(str(trust_domain)), tuple(DnsName(name) for name in permit_dns)
        )
        folder = EphemeralFolder.make()
        try:
            authority = cls.create(folder.path / "ca", plan, clock=clock)
        except BaseException:
            folder.remove()
            raise
        authority._remove_folder = folder.remove
        return authority

    def close(self) -> None:
        """Close the ledger; remove a throw-away CA."""
        super().close()
        if self._remove_folder is not None:
            self._remove_folder()

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        passphrase: bytes | None = None,
        tokens: TokenAccess | None = None,
        ledger: LedgerPlace | Path | None = None,
        clock: Clock = system_clock,
        read_only: bool = False,
        passphrase_remedy: str = "",
        access: LedgerAccess = WRITING,
    ) -> Authority:
        """Open a CA, and publish its bundle and CRLs again in case a crash prevented that.

        Args:
            path: the CA's directory.
            passphrase: of the CA's keys.
            tokens: as :meth:`create`.
            ledger: as :meth:`create`.
            clock: returns the time.
            read_only: publish nothing.
            passphrase_remedy: what an error says to do if the passphrase is missing or wrong.
            access: how long to wait for a ledger that another process writes to, or that it can't
                be written now: then only revocations are done, and are recorded later.

        Raises:
            StateError: if the directory holds no CA.
            OlderLedgerError: if its ledger is an older copy.
            LedgerError: if its ledger can't be written now, and ``access`` does not say so.
        """
        context = open_context(
            Path(path),
            passphrase=passphrase,
            tokens=tokens,
            clock=clock,
            passphrase_remedy=passphrase_remedy,
            ledger=place_of(ledger),
            access=access,
        )
        authority = cls(record_first(context))
        if not read_only and not access.for_reading:
            try:
                authority._context.publish()
            except BaseException:
                authority.close()
                raise
        return authority

    @classmethod
    def recover(
        cls,
        path: str | Path,
        crls: Sequence[CrlSet] = (),
        *,
        passphrase: bytes | None = None,
        tokens: TokenAccess | None = None,
        ledger: LedgerPlace | Path | None = None,
        clock: Clock = system_clock,
        passphrase_remedy: str = "",
        retirement: Retirement | None = None,
    ) -> RecoveryResult:
        """Continue with an older copy of the ledger, because the newest one is lost for good.

        A CA that was restored from a backup signs again if the lists allow it.

        Args:
            path: the CA's directory.
            crls: every CRL that receivers hold; those in the CA's directory are read anyway.
            passphrase: of the CA's keys.
            tokens: as :meth:`create`.
            ledger: as :meth:`create`.
            clock: returns the time.
            passphrase_remedy: as :meth:`open`.
            retirement: for a CA that was restored: distrust all issuing CAs, and make a new one.

        Raises:
            StateError: if there is no ledger, or another CA's, or a key that must sign is missing.
        """
        context = open_context(
            Path(path),
            passphrase=passphrase,
            tokens=tokens,
            clock=clock,
            accept_older=True,
            passphrase_remedy=passphrase_remedy,
            ledger=place_of(ledger),
        )
        with cls(record_first(context)) as authority:
            result = recovery.recover(authority._context, crls, retirement)
            if result.resumption is not None and result.resumption.retired:
                authority.rotate()
            return result

    def issue(
        self,
        name: str,
        *,
        dns: Sequence[DnsName] = (),
        ip: Sequence[IpAddress] = (),
        lifetime: timedelta | None = None,
        key_type: KeyType = KeyType.ECDSA_P256,
        profile: LeafProfile = WORKLOAD,
    ) -> Issued:
        """Make a key and issue a certificate for it.

        Args:
            name: the workload: a path such as ``orders``, or a whole SPIFFE ID.
            dns: further DNS names besides the derived one.
            ip: addresses.
            lifetime: whole seconds, at most 24 hours. None is one hour, or less if the issuing CA
                ends sooner, and ``notes`` says so.
            key_type: any but Ed25519.
            profile: the kind of leaf.

        Raises:
            NotPermittedError: if the CA's rules forbid one of the names.
            InputError: if a name is not valid, or no leaf can have that lifetime.
            LedgerError: if the certificate could not be recorded; then it is not handed out.
        """
        key = generate_key(key_type)
        identified = IdentifiedKey.of(key.public_key())
        order = order_leaf(name, self.trust_domain, identified, dns, ip, lifetime, profile)
        return issuance.issue(self._context, order, key=key)

    def issue_each(self, orders: Sequence[NamedOrder]) -> list[Issued | PkiError]:
        """Make keys and issue certificates for them, all in one commit.

        One that is refused does not stop the others. A commit holds as much as a caller wants to
        lose at once: a hundred, say.

        Returns:
            For each order, in turn, what was issued or why it was not.

        Raises:
            LedgerError: if none could be recorded; then none is handed out.
        """
        placed: list[tuple[LeafOrder, PrivateKey]] = []
        results: list[Issued | PkiError | None] = []
        for item in orders:
            try:
                key = generate_key(item.key_type)
                public = IdentifiedKey.of(key.public_key())
                domain = self.trust_domain
                order = order_leaf(
                    item.name, domain, public, item.dns, item.ip, item.lifetime, item.profile
                )
            except PkiError as error:
                results.append(error)
            else:
                placed.append((order, key))
                results.append(None)
        issued = iter(batches.issue_each(self._context, placed))
        return [next(issued) if result is None else result for result in results]

    def issue_request(
        self,
        name: str,
        request: bytes,
        *,
        dns: Sequence[DnsName] = (),
        ip: Sequence[IpAddress] = (),
        lifetime: timedelta | None = None,
        profile: LeafProfile = WORKLOAD,
    ) -> Issued:
        """Issue a certificate for a request (CSR), whose sender keeps the private key.

        Args:
            name: the workload that the request is for.
            request: PEM or DER, at most 64 KiB; it may ask for the names given here only.
            dns: as :meth:`issue`.
            ip: as :meth:`issue`.
            lifetime: as :meth:`issue`.
            profile: as :meth:`issue`.

        Raises:
            InputError: if the request is malformed or its signature does not fit its key.
            NotPermittedError: if it asks for other names, or the CA's rules forbid one.
        """
        parsed = read_request(request)
        order = order_leaf(name, self.trust_domain, parsed.key, dns, ip, lifetime, profile)
        return issuance.issue(self._context, order, request=parsed)

    def renew(
        self,
        old: x509.Certificate,
        *,
        key: PrivateKey | None = None,
        public_key: PublicKey | None = None,
        lifetime: timedelta | None = None,
    ) -> Issued:
        """Renew a certificate: same names, new key.

        Renewing again with the same new key returns the same certificate.

        Args:
            old: the certificate; this CA issued it, and it has not ended and is not revoked.
            key: the new private key; None makes one.
            public_key: the new public key, if the private key is elsewhere.
            lifetime: None takes that of the old certificate.

        Raises:
            NotPermittedError: if the certificate may not be renewed.
        """
        if public_key is None:
            key = key or generate_key()
            public_key = key.public_key()
        identified = IdentifiedKey.of(public_key)
        return renewal.renew(self._context, old, identified, key=key, lifetime=lifetime)

    def renew_request(
        self, old: x509.Certificate, request: bytes, *, lifetime: timedelta | None = None
    ) -> Issued:
        """Renew a certificate for a new request (CSR), whose sender keeps the private key.

        Args:
            old: as :meth:`renew`.
            request: PEM or DER, at most 64 KiB; it may ask for the old names only.
            lifetime: as :meth:`renew`.

        Raises:
            InputError: if the request is malformed or its signature does not fit its key.
            NotPermittedError: if the certificate may not be renewed, or the request asks for other
                names.
        """
        parsed = read_request(request)
        return renewal.renew(
            self._context, old, parsed.key, key=None, lifetime=lifetime, request=parsed
        )
