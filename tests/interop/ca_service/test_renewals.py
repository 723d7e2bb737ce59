"""Renewals that are asked for at once, and what an agent says of two lines of one workload."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from pki.ca_client import CaIdentity
from pki.ca_client.identity_metrics import IdentityCollector
from pki.proofs import EnrollmentToken
from tests.ca_service import Served
from tests.interop.shop import eventually


def test_renewals_that_are_asked_for_at_once_are_no_theft(ca: Served, tmp_path: Path) -> None:
    token = EnrollmentToken.parse(ca.token("orders"))
    with (
        CaIdentity(tmp_path / "orders", token=token) as identity,
        ThreadPoolExecutor(4) as threads,
    ):
        for _ in range(3):
            before = identity.credential.leaf.serial_number
            for asked in [threads.submit(identity.renew_now) for _ in range(4)]:
                asked.result()
            assert identity.credential.leaf.serial_number != before
            # A renewal over a connection with the certificate before the last is tried again.
            assert eventually(lambda: "blocked" not in identity.problem)
    assert ca.authority.events() == ()


def test_two_lines_of_one_workload_are_told_apart(ca: Served, tmp_path: Path) -> None:
    tokens = [EnrollmentToken.parse(ca.token("orders")) for _ in range(2)]
    with (
        CaIdentity(tmp_path / "one", token=tokens[0]) as one,
        CaIdentity(tmp_path / "two", token=tokens[1]) as two,
    ):
        registry = CollectorRegistry()
        registry.register(IdentityCollector(lambda: [one, two], lambda: 0))
        lines = generate_latest(registry).decode().splitlines()
        for identity in (one, two):
            serial = f"{identity.credential.leaf.serial_number:x}"
            (line,) = [item for item in lines if f'serial="{serial}"' in item]
            assert f'directory="{identity.directory}"' in line
        names = [line.partition(" ")[0] for line in lines if not line.startswith("#")]
        assert len(set(names)) == len(names)
        assert "handfast_identity_recoveries_left" in " ".join(names), "said at the enrollment"
        # A failure is told, and then a success.
        assert one.last_failure is None
        one.renew_now()
        assert one.last_success is not None
