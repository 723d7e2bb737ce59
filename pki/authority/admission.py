"""Decide whether the CA may sign a certificate. Nothing is signed without passing these rules.

A leaf is admitted if

1. its SPIFFE ID is in the CA's trust domain and is not reserved for the CA itself, which alone may
   have such a name;
2. each DNS name is the one derived from its SPIFFE ID, or is outside the trust domain and permitted
   by the issuing CA: a name inside the trust domain is the derived name of another workload, and
   clients pin that workload by it;
3. each address is in a permitted range;
4. its key is not one of the CA's own and no recovery key, was certified for no other workload, and
   is not known to have leaked. A workload may use its own key again, with a request;
5. its workload is registered, the registration covers the names and accepts the proof, and an admin
   has confirmed it if it is from a restored backup, unless the operator of the CA's own machine
   orders it;
6. only admins have decided on it, if one of its names gives a role in the CA;
7. no other workload holds one of the names: SPIFFE ID, DNS names, subject. They are claimed in the
   ledger, in the transaction that records the certificate.

Nothing is admitted while a restored ledger does not know what was revoked after its backup.

An issuing CA is admitted if it has this CA's own limits and a key that was never certified before.

Several servers may answer at one address, so addresses have no owner.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache

from cryptography import x509

from pki.authority.ledger import NameKind, Transaction
from pki.authority.ledger.records import NameClaim
from pki.authority.orders import IssuerOrder, LeafOrder
from pki.authority.registrations import Proof, Registration
from pki.errors import NotPermittedError, NotRegisteredError
from pki.identity import DnsName, SpiffeId, derive_names, spiffe_id_of_dns_name
from pki.keys import IdentifiedKey, secret_fingerprint
from pki.x509 import NameLimits
from pki.x509.decoding import public_key_of
from pki.x509.profiles import LeafNames

Privileged = Callable[[LeafNames], bool]


def nobody_is_privileged(names: LeafNames) -> bool:
    """Return False: a CA that is not served gives no roles."""
    del names
    return False


class Admission:
    """The CA's rules on names and keys.

    Args:
        limits: the names that this CA may certify.
    """

    def __init__(self, limits: NameLimits) -> None:
        self._limits = limits
        self.is_privileged: Privileged = nobody_is_privileged
        """Whether the policy of the CA that is served gives one of these names a role in the CA. It
        is asked anew for each order, because the policy may have changed."""

    def admit_leaf(
        self, order: LeafOrder, transaction: Transaction, *, until: datetime, now: datetime
    ) -> None:
        """Admit a leaf; claim its key for good, and its names until its end.

        Raises:
            NotPermittedError: if the rules forbid one of the names or the key.
        """
        self._check(order, transaction)
        refuse_recovery_key(order.key, transaction)
        transaction.keys.claim(order.key, owner=str(order.spiffe_id))
        transaction.names.claim(claims_of(order, until=until), now=now)

    def _check(self, order: LeafOrder, transaction: Transaction) -> None:
        transaction.refuse_to_sign_unknowing()
        if order.proof is not Proof.CA:
            self.check_names(order.spiffe_id, order.names(), by_admin=order.by_admin)
            check_registration(order, transaction)
        refuse_ca_key(order.key, transaction)

    def check_names(self, owner: SpiffeId, names: LeafNames, *, by_admin: bool) -> None:
        """Check the names that a workload shall have.

        Args:
            owner: the workload.
            names: all of its names.
            by_admin: whether only admins have decided on it.

        Raises:
            NotPermittedError: if the rules forbid one of the names.
        """
        if owner.trust_domain != self._limits.trust_domain:
            raise NotPermittedError(
                f"{owner} is not in the trust domain {self._limits.trust_domain} of this CA",
                remedy="Ask the CA of that trust domain",
            )
        if owner.is_reserved:
            raise NotPermittedError(
                f"{owner} is reserved for the CA itself", remedy="Choose another name"
            )
        for name in names.dns_names:
            self._admit_dns(name, owner)
        for address in names.ip_addresses:
            if not self._limits.permits_ip(address):
                raise NotPermittedError(
                    f"address {address} is in no range that this CA permits",
                    remedy="Make an issuing CA with --permit-ip for its range",
                )
        if not by_admin and self.is_privileged(names):
            raise NotPermittedError(
                f"{owner} has a role in the CA itself: only a ca-admin decides on it",
                remedy="Let a ca-admin register it, and make its token",
            )

    def admit_issuer(self, order: IssuerOrder, transaction: Transaction) -> None:
        """Admit an issuing CA: one with this CA's own limits and a new key.

        Raises:
            NotPermittedError: if it could issue other names than this CA, or its key is not new.
            RestoredLedgerError: if the ledger may lack revocations.
        """
        transaction.refuse_to_sign_unknowing()
        key = IdentifiedKey.of(order.public_key)
        refuse_ca_key(key, transaction)
        if transaction.keys.contains(key):
            raise NotPermittedError(
                "the key belongs to a leaf, and can't be an issuing CA's too",
                remedy="Make a new key",
            )
        if order.limits != self._limits:
            raise NotPermittedError("issuing CA would have other limits than this CA's")

    def _admit_dns(self, name: DnsName, owner: SpiffeId) -> None:
        if name == derive_names(owner).dns:
            return
        if name.is_within(DnsName(self._limits.trust_domain.name)):
            other = spiffe_id_of_dns_name(name, self._limits.trust_domain)
            whose = f"the derived name of {other}" if other else "the trust domain's own name"
            raise NotPermittedError(
                f"{name} is {whose}, not of {owner}",
                remedy="Leave it out: names inside the trust domain are only derived",
            )
        if not self._limits.permits_dns(name):
            raise NotPermittedError(
                f"{name} is not a name that this CA permits",
                remedy="Make the CA with --permit-dns for it",
            )


def claims_of(order: LeafOrder, *, until: datetime) -> list[NameClaim]:
    """Return the names that a leaf claims until its end."""
    owner = str(order.spiffe_id)
    claimed = _claimed(owner, order.names())
    return [NameClaim(kind, value, owner, until) for kind, value in claimed]


@lru_cache(maxsize=4096)
def _claimed(owner: str, names: LeafNames) -> tuple[tuple[NameKind, str], ...]:
    subject = [(NameKind.SUBJECT, str(names.subject))] if names.subject.rdns else []
    dns = [(NameKind.DNS, name.name) for name in names.dns_names]
    return ((NameKind.SPIFFE, owner), *dns, *subject)


def check_registration(order: LeafOrder, transaction: Transaction) -> Registration | None:
    """Check that a workload is registered, and that this covers the order.

    Returns:
        The registration; None if the operator orders, who needs none.

    Raises:
        NotRegisteredError: if the workload is not registered, or not for this.
    """
    if order.proof is Proof.OPERATOR:
        return None
    found = transaction.registrations.get(order.spiffe_id)
    if found is None:
        raise NotRegisteredError(
            f"{order.spiffe_id} is not registered",
            remedy=f"Let a registrar register it: handfast registration create {order.spiffe_id}",
        )
    registration, revision = found
    if revision.unconfirmed_since is not None:
        raise NotRegisteredError(
            f"the registration of {order.spiffe_id} is from a backup that was restored at "
            f"{revision.unconfirmed_since:%Y-%m-%d %H:%M:%S} UTC, and no admin has confirmed it",
            remedy=f"Let an admin look at it: handfast registration confirm {order.spiffe_id}",
        )
    if not registration.allows(order.proof):
        raise NotRegisteredError(
            f"{order.spiffe_id} is not registered for certificates by {order.proof.value}",
            remedy="Let a registrar change the registration's proofs, or its recovery",
        )
    if (
        not registration.covers(order.names(), order.profile)
        or order.lifetime > registration.lifetime
    ):
        raise NotRegisteredError(
            f"the registration of {order.spiffe_id} does not cover what was asked for: its names, "
            "profile or lifetime",
            remedy="Let a registrar change the registration",
        )
    return registration


def refuse_ca_key(key: IdentifiedKey, transaction: Transaction) -> None:
    """Refuse a key of this CA: the root's, or that of an issuing CA of any status.

    Raises:
        NotPermittedError: if it is one.
    """
    for record in transaction.issuers():
        if _secret_of(record.certificate) == key.secret:
            raise NotPermittedError("the key is one of the CA's own", remedy="Make a new key")


@lru_cache(maxsize=256)
def _secret_of(certificate: x509.Certificate) -> str:
    return secret_fingerprint(public_key_of(certificate))


def refuse_recovery_key(key: IdentifiedKey, transaction: Transaction) -> None:
    """Refuse a key that is, or was, a line's recovery key: it has no other use.

    Raises:
        NotPermittedError: if it is one.
    """
    if transaction.lines.is_recovery_key_known(key.fingerprint, key.der):
        raise NotPermittedError("the key is a recovery key", remedy="Make a new key")
