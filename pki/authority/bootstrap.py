"""Make a new CA's root and ledger; ``pki.authority.rotation`` adds the issuing CA."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from pki.authority import lifetimes
from pki.authority.admission import Admission
from pki.authority.audit import CheckpointPublication
from pki.authority.context import AuthorityContext
from pki.authority.directory import (
    AUDIT_KEY,
    ROOT_KEY,
    AuthorityDirectory,
    key_id_of,
    lost_ledger_error,
)
from pki.authority.ledger import AuthoritySettings, IssuerKind, IssuerStatus, Ledger
from pki.authority.ledger.audit import Actor, AuditAction, AuditEntry
from pki.authority.ledger.beside.ledger_files import MARK
from pki.authority.ledger.databases.place import LedgerPlace
from pki.authority.ledger.databases.url_file import LEDGER_URL
from pki.authority.orders import ca_subject
from pki.authority.pending.revocations import PendingRevocations
from pki.authority.shared_keys import share_key_file
from pki.authority.signers import TokenAccess
from pki.authority.signers.new_key import IN_FILE, KeyPlace, check_place, make_signer
from pki.authority.signing import Signing
from pki.clock import Clock
from pki.errors import InputError, LedgerError, NameRefusedError, StateError, quote_untrusted
from pki.identity import DnsName, TrustDomain
from pki.keys import KeyType
from pki.x509 import NameLimits
from pki.x509.profiles.builder import Validity
from pki.x509.profiles.ca import IpNetwork


@dataclass(frozen=True, slots=True)
class AuthorityPlan:
    """The settings of a new CA.

    Args:
        trust_domain: the trust domain of its workloads; it must be a DNS name too.
        permit_dns: further DNS names that certificates may hold, each with all names below it.
        permit_ip: address ranges that certificates may hold.
        key_type: for root and issuing CA; Ed25519 is allowed here.
        backdate: how long before its signing a certificate begins, because clocks differ; at most
            an hour.
        crl_lifetime: from the signing of an issuing CA's CRL to its ``nextUpdate``.
        root_lifetime: of the root; six times that of the issuing CA or more.
        issuing_lifetime: of the first issuing CA; six days or more.
        root_key: where the root's key lives.
        issuing_key: where the issuing CA's key lives.
    """

    trust_domain: TrustDomain
    permit_dns: tuple[DnsName, ...] = ()
    permit_ip: tuple[IpNetwork, ...] = ()
    key_type: KeyType = KeyType.ECDSA_P256
    backdate: timedelta = lifetimes.DEFAULT_BACKDATE
    crl_lifetime: timedelta = lifetimes.DEFAULT_CRLS
    root_lifetime: timedelta = lifetimes.DEFAULT_ROOT
    issuing_lifetime: timedelta = lifetimes.DEFAULT_ISSUING
    root_key: KeyPlace = IN_FILE
    issuing_key: KeyPlace = IN_FILE

    def check(self) -> None:
        """Check the settings against each other.

        Raises:
            InputError: if a CA can't be made with them.
        """
        try:
            DnsName(self.trust_domain.name)
        except NameRefusedError:
            raise NameRefusedError(
                f"trust domain {self.trust_domain} is no DNS name, and gRPC can pin a server only "
                "by a DNS name",
                remedy="Choose one such as shop.internal",
            ) from None
        if not timedelta(0) <= self.backdate <= lifetimes.MAX_BACKDATE:
            raise InputError(
                f"backdate of {self.backdate} is not from 0 to {lifetimes.MAX_BACKDATE}"
            )
        if self.crl_lifetime <= timedelta(0):
            raise InputError("a lifetime must be positive")
        lifetimes.check_issuing_lifetime(self.issuing_lifetime)
        lifetimes.check_root_lifetime(self.root_lifetime, self.issuing_lifetime)
        for name in self.permit_dns:
            domain = DnsName(self.trust_domain.name)
            if name.is_within(domain) or domain.is_within(name):
                raise InputError(
                    f"permitted DNS name {name} overlaps with the trust domain {domain}",
                    remedy="Names inside the trust domain are derived from SPIFFE IDs; "
                    "permit other names",
                )


def _open_new_ledger(directory: AuthorityDirectory) -> Ledger:
    """Make the ledger, or open one whose bootstrap was interrupted before its first commit.

    Raises:
        StateError: if the directory holds a CA already.
    """
    directory.make()
    ca_files = directory.ca_files()
    if not directory.ledger.exists():
        if set(ca_files) - {LEDGER_URL}:
            raise lost_ledger_error(directory, ca_files)
        ledger = directory.home.create()
        directory.home.remember()
        return ledger
    ledger = directory.home.open()
    try:
        _refuse_existing_ca(directory, ledger, ca_files)
        directory.home.remember()
    except BaseException:
        ledger.close()
        raise
    return ledger


def _refuse_existing_ca(
    directory: AuthorityDirectory, ledger: Ledger, ca_files: Sequence[str]
) -> None:
    """Refuse a ledger that holds a commit, or that is not the one of the files beside it."""
    with ledger.transaction(accept_older=True) as transaction:
        kinds = {item.kind for item in transaction.issuers()}
    if IssuerKind.ISSUING in kinds:
        raise StateError(
            f"there is a CA at {directory.path} already",
            remedy="Use it, or choose another folder with --dir",
        )
    if kinds:
        raise StateError(
            f"there is a CA at {directory.path} already: its set-up was interrupted before "
            "its first "
            "issuing CA was made",
            remedy="Finish it with: handfast ca rotate",
        )
    # A bootstrap without a commit leaves the keys of the root and the log at most. Any other file
    # belongs to a CA with another ledger. The mark is compared when the first transaction begins.
    foreign = set(ca_files) - {
        ROOT_KEY,
        AUDIT_KEY,
        f"{ROOT_KEY.removesuffix('.pem')}.toml",
        MARK,
        LEDGER_URL,
        *directory.ledger.file_names,
    }
    if foreign:
        raise StateError(
            f"there is a CA at {directory.path} already, and its ledger is empty: "
            f"{', '.join(sorted(foreign))} are there",
            remedy="Bring its ledger back from a backup, and then: handfast ca recover. For "
            "another CA, choose another folder",
        )


def create_root(
    plan: AuthorityPlan,
    path: Path,
    *,
    clock: Clock,
    passphrase: bytes | None,
    tokens: TokenAccess | None = None,
    ledger: LedgerPlace | None = None,
) -> AuthorityContext:
    """Make a CA's root and ledger in a directory.

    Args:
        plan: the CA's settings.
        path: the directory; made with mode 0700 if it does not exist.
        clock: returns the time.
        passphrase: encrypts the CA's keys on disk.
        tokens: how to reach the tokens of keys that live in one.
        ledger: where the ledger lies; None for the directory.

    Raises:
        StateError: if the directory holds a CA already or can't be written.
        InputError: if the plan is not valid.
        SignerError: if a token can't be used.
    """
    plan.check()
    directory = AuthorityDirectory(path, elsewhere=ledger)
    limits = NameLimits(plan.trust_domain, plan.permit_dns, plan.permit_ip)
    signing = Signing(Admission(limits), plan.backdate)
    tokens = tokens or TokenAccess()
    for place in (plan.root_key, plan.issuing_key):
        check_place(place, tokens)
    opened = _open_new_ledger(directory)
    publication = CheckpointPublication(directory, plan.trust_domain.audit_log, passphrase)
    try:
        settings = _record_root(
            plan,
            directory,
            opened,
            signing,
            clock=clock,
            passphrase=passphrase,
            publication=publication,
            tokens=tokens,
        )
    except BaseException:
        opened.close()
        raise
    pending = PendingRevocations(directory.path)
    return AuthorityContext(
        directory, opened, settings, signing, clock, publication, pending, passphrase, tokens=tokens
    )


def _record_root(
    plan: AuthorityPlan,
    directory: AuthorityDirectory,
    ledger: Ledger,
    signing: Signing,
    *,
    clock: Clock,
    passphrase: bytes | None,
    publication: CheckpointPublication,
    tokens: TokenAccess,
) -> AuthoritySettings:
    """Make the root, and record it with the settings in one commit, which makes the CA.

    The keys of root and log are on disk before the ledger names them.
    """
    now = clock().replace(microsecond=0)
    # An interrupted bootstrap may have left its key, which is used and never overwritten.
    is_new_key = not directory.holds_key(directory.root_key)
    signer = (
        make_signer(plan.root_key, plan.key_type, passphrase, tokens)
        if is_new_key
        else directory.open_signer(
            directory.root_key, None, passphrase=passphrase, tokens=tokens, what="the root's key"
        )
    )
    key = signer.key
    key_id = key_id_of(key)
    settings = AuthoritySettings(
        NameLimits(plan.trust_domain, plan.permit_dns, plan.permit_ip),
        plan.backdate,
        plan.crl_lifetime,
        now,
    )
    certificate = signing.sign_root(
        plan.trust_domain,
        key,
        subject=ca_subject(plan.trust_domain, IssuerKind.ROOT, key_id),
        validity=Validity(now - plan.backdate, now + plan.root_lifetime),
    )
    if is_new_key:
        directory.write_signer(directory.root_key, signer)
    verifier_key = publication.make_key()
    try:
        with ledger.transaction() as transaction:
            transaction.put_settings(settings)
            transaction.audit.set_verifier_key(verifier_key)
            share_key_file(directory, ledger, transaction, AUDIT_KEY)
            transaction.add_issuer(
                certificate,
                kind=IssuerKind.ROOT,
                status=IssuerStatus.ACTIVE,
                key_id=key_id,
                now=now,
            )
            transaction.audit.append(
                AuditEntry.of(
                    AuditAction.INIT,
                    now,
                    Actor.local(),
                    certificate=certificate,
                    trust_domain=plan.trust_domain.name,
                    root=key_id,
                    verifier_key=verifier_key,
                )
            )
    except LedgerError as error:
        # What can't be read now stays as it is.
        with suppress(LedgerError):
            _leave_to_other(directory, ledger, key_id, error)
        raise
    return settings


def _leave_to_other(
    directory: AuthorityDirectory, ledger: Ledger, key_id: str, failure: LedgerError
) -> None:
    """Let go of a database in which another machine has made a CA meanwhile, with another root.

    The directory would be one of its replicas, with a log's key that is not the CA's.
    """
    with ledger.snapshot() as transaction:
        made = {item.key_id for item in transaction.issuers()}
    if made and key_id not in made:
        (directory.path / LEDGER_URL).unlink(missing_ok=True)
        raise StateError(
            f"another machine has made a CA in {quote_untrusted(ledger.place)} meanwhile",
            remedy="Make this machine a replica of it, in another folder: handfast ca join",
        ) from failure
