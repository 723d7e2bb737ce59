"""Decide whether the CA may sign a certificate. Nothing is signed without passing these rules.

A leaf is admitted if

1. its SPIFFE ID is in the CA's trust domain and is not reserved for the CA itself;
2. each DNS name is the one derived from its SPIFFE ID, or is outside the trust domain and permitted
   by the issuing CA: a name inside the trust domain is the derived name of another workload, and
   clients pin that workload by it;
3. each address is in a permitted range;
4. its key is not one of the CA's own, was certified for no other workload, and is not known to have
   leaked. A workload may use its own key again, with a request;
5. no other workload holds one of the names: SPIFFE ID, DNS names, subject. They are claimed in the
   ledger, in the transaction that records the certificate.

An issuing CA is admitted if it has this CA's own limits and a key that was never certified before.

Several servers may answer at one address, so addresses have no owner.
"""

from __future__ import annotations

from datetime import datetime

from pki.authority.ledger import NameKind, Transaction
from pki.authority.orders import IssuerOrder, LeafOrder
from pki.errors import NotPermittedError
from pki.identity import DnsName, SpiffeId, derive_names, spiffe_id_of_dns_name
from pki.keys import PublicKey, secret_fingerprint
from pki.x509 import NameLimits
from pki.x509.decoding import public_key_of


class Admission:
    """The CA's rules on names and keys."""

    def __init__(self, limits: NameLimits) -> None:
        self._limits = limits

    def admit_leaf(
        self, order: LeafOrder, transaction: Transaction, *, until: datetime, now: datetime
    ) -> None:
        """Admit a leaf; claim its key for good, and its names until its end.

        Raises:
            NotPermittedError: if the rules forbid one of the names or the key.
        """
        owner = order.spiffe_id
        if owner.trust_domain != self._limits.trust_domain:
            raise NotPermittedError(
                f"{owner} is not in the trust domain {self._limits.trust_domain} of this CA",
                remedy="Ask the CA of that trust domain",
            )
        if owner.is_reserved:
            raise NotPermittedError(
                f"{owner} is reserved for the CA itself", remedy="Choose another name"
            )
        names = order.names()
        for name in names.dns_names:
            self._admit_dns(name, owner)
        for address in names.ip_addresses:
            if not self._limits.permits_ip(address):
                raise NotPermittedError(
                    f"address {address} is in no range that this CA permits",
                    remedy="Make an issuing CA with --permit-ip for its range",
                )
        refuse_ca_key(order.public_key, transaction)
        transaction.keys.claim(order.public_key, owner=str(owner))
        claims = [(NameKind.SPIFFE, str(owner))]
        claims += [(NameKind.DNS, name.name) for name in names.dns_names]
        claims += [(NameKind.SUBJECT, str(names.subject))] if names.subject.rdns else []
        for kind, value in claims:
            transaction.claim_name(kind, value, owner=str(owner), until=until, now=now)

    def admit_issuer(self, order: IssuerOrder, transaction: Transaction) -> None:
        """Admit an issuing CA: one with this CA's own limits and a new key.

        Raises:
            NotPermittedError: if it could issue other names than this CA, or its key is not new.
        """
        refuse_ca_key(order.public_key, transaction)
        if transaction.keys.contains(order.public_key):
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


def refuse_ca_key(public_key: PublicKey, transaction: Transaction) -> None:
    """Refuse a key of this CA: the root's, or that of an issuing CA of any status.

    Raises:
        NotPermittedError: if it is one.
    """
    secret = secret_fingerprint(public_key)
    for record in transaction.issuers():
        if secret_fingerprint(public_key_of(record.certificate)) == secret:
            raise NotPermittedError("the key is one of the CA's own", remedy="Make a new key")
