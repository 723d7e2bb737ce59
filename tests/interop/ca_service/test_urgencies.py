"""How urgent each call is: revocations go first, strangers last."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pki._proto.handfast.ca.v1 import (
    enrollment_pb2,
    registrations_pb2,
    rotation_pb2,
    rotation_pb2_grpc,
)
from pki.authority.ledger.commits.turns import Turns
from pki.authority.ledger.commits.urgency import Urgency
from pki.ca_client import CaIdentity
from pki.errors import CaRefusedError
from pki.proofs import EnrollmentToken
from tests.ca_service import Served
from tests.interop.asking import asking, refused, stranger
from tests.interop.shop import SECONDS

CALLS = {
    f"handfast-{name}"
    for name in (
        "renew",
        "recover",
        "revoke",
        "revoke-own",
        "distrust",
        "operate",
        "issue",
        "enroll",
    )
}
"""What the names of their threads begin with: others do the CA's own upkeep."""


class Seen:
    """The urgencies with which the threads of calls have waited for their turns."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._found: list[Urgency] = []
        wait = Turns._wait

        def noted(turns: Turns[Any], urgency: Urgency, *rest: Any) -> Any:
            if threading.current_thread().name.rpartition("_")[0] in CALLS:
                self._found.append(urgency)
            return wait(turns, urgency, *rest)

        monkeypatch.setattr(Turns, "_wait", noted)

    def of(self, call: Callable[[], object]) -> set[Urgency]:
        """Return those of one call."""
        self._found.clear()
        call()
        return set(self._found)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    return Seen(monkeypatch)


def test_a_workload_enrolls_as_a_stranger_renews_and_recovers_before_registrars(
    ca: Served, tmp_path: Path, seen: Seen
) -> None:
    token = EnrollmentToken.parse(ca.token("orders"))
    enrolled: list[CaIdentity] = []
    with ExitStack() as stack:

        def enroll() -> None:
            enrolled.append(stack.enter_context(CaIdentity(tmp_path / "orders", token=token)))

        assert seen.of(enroll) == {Urgency.STRANGER}
        assert seen.of(enrolled[0].renew_now) == {Urgency.RENEWAL}

        def recover() -> None:
            # What it may have is decided in its turn, and its certificate is still valid.
            with pytest.raises(CaRefusedError, match="Renew it instead"):
                enrolled[0]._obtain(recovering=True)

        assert seen.of(recover) == {Urgency.RENEWAL}


def test_a_recovery_that_proves_nothing_takes_no_turn(ca: Served, seen: Seen) -> None:
    asked = enrollment_pb2.RecoverRequest(recovery_id="hfr1_" + "A" * 43, nonce=b"x" * 40)
    with stranger(ca) as stub:
        reasons: list[str] = []

        def recover() -> None:
            reasons.append(refused(lambda: stub.Recover(asked, timeout=SECONDS)))

        assert not seen.of(recover)
        assert reasons == ["NAME_NOT_PERMITTED"]


def change(path: str, **settings: Any) -> registrations_pb2.UpdateRegistrationRequest:
    name = f"spiffe://shop.internal/{path}"
    registration = registrations_pb2.Registration(spiffe_id=name, revision=1)
    return registrations_pb2.UpdateRegistrationRequest(registration=registration, **settings)


def test_what_revokes_goes_first_whoever_asks_for_it(
    ca: Served, tmp_path: Path, seen: Seen
) -> None:
    workload = ca.authority.issue("orders")
    with asking(ca, tmp_path, "ops") as ops, asking(ca, tmp_path, "billing") as billing:
        serial = f"{workload.leaf.serial_number:x}"
        rotation = rotation_pb2_grpc.RotationStub(ops.channel)
        rotation.PrepareIssuer(rotation_pb2.PrepareIssuerRequest(), timeout=SECONDS)
        distrusted = rotation_pb2.DistrustRequest(key_id=ca.authority.issuers()[1].key_id)
        registrations = ops.registrations
        made = ops.register("prod/a")
        ops.register("prod/b")
        deleted = registrations_pb2.DeleteRegistrationRequest(spiffe_id=made.spiffe_id)
        changed = change("prod/b")
        calls: list[Callable[[], object]] = [
            lambda: ops.revoke(serial=serial),
            lambda: ops.revoke(spiffe_id="spiffe://shop.internal/orders"),
            lambda: billing.revoke(own=True),
            lambda: registrations.DeleteRegistration(deleted, timeout=SECONDS),
            lambda: registrations.UpdateRegistration(changed, timeout=SECONDS),
            lambda: rotation.Distrust(distrusted, timeout=SECONDS),
        ]
        assert [seen.of(call) for call in calls] == [{Urgency.REVOCATION} for _ in calls]


def test_what_revokes_nothing_waits_with_the_registrars(
    ca: Served, tmp_path: Path, seen: Seen
) -> None:
    with asking(ca, tmp_path, "ops") as ops:
        registrations = ops.registrations
        deleted = registrations_pb2.DeleteRegistrationRequest(
            spiffe_id="spiffe://shop.internal/prod/a", keep_certificates=True
        )
        changed = change("prod/a", keep_certificates=True)
        confirmed = registrations_pb2.ConfirmRegistrationsRequest(next=True)
        calls: list[Callable[[], object]] = [
            lambda: ops.register("prod/a"),
            lambda: ops.token("prod/a"),
            lambda: ops.batch("prod/a"),
            lambda: registrations.ConfirmRegistrations(confirmed, timeout=SECONDS),
            lambda: registrations.UpdateRegistration(changed, timeout=SECONDS),
            lambda: registrations.DeleteRegistration(deleted, timeout=SECONDS),
        ]
        assert [seen.of(call) for call in calls] == [{Urgency.REGISTRAR} for _ in calls]
