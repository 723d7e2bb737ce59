"""The certificates of the demo: those of the shop's own CA, and those of attackers.

Besides the five services there are a storefront (a customer), a warehouse, a stranger (a workload
without a role), a latecomer (an expired certificate of the gateway), an impostor (the gateway's
names, from another CA) and nobody (no certificate at all).
"""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pki
from pki.clock import system_clock
from pki.files import save_trust

SERVICES = ("gateway", "orders", "inventory", "payments", "audit")
OTHERS = ("storefront", "warehouse")
STRANGER = "guests/stranger"
_THIS_MORNING = timedelta(hours=3)


def make_cast(home: Path) -> pki.Authority:
    """Make the CA and all credential directories; return the CA."""
    ca_directory = home / "ca"
    with pki.Authority.create(
        ca_directory, "shop.internal", clock=lambda: system_clock() - _THIS_MORNING
    ) as this_morning:
        this_morning.issue("gateway").save(home / "latecomer")
    authority = pki.Authority.open(ca_directory)
    for name in (*SERVICES, *OTHERS):
        authority.issue(name).save(home / name)
    authority.issue(STRANGER).save(home / "stranger")
    # The auditor calls under the audit service's name. It has a certificate of its own, which is
    # revoked later without revoking that of the service.
    authority.issue("audit").save(home / "auditor")
    _make_impostor(home, authority)
    nobody = home / "nobody"
    nobody.mkdir()
    shutil.copy(ca_directory / "bundle.pem", nobody / "bundle.pem")
    return authority


def _make_impostor(home: Path, real: pki.Authority) -> None:
    """Save a certificate with the gateway's names from another CA, and the real trust bundle."""
    with pki.Authority.create(home / "other-ca", "shop.internal") as other:
        other.issue("gateway").save(home / "impostor")
    bundle, crls = real.trust()
    save_trust(bundle, crls, home / "impostor")
