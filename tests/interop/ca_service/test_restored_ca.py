"""A CA that is backed up while it serves, lost, and restored: its followers, and its witnesses."""

from __future__ import annotations

from pathlib import Path

import pytest

from pki.authority import Authority
from pki.authority.backups.restoring import restore_backup
from pki.authority.enrollment.confirming import confirm_registrations
from pki.ca_client import CaIdentity
from pki.ca_client.storage.witness_store import CHECKPOINT, DISPUTED, REPLACED
from pki.clock import system_clock
from pki.errors import RestoredLedgerError
from pki.proofs import EnrollmentToken
from pki.x509 import CrlSet
from tests.ca_service import OPERATOR, served_ca
from tests.interop.shop import eventually, free_port


def test_followers_refuse_what_was_revoked_and_alarm_about_the_log_until_a_root_acknowledges_it(
    tmp_path: Path,
) -> None:
    old, new, ports = tmp_path / "old", tmp_path / "new", (free_port(), free_port())
    old.mkdir()
    backup, agent = tmp_path / "ca.backup", tmp_path / "orders"
    with served_ca(old, ports=ports) as ca:
        victim = ca.authority.issue("victim")
        token = EnrollmentToken.parse(ca.token("orders"))
        with CaIdentity(agent, token=token) as orders:
            ca.authority.backup(backup)
            ca.authority.revoke(victim.leaf.serial_number)
            serial = victim.leaf.serial_number
            lists = agent / "crl.pem"
            assert eventually(lambda: serial in _revoked(lists))
            orders.log_witness.look()
            assert orders.log_witness.problem == ""
    kept = (agent / CHECKPOINT).read_bytes()

    restored = restore_backup(backup, new / "ca", clock=system_clock)
    with pytest.raises(RestoredLedgerError), served_ca(new, ports=ports):
        pass
    result = Authority.recover(new / "ca", [CrlSet.read(lists.read_bytes())])
    assert result.resumption is not None
    assert result.resumption.is_done

    with served_ca(new, ports=ports) as ca, CaIdentity(agent) as orders:
        confirm_registrations(ca.authority.context, OPERATOR, None)
        number = _number(lists)
        ca.authority.refresh_crls(force=True)
        assert eventually(lambda: _number(lists) > number)
        assert serial in _revoked(lists)
        orders.log_witness.look()
        assert "restored from a backup" in orders.log_witness.problem
        assert (agent / CHECKPOINT).read_bytes() == kept
        assert (agent / DISPUTED).read_bytes().startswith(restored.origin.encode())
        # A later restart does not forget it.
        orders.log_witness.look()
        assert orders.log_witness.problem != ""

        ca.authority.acknowledge_restored_log()
        bundles = len(ca.authority.bundles())
        assert eventually(lambda: orders.bundle_number == bundles)
        orders.log_witness.look()
        assert orders.log_witness.problem == ""
        assert orders.log_witness.size > 0
        assert not (agent / DISPUTED).exists()
        assert (agent / REPLACED).read_bytes() == kept
        assert (agent / CHECKPOINT).read_bytes().startswith(restored.origin.encode())


def _number(path: Path) -> int:
    return max(item.number for item in CrlSet.read(path.read_bytes()).crls.values())


def _revoked(path: Path) -> set[int]:
    crls = CrlSet.read(path.read_bytes())
    return {serial for item in crls.crls.values() for serial in item.revoked}
