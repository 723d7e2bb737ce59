"""What the CA is asked to sign, as values: made by the operations, decided by admission."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from pki.identity import DnsName, SpiffeId, derive_names
from pki.keys import PublicKey
from pki.x509 import IpAddress, LeafProfile, NameLimits
from pki.x509.profiles import LeafNames


@dataclass(frozen=True, slots=True)
class LeafOrder:
    """A leaf that somebody wants.

    Args:
        spiffe_id: the workload that it is for; it owns the names.
        profile: which kind of leaf.
        public_key: the key that was proved to be the asker's.
        extra_dns: DNS names beyond the derived one.
        extra_ip: addresses.
        lifetime: from now on.
        renewed_from: the ledger's id of the certificate that this one follows.
    """

    spiffe_id: SpiffeId
    profile: LeafProfile
    public_key: PublicKey
    lifetime: timedelta
    extra_dns: tuple[DnsName, ...] = ()
    extra_ip: tuple[IpAddress, ...] = ()
    renewed_from: int | None = None

    def names(self) -> LeafNames:
        """Return the names that the leaf is to hold: derived and asked for, each once."""
        derived = derive_names(self.spiffe_id)
        dns = dict.fromkeys([*([derived.dns] if derived.dns else []), *self.extra_dns])
        return LeafNames(
            derived.subject,
            self.spiffe_id if self.profile.needs_spiffe_id else None,
            tuple(dns),
            tuple(dict.fromkeys(self.extra_ip)),
        )


@dataclass(frozen=True, slots=True)
class IssuerOrder:
    """An issuing CA that the operator wants."""

    limits: NameLimits
    public_key: PublicKey
    not_after: datetime
