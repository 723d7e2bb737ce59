"""Orders: what the CA is asked to sign, as values. Operations make them; admission checks them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache

from cryptography import x509

from pki.authority.ledger import IssuerKind
from pki.authority.lifetimes import DEFAULT_LEAF
from pki.authority.registrations import Proof
from pki.errors import quote_untrusted
from pki.identity import DnsName, SpiffeId, TrustDomain, derive_names
from pki.keys import IdentifiedKey, KeyType, PublicKey
from pki.x509 import WORKLOAD, IpAddress, LeafProfile, NameLimits
from pki.x509.profiles import LeafNames
from pki.x509.profiles.builder import Validity

_UB_ORGANIZATION = 64  # RFC 5280, appendix A.1


@dataclass(frozen=True, slots=True)
class NamedOrder:
    """What ``Authority.issue`` takes, as a value.

    Args:
        name: the workload: a path such as ``orders``, or a whole SPIFFE ID.
        dns: further DNS names besides the derived one.
        ip: addresses.
        lifetime: whole seconds, at most 24 hours; None is one hour.
        key_type: any but Ed25519.
        profile: the kind of leaf.
    """

    name: str
    dns: tuple[DnsName, ...] = ()
    ip: tuple[IpAddress, ...] = ()
    lifetime: timedelta | None = None
    key_type: KeyType = KeyType.ECDSA_P256
    profile: LeafProfile = WORKLOAD


@dataclass(frozen=True, slots=True)
class LeafOrder:
    """An order for a leaf.

    Args:
        spiffe_id: the workload; it owns the names.
        profile: the kind of leaf.
        key: the leaf's public key; whoever orders has proved possession of the private key.
        lifetime: from now on.
        proof: how the workload was proved.
        by_admin: whether everybody who decided on this order is an admin: who registered the
            workload, and who made its token. A name that gives a role in the CA needs that.
        is_exact: whether exactly this lifetime was requested; otherwise the leaf may end sooner,
            with its issuing CA.
        extra_dns: further DNS names besides the derived one.
        extra_ip: addresses.
        renewed_from: the ledger's id of the certificate that this one renews.
        line_id: the line that it belongs to; None starts one.
    """

    spiffe_id: SpiffeId
    profile: LeafProfile
    key: IdentifiedKey
    lifetime: timedelta
    proof: Proof
    by_admin: bool
    extra_dns: tuple[DnsName, ...] = ()
    extra_ip: tuple[IpAddress, ...] = ()
    renewed_from: int | None = None
    line_id: str | None = None
    is_exact: bool = False

    def names(self) -> LeafNames:
        """Return the names for the leaf: the derived and the further ones, each once."""
        named = self.spiffe_id, self.profile.needs_spiffe_id
        return _names_of(*named, self.extra_dns, self.extra_ip)


@lru_cache(maxsize=4096)
def _names_of(
    spiffe_id: SpiffeId,
    needs_spiffe_id: bool,
    extra_dns: tuple[DnsName, ...],
    extra_ip: tuple[IpAddress, ...],
) -> LeafNames:
    derived = derive_names(spiffe_id)
    dns = dict.fromkeys([*([derived.dns] if derived.dns else []), *extra_dns])
    return LeafNames(
        derived.subject,
        spiffe_id if needs_spiffe_id else None,
        tuple(dns),
        tuple(dict.fromkeys(extra_ip)),
    )


def order_leaf(  # noqa: PLR0917 - in the order of the methods that call it
    name: str,
    trust_domain: TrustDomain,
    key: IdentifiedKey,
    dns: Sequence[DnsName],
    ip: Sequence[IpAddress],
    lifetime: timedelta | None,
    profile: LeafProfile,
) -> LeafOrder:
    """Return the operator's order for a leaf, with the default lifetime for None.

    Raises:
        InputError: if the name is no path and no SPIFFE ID.
    """
    return LeafOrder(
        SpiffeId.parse_name(name, trust_domain),
        profile,
        key,
        lifetime if lifetime is not None else DEFAULT_LEAF,
        Proof.OPERATOR,
        True,
        tuple(dns),
        tuple(ip),
        is_exact=lifetime is not None,
    )


@dataclass(frozen=True, slots=True)
class IssuerOrder:
    """An order for an issuing CA.

    Args:
        limits: the names that it may certify.
        public_key: its key; whoever orders has proved possession of the private key.
        validity: of its certificate.
    """

    limits: NameLimits
    public_key: PublicKey
    validity: Validity


def ca_subject(trust_domain: TrustDomain, kind: IssuerKind, key_id: str) -> x509.Name:
    """Return a CA's name. It holds the key id, so that its CRL is never used for another CA."""
    attributes = []
    if len(trust_domain.name) <= _UB_ORGANIZATION:
        attributes.append(x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, trust_domain.name))
    role = "handfast root" if kind is IssuerKind.ROOT else "handfast issuing CA"
    attributes.append(x509.NameAttribute(x509.NameOID.COMMON_NAME, f"{role} {key_id}"))
    return x509.Name(attributes)


def no_dns_note(spiffe_id: SpiffeId) -> str:
    """Return why a workload's path gives no DNS name, and what to write instead."""
    path, domain = spiffe_id.path, spiffe_id.trust_domain
    faults = [
        what
        for what, is_there in (
            ("an upper-case letter", path != path.lower()),
            ("a dot", "." in path),
            ("an underscore", "_" in path),
        )
        if is_there
    ]
    why = f"holds {' and '.join(faults)}" if faults else "can't be written as DNS labels"
    # orders.shop.internal is the DNS name of orders; in other names a dash stands for the rest.
    meant = path.lower().removesuffix(f".{domain}").replace(".", "-").replace("_", "-")
    is_name = bool(meant) and derive_names(SpiffeId.of_path(domain, meant)).dns is not None
    return (
        f"the path {quote_untrusted(path)} {why}, so it gives no DNS name, and gRPC clients can't "
        "pin the workload as a server. "
        + (f"Did you mean {meant}? " if is_name else "")
        + "A DNS name needs lower-case letters, digits and inner dashes"
    )
