"""The CA of the demo before it is served, and the credentials of attackers.

The five services and the callers are registered, and enroll by token once the CA is served. Besides
them there are a latecomer (an expired certificate of the gateway), an impostor (the gateway's
names, from another CA) and nobody (no certificate at all).
"""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pki
from pki.authority.enrollment import create_registration
from pki.authority.registrations import Caller, Registration
from pki.cli.service.ca_policy import CA_POLICY, add_admin
from pki.clock import system_clock
from pki.files import save_trust
from pki.identity import SpiffeId

SERVICES = ("gateway", "orders", "inventory", "payments", "audit")
STRANGER = "guests/stranger"
ADMIN = "ops"
OPERATOR = Caller("the demo", is_admin=True)
SHORT_LIFE = timedelta(seconds=20)
"""How long a certificate of orders lives, so that its renewals can be seen."""
_THIS_MORNING = timedelta(hours=3)


def make_cast(home: Path) -> pki.Authority:
    """Make the CA, with registrations, and the attackers' directories; return the CA."""
    ca_directory = home / "ca"
    with pki.Authority.create(
        ca_directory, "shop.internal", clock=lambda: system_clock() - _THIS_MORNING
    ) as this_morning:
        this_morning.issue("gateway").save(home / "latecomer")
    authority = pki.Authority.open(ca_directory)
    for name in (*SERVICES, "storefront", "warehouse", STRANGER, ADMIN):
        spiffe_id = SpiffeId.of_path(authority.trust_domain, name)
        lifetime = SHORT_LIFE if name == "orders" else timedelta(hours=1)
        registration = Registration(spiffe_id, lifetime=lifetime)
        create_registration(authority.context, OPERATOR, registration)
    add_admin(ca_directory / CA_POLICY, SpiffeId.of_path(authority.trust_domain, ADMIN))
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
