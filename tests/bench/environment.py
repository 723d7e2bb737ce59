"""A CA in memory, and the files and the policy that the benchmarked programs read.

The CA uses the real profiles but keeps no ledger, because some measures need tens of thousands of
leaves.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from pki.files import save_credential
from pki.identity import SpiffeId, TrustDomain, derive_names
from pki.keys import generate_key
from pki.x509 import (
    WORKLOAD,
    Credential,
    Crl,
    CrlSet,
    NameLimits,
    TrustBundle,
)
from pki.x509.profiles import IssuingProfile, LeafNames, RootProfile
from pki.x509.profiles.builder import Validity
from pki.x509.readers import to_pem
from pki.x509.revocation import RevokedEntry

_SHOP = TrustDomain("shop.internal")
_POLICY = """\
trust_domain = "shop.internal"
[roles]
caller = ["spiffe://shop.internal/caller", "spiffe://shop.internal/crowd/*"]
server = ["spiffe://shop.internal/server"]
auditor = ["dns:audit.shop.internal"]
[[grant]]
role = "caller"
methods = ["/shop.v1.Inventory/*", "/shop.v1.Payments/*"]
scopes = ["read", "write"]
[[grant]]
role = "auditor"
methods = ["/shop.v1.Inventory/GetStock"]
[[served_by]]
service = "shop.v1.Inventory"
role = "server"
[[served_by]]
service = "shop.v1.Payments"
role = "server"
"""


class Environment:
    """What all processes of a run share: CA, policy and credential directories.

    Args:
        home: an empty folder.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        now = datetime.now(UTC).replace(microsecond=0)
        self._times = Validity(now - timedelta(hours=1), now + timedelta(days=1))
        self._root_key, self._issuing_key = generate_key(), generate_key()
        self._root = RootProfile.build(
            _SHOP, self._root_key, subject=_name("bench root"), validity=self._times
        )
        self._issuing = IssuingProfile.build(
            NameLimits(_SHOP),
            self._issuing_key.public_key(),
            subject=_name("bench issuing"),
            issuer=self._root,
            issuer_key=self._root_key,
            validity=self._times,
        )
        self._bundle = TrustBundle.of_roots([self._root])
        self._number = 0
        self._revoked: list[RevokedEntry] = []
        self._crls = self._sign_crls()
        self.policy = home / "policy" / "policy.toml"
        self.policy.parent.mkdir()
        self.policy.write_text(_POLICY)

    def issue(self, path: str) -> Credential:
        """Issue a credential: a new key, a new leaf."""
        spiffe_id = SpiffeId.of_path(_SHOP, path)
        derived = derive_names(spiffe_id)
        key = generate_key()
        leaf = WORKLOAD.build(
            LeafNames(derived.subject, spiffe_id, (derived.dns,) if derived.dns else ()),
            key.public_key(),
            issuer=self._issuing,
            issuer_key=self._issuing_key,
            validity=Validity(self._times.not_before, self._times.not_before + timedelta(hours=20)),
        )
        return Credential(key, (leaf, self._issuing), self._bundle, self._crls)

    def directory(self, path: str, place: str) -> Path:
        """Make a new credential directory, and return its path.

        Args:
            path: the workload's name.
            place: the directory's name.
        """
        folder = self.home / place
        save_credential(self.issue(path), folder)
        return folder

    def revoke(self, leaves: Iterable[x509.Certificate]) -> bytes:
        """Revoke leaves; return the revocation lists to write, as PEM."""
        now = datetime.now(UTC).replace(microsecond=0)
        self._revoked += [RevokedEntry(leaf.serial_number, now) for leaf in leaves]
        self._crls = self._sign_crls()
        return to_pem([item.crl for item in self._crls.crls.values()])

    def _sign_crls(self) -> CrlSet:
        self._number += 1
        issuers = (
            (self._root, self._root_key, ()),
            (self._issuing, self._issuing_key, tuple(self._revoked)),
        )
        return CrlSet.of(
            [
                Crl.build(
                    entries,
                    issuer=issuer,
                    issuer_key=key,
                    number=self._number,
                    this_update=self._times.not_before,
                    next_update=self._times.not_after,
                )
                for issuer, key, entries in issuers
            ]
        )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
