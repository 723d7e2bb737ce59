"""Several processes write to one audit log at once: one tree, and one checkpoint over all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.transparency import VerifierKey, Witness, consistency_proof

HANDFAST = Path(sys.executable).with_name("handfast")
COMMANDS = (["issue", "orders"], ["issue", "payments"], ["issue", "billing"], ["crl", "--force"])


@pytest.fixture
def state(tmp_path: Path) -> Path:
    Authority.create(tmp_path / "ca", "shop.internal").close()
    return tmp_path


def test_no_decision_is_lost_and_the_last_checkpoint_covers_all(state: Path) -> None:
    home = state / "ca"
    key = VerifierKey.parse((home / "audit.vkey").read_text().strip())
    witness = Witness(key).accept((home / "audit.checkpoint").read_bytes(), ())
    processes = [
        subprocess.Popen(
            [HANDFAST, *command, "--dir", str(state)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command in COMMANDS
    ]
    errors = [process.communicate(timeout=100)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(COMMANDS), errors
    with Authority.open(home, read_only=True) as ca:
        result = ca.verify_audit_log()
        assert (result.size, result.findings, result.notes) == (6, (), ())
        with ca._context.ledger.snapshot() as transaction:
            proof = consistency_proof(transaction.audit, old_size=witness.size, new_size=6)
    assert witness.accept((home / "audit.checkpoint").read_bytes(), proof).size == 6
