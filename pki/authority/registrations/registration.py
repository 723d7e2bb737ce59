"""A registration as a value: what one workload may obtain, and how it proves who it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from pki.authority.lifetimes import DEFAULT_LEAF, check_leaf_lifetime
from pki.errors import InputError, quote_untrusted
from pki.identity import DnsName, SpiffeId, derive_names
from pki.x509 import WORKLOAD, IpAddress, LeafProfile
from pki.x509.profiles import LeafNames

_MAX_NAMES = 64
_MAX_CLAIMS = 16
_MAX_TEXT = 1024
_MAX_TIMES = 1000
MAX_PERIOD = timedelta(days=366)
"""The longest time that a rule of recovery may name."""


class Proof(StrEnum):
    """How somebody proves that a workload may have a certificate."""

    CA = "ca"
    """The CA's own certificate, which it issues to itself."""
    OPERATOR = "operator"
    """A command on the CA's own machine. It needs no registration."""
    TOKEN = "token"  # noqa: S105 - no secret
    """A token, made for the workload and good once."""
    REGISTRAR = "registrar"
    """A call of a registrar or an admin."""
    RENEWAL = "renewal"
    """The workload's certificate, while it is valid."""
    RECOVERY = "recovery"
    """The recovery key of a line whose last certificate has ended."""
    OIDC = "oidc"
    """A JWT of an OIDC issuer that the operator has named."""


# Those that a registration lists. It rules recovery by numbers, and the operator needs none.
LISTED_PROOFS = frozenset({Proof.TOKEN, Proof.REGISTRAR, Proof.RENEWAL, Proof.OIDC})
DEFAULT_PROOFS = frozenset({Proof.TOKEN, Proof.RENEWAL})


@dataclass(frozen=True, slots=True)
class OidcRule:
    """Which JWTs prove the workload: those of one issuer that hold all of these claims.

    Args:
        issuer: its URL, exactly as the JWT's ``iss``.
        claims: name and value of each, compared exactly; ``sub`` is among them.
    """

    issuer: str
    claims: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        names = [name for name, _ in self.claims]
        texts = [self.issuer, *names, *(value for _, value in self.claims)]
        if not all(0 < len(text) <= _MAX_TEXT and text.isprintable() for text in texts):
            raise InputError(
                f"issuer and claims must be printable texts of 1 to {_MAX_TEXT} characters"
            )
        if not self.issuer.startswith("https://"):
            raise InputError(
                f"OIDC issuer {quote_untrusted(self.issuer)} does not begin with https://"
            )
        if "sub" not in names or len(names) != len(set(names)) or len(names) > _MAX_CLAIMS:
            raise InputError(
                f"an OIDC rule names 1 to {_MAX_CLAIMS} different claims, and sub is one of them",
                remedy="Name the subject that the issuer gives this workload",
            )
        for name, value in self.claims:
            # Compared exactly: a star would look like a pattern and match nothing.
            if "*" in value:
                raise InputError(
                    f"claim {quote_untrusted(name)} has the value {quote_untrusted(value)}: claims "
                    "are compared exactly, and there are no wildcards",
                    remedy="Write the whole value, or register one workload for each",
                )


@dataclass(frozen=True, slots=True)
class RecoveryRule:
    """How often a line may recover by itself after its last certificate has ended.

    Args:
        times: how often within the period; 0 forbids it.
        within: the period.
        max_sleep: how long after the end of the last certificate it may recover.
    """

    times: int = 3
    within: timedelta = timedelta(days=30)
    max_sleep: timedelta = timedelta(days=14)

    def __post_init__(self) -> None:
        if not 0 <= self.times <= _MAX_TIMES:
            raise InputError(f"recovery.times is {self.times}: it must be 0 to {_MAX_TIMES}")
        for name, period in (("within", self.within), ("max_sleep", self.max_sleep)):
            if not timedelta(0) < period <= MAX_PERIOD or period.microseconds:
                raise InputError(
                    f"recovery.{name} is {period}: it must be a whole number of seconds, at most "
                    f"{MAX_PERIOD.days} days"
                )


@dataclass(frozen=True, slots=True)
class Registration:
    """What one workload may obtain.

    Args:
        spiffe_id: the workload: one name, never a pattern.
        dns_names: further DNS names besides the derived one.
        ip_addresses: addresses.
        lifetime: of its certificates.
        profile: the kind of leaf.
        proofs: how its callers may prove who they are.
        oidc: which JWTs prove it; set exactly if ``proofs`` holds OIDC.
        recovery: whether and how often it may recover.
    """

    spiffe_id: SpiffeId
    dns_names: tuple[DnsName, ...] = ()
    ip_addresses: tuple[IpAddress, ...] = ()
    lifetime: timedelta = DEFAULT_LEAF
    profile: LeafProfile = WORKLOAD
    proofs: frozenset[Proof] = DEFAULT_PROOFS
    oidc: OidcRule | None = None
    recovery: RecoveryRule = RecoveryRule()

    def __post_init__(self) -> None:
        check_leaf_lifetime(self.lifetime)
        if len(self.dns_names) + len(self.ip_addresses) > _MAX_NAMES:
            raise InputError(f"a registration holds at most {_MAX_NAMES} DNS names and addresses")
        if not self.proofs or not self.proofs <= LISTED_PROOFS:
            raise InputError(
                "a registration lists at least one proof of: "
                + ", ".join(sorted(proof.value for proof in LISTED_PROOFS))
            )
        if (self.oidc is not None) != (Proof.OIDC in self.proofs):
            raise InputError(
                "the proof oidc needs a rule that names issuer and claims, and the rule needs the "
                "proof"
            )

    def allows(self, proof: Proof) -> bool:
        """Return whether a proof of this kind is accepted for the workload."""
        if proof is Proof.RECOVERY:
            return self.recovery.times > 0
        return proof in self.proofs

    def covers(self, names: LeafNames, profile: LeafProfile) -> bool:
        """Return whether a certificate of this kind, with these names, is one of this workload."""
        return (
            profile == self.profile
            and {*names.ip_addresses} <= {*self.ip_addresses}
            and {*names.dns_names} <= {*self.dns_names, derive_names(self.spiffe_id).dns}
        )


@dataclass(frozen=True, slots=True)
class Revision:
    """The state of a registration in the ledger.

    Args:
        number: grows with each update.
        by_admin: whether an admin wrote it. A name that gives a role in the CA needs that.
        created_at: when it was made.
        created_by: by whom.
        unconfirmed_since: when it was restored from a backup; None once an admin has confirmed it.
    """

    number: int
    by_admin: bool
    created_at: datetime
    created_by: str
    unconfirmed_since: datetime | None = None
