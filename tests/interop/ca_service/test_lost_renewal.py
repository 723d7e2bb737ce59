"""A workload that went away before the answer to its renewal came, and came back after its end."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from pki.authority.enrollment import get_registration, update_registration
from pki.ca_client import CaIdentity
from pki.clock import system_clock
from pki.identity import SpiffeId
from pki.proofs import EnrollmentToken
from tests.ca_service import OPERATOR, Served


def lengthen(ca: Served, name: str) -> None:
    context, spiffe_id = ca.authority.context, SpiffeId.of_path(ca.authority.trust_domain, name)
    registration, revision = get_registration(context, OPERATOR, spiffe_id)
    longer = replace(registration, lifetime=timedelta(hours=1))
    update_registration(context, OPERATOR, longer, revision=revision.number)


def test_who_never_got_its_renewal_gets_it_when_it_comes_back(ca: Served, tmp_path: Path) -> None:
    ca.register("orders", lifetime=timedelta(seconds=6))
    token = EnrollmentToken.parse(ca.token("orders"))
    with CaIdentity(tmp_path / "orders", token=token) as identity:
        identity._task.stop(5)  # else it asks by itself, and keeps the answer
        lengthen(ca, "orders")
        # The CA has answered, and the process ends before it has read that.
        renewed = identity._obtain(recovering=False).credential.leaf
        end = identity.credential.leaf.not_valid_after_utc
    while system_clock() < end + timedelta(seconds=1):
        time.sleep(0.1)
    with CaIdentity(tmp_path / "orders") as identity:
        assert identity.credential.leaf == renewed
        assert identity.recoveries_left == 3, "it was no recovery"
        # Its recovery key is the one that the CA knows: it may renew, and nothing is blocked.
        identity.renew_now()
        assert identity.credential.leaf != renewed
        assert not identity.problem
    assert ca.authority.events() == ()
