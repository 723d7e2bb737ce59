"""What several tests share: a clock that is moved by hand, a CA with it, and handmade chains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from pki.authority import Authority
from pki.authority.ledger import home
from pki.identity import SpiffeId, TrustDomain, derive_names
from pki.keys import PrivateKey, generate_key
from pki.x509 import WORKLOAD, Crl, CrlSet, NameLimits, TrustBundle
from pki.x509.profiles import IssuingProfile, LeafNames, LeafProfile, RootProfile
from pki.x509.profiles.builder import Validity, key_usage
from pki.x509.revocation import RevokedEntry
from tests.ready_made import ReadyMade

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
SHOP = TrustDomain("shop.internal")
Extension = tuple[x509.ExtensionType, bool]


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    at: datetime = NOW

    def __call__(self) -> datetime:
        return self.at

    def move(self, **by: float) -> None:
        self.at += timedelta(**by)


def create_authority(folder: Path, clock: Clock | None = None) -> Authority:
    """Make a CA, for tests of how one is made."""
    return Authority.create(folder / "ca", SHOP, clock=clock or Clock())


_READY_MADE = ReadyMade(lambda folder: create_authority(folder).close())


def make_authority(folder: Path, clock: Clock | None = None) -> Authority:
    """Return a CA as it was made, for tests of what it does then."""
    clock = clock or Clock()
    is_in_file = home.default_place(folder).folder is not None
    if clock() != NOW or (folder / "ca").exists() or not is_in_file:
        return create_authority(folder, clock)
    _READY_MADE.write(folder)
    return Authority.open(folder / "ca", clock=clock)


def name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])


def validity(
    start: timedelta = -timedelta(hours=1), end: timedelta = timedelta(hours=1)
) -> Validity:
    return Validity(NOW + start, NOW + end)


YEAR = validity(-timedelta(days=1), timedelta(days=365))


@dataclass
class Hierarchy:
    """A root and an issuing CA made with the profiles, and their revocation lists."""

    trust_domain: TrustDomain = SHOP
    limits: NameLimits | None = None
    root_key: PrivateKey = field(default_factory=generate_key)
    issuing_key: PrivateKey = field(default_factory=generate_key)
    times: Validity = YEAR

    def __post_init__(self) -> None:
        self.root = RootProfile.build(
            self.trust_domain, self.root_key, subject=name(f"root {id(self)}"), validity=self.times
        )
        self.issuing = IssuingProfile.build(
            self.limits or NameLimits(self.trust_domain),
            self.issuing_key.public_key(),
            subject=name(f"issuing {id(self)}"),
            issuer=self.root,
            issuer_key=self.root_key,
            validity=self.times,
        )
        self.bundle = TrustBundle.of_roots([self.root])
        self.key = generate_key()

    def leaf(
        self,
        path: str = "orders",
        *,
        times: Validity | None = None,
        profile: LeafProfile = WORKLOAD,
        key: PrivateKey | None = None,
    ) -> x509.Certificate:
        spiffe_id = SpiffeId.of_path(self.trust_domain, path)
        derived = derive_names(spiffe_id)
        return profile.build(
            LeafNames(
                derived.subject,
                spiffe_id if profile is WORKLOAD else None,
                (derived.dns,) if derived.dns else (),
            ),
            (key or self.key).public_key(),
            issuer=self.issuing,
            issuer_key=self.issuing_key,
            validity=times or validity(),
        )

    def crls(
        self,
        revoked: Sequence[x509.Certificate] = (),
        *,
        root_revoked: Sequence[x509.Certificate] = (),
        number: int = 1,
        until: timedelta = timedelta(days=7),
    ) -> CrlSet:
        return CrlSet.of(
            [
                self.crl_of(self.root, self.root_key, root_revoked, number, until),
                self.crl_of(self.issuing, self.issuing_key, revoked, number, until),
            ]
        )

    @staticmethod
    def crl_of(
        issuer: x509.Certificate,
        key: PrivateKey,
        revoked: Sequence[x509.Certificate] = (),
        number: int = 1,
        until: timedelta = timedelta(days=7),
    ) -> Crl:
        return Crl.build(
            [RevokedEntry(item.serial_number, NOW) for item in revoked],
            issuer=issuer,
            issuer_key=key,
            number=number,
            this_update=NOW - timedelta(hours=1),
            next_update=NOW + until,
        )


ORDERS_SAN: Extension = (
    x509.SubjectAlternativeName(
        [
            x509.UniformResourceIdentifier("spiffe://shop.internal/orders"),
            x509.DNSName("orders.shop.internal"),
        ]
    ),
    False,
)
BOTH_USAGES: Extension = (
    x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]),
    False,
)
NO_CA: Extension = (x509.BasicConstraints(ca=False, path_length=None), True)
LEAF_KEY_USAGE: Extension = (key_usage(ca=False), True)
GOOD_LEAF: tuple[Extension, ...] = (NO_CA, LEAF_KEY_USAGE, BOTH_USAGES, ORDERS_SAN)


def with_extension(new: Extension) -> list[Extension]:
    """Return the extensions of a good leaf, with this one replaced or added."""
    kept = [item for item in GOOD_LEAF if type(item[0]) is not type(new[0])]
    return [*kept, new]


def without_extension(kind: type[x509.ExtensionType]) -> list[Extension]:
    return [item for item in GOOD_LEAF if not isinstance(item[0], kind)]


def sign_unchecked(
    hierarchy: Hierarchy,
    extensions: Sequence[Extension] = GOOD_LEAF,
    *,
    subject: x509.Name | None = None,
    key: PrivateKey | None = None,
    times: Validity | None = None,
    serial: int | None = None,
) -> x509.Certificate:
    """Return a certificate that no profile builds, signed with the issuing CA's own key."""
    public_key = (key or hierarchy.key).public_key()
    used = times or validity()
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject if subject is not None else name("orders"))
        .issuer_name(hierarchy.issuing.subject)
        .public_key(public_key)
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(used.not_before)
        .not_valid_after(used.not_after)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(hierarchy.issuing_key.public_key()),
            critical=False,
        )
    )
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    return builder.sign(hierarchy.issuing_key, hashes.SHA256())


def request_for(
    key: PrivateKey,
    names: Sequence[x509.GeneralName] = (),
    *,
    subject: x509.Name | None = None,
    extensions: Sequence[Extension] = (),
) -> x509.CertificateSigningRequest:
    """Return a certificate signing request."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        subject if subject is not None else x509.Name([])
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    return builder.sign(key, hashes.SHA256())
