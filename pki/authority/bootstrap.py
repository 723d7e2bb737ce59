"""Makes a CA: a root, a first issuing CA, their lists, and the ledger that knows them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from cryptography import x509

from pki.authority import lifetimes
from pki.authority.directory import ROOT_KEY, AuthorityHome, key_id_of, lost_ledger
from pki.authority.ledger import AuthoritySettings, IssuerKind, IssuerStatus, Ledger
from pki.authority.ledger.ledger import MARK
from pki.authority.signing import Signing
from pki.clock import Clock
from pki.errors import InputError, NameRefusedError, StateError
from pki.identity import DnsName, TrustDomain
from pki.keys import KeyType, generate_key
from pki.x509 import NameLimits
from pki.x509.profiles.builder import Validity
from pki.x509.profiles.ca import IpNetwork

_UB_ORGANIZATION = 64


@dataclass(frozen=True, slots=True)
class AuthorityPlan:
    """What a new CA is to be.

    Args:
        trust_domain: the namespace that it speaks for; must be a DNS name too.
        permit_dns: further DNS names that it may give out, each with all below it.
        permit_ip: address ranges that it may give out.
        key_type: for root and issuing CA; Ed25519 is allowed here.
        backdate: how far ``notBefore`` is set back, for clocks that differ; at most an hour.
        crl_lifetime: from a revocation list's signing to its ``nextUpdate``.
        root_lifetime: of the root.
        issuing_lifetime: of the first issuing CA.
    """

    trust_domain: TrustDomain
    permit_dns: tuple[DnsName, ...] = ()
    permit_ip: tuple[IpNetwork, ...] = ()
    key_type: KeyType = KeyType.ECDSA_P256
    backdate: timedelta = lifetimes.DEFAULT_BACKDATE
    crl_lifetime: timedelta = lifetimes.DEFAULT_CRLS
    root_lifetime: timedelta = lifetimes.DEFAULT_ROOT
    issuing_lifetime: timedelta = lifetimes.DEFAULT_ISSUING

    def check(self) -> None:
        """Check the parts against each other.

        Raises:
            InputError: if they do not make a CA.
        """
        try:
            DnsName(self.trust_domain.name)
        except NameRefusedError:
            raise NameRefusedError(
                f"trust domain {self.trust_domain} is no DNS name, and gRPC can pin a server by a "
                "DNS name alone",
                remedy="Choose one such as shop.internal",
            ) from None
        if not timedelta(0) <= self.backdate <= lifetimes.MAX_BACKDATE:
            raise InputError(
                f"backdate of {self.backdate} is not from 0 to {lifetimes.MAX_BACKDATE}"
            )
        if min(self.crl_lifetime, self.root_lifetime, self.issuing_lifetime) <= timedelta(0):
            raise InputError("a lifetime must be positive")
        for name in self.permit_dns:
            domain = DnsName(self.trust_domain.name)
            if name.is_within(domain) or domain.is_within(name):
                raise InputError(
                    f"permitted DNS name {name} overlaps with the trust domain {domain}",
                    remedy="Names inside the trust domain are derived; permit others alone",
                )


def ca_subject(trust_domain: TrustDomain, kind: IssuerKind, key_id: str) -> x509.Name:
    """Name a CA: its key's id makes the name its own, so that no list of another is read as its."""
    attributes = []
    if len(trust_domain.name) <= _UB_ORGANIZATION:
        attributes.append(x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, trust_domain.name))
    words = "handfast root" if kind is IssuerKind.ROOT else "handfast issuing CA"
    attributes.append(x509.NameAttribute(x509.NameOID.COMMON_NAME, f"{words} {key_id}"))
    return x509.Name(attributes)


def open_new_ledger(home: AuthorityHome) -> Ledger:
    """Make the ledger, or take up one whose set-up was cut off.

    Raises:
        StateError: if there is a CA already.
    """
    home.make()
    traces = home.traces()
    if not os.path.lexists(home.ledger):
        if traces:
            raise lost_ledger(home, traces)
        return Ledger.create(home.ledger)
    ledger = Ledger.open(home.ledger)
    try:
        _refuse_begun(home, ledger, traces)
    except BaseException:
        ledger.close()
        raise
    return ledger


def _refuse_begun(home: AuthorityHome, ledger: Ledger, traces: Sequence[str]) -> None:
    """Let only a set-up go on that was cut off before its first commit."""
    with ledger.transaction(accept_older=True) as transaction:
        kinds = {item.kind for item in transaction.issuers()}
    if IssuerKind.ISSUING in kinds:
        raise StateError(
            f"there is a CA at {home.path} already", remedy="Use it, or choose another folder"
        )
    if kinds:
        raise StateError(
            f"there is a CA at {home.path} already: its set-up was cut off before its first "
            "issuing CA was made",
            remedy="Finish it with: handfast ca rotate",
        )
    # Such a set-up leaves the root's key at most. All else is of a CA whose ledger this is not.
    # Its mark is held against the ledger when the first transaction begins.
    left = set(traces) - {ROOT_KEY, MARK, f"{home.ledger.name}-wal", f"{home.ledger.name}-shm"}
    if left:
        raise StateError(
            f"there is a CA at {home.path} already, and its ledger is empty: "
            f"{', '.join(sorted(left))} are there",
            remedy="Bring its ledger back from a backup, and then: handfast ca recover. For "
            "another CA, choose another folder",
        )


def record_root(
    plan: AuthorityPlan,
    home: AuthorityHome,
    ledger: Ledger,
    signing: Signing,
    *,
    clock: Clock,
    passphrase: bytes | None,
) -> AuthoritySettings:
    """Make the root and record it with the settings.

    The key is on disk before the ledger knows its certificate; the commit that makes the CA is one.
    """
    now = clock().replace(microsecond=0)
    # A set-up that was cut off has left its key: it is used, and never written over.
    made = not os.path.lexists(home.root_key)
    key = (
        generate_key(plan.key_type)
        if made
        else home.read_key(home.root_key, passphrase, what="the root's key")
    )
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
    if made:
        home.write_key(home.root_key, key, passphrase)
    with ledger.transaction() as transaction:
        transaction.put_settings(settings)
        transaction.add_issuer(
            certificate,
            kind=IssuerKind.ROOT,
            status=IssuerStatus.ACTIVE,
            key_id=key_id,
            now=now,
        )
    return settings
