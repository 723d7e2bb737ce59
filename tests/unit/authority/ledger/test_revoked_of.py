"""What an issuer's revocation list is made from."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from cryptography import x509

from pki.authority import Authority
from pki.authority.ledger import IssuerKind
from pki.x509.revocation import IssuerId
from tests.support import make_authority

pytestmark = pytest.mark.sqlite


def listed(ca: Authority) -> dict[int, x509.RevokedCertificate]:
    """Return the entries of the issuing CA's list, by serial number."""
    issuing = next(item for item in ca.issuers() if item.kind is IssuerKind.ISSUING)
    _, crls = ca.trust()
    return {item.serial_number: item for item in crls.crls[IssuerId.of_ca(issuing.certificate)].crl}


def test_a_revocation_whose_reason_is_missing_is_listed_all_the_same(tmp_path: Path) -> None:
    with make_authority(tmp_path) as ca:
        leaf = ca.issue("orders").leaf
        ca.revoke(leaf.serial_number)
    with sqlite3.connect(tmp_path / "ca" / "ledger.db") as ledger:
        ledger.execute("UPDATE certificates SET reason = NULL WHERE revoked_at IS NOT NULL")
    with Authority.open(tmp_path / "ca") as ca:
        ca.refresh_crls(force=True)
        assert not list(listed(ca)[leaf.serial_number].extensions)


def test_certificates_that_are_not_revoked_cost_a_list_nothing(tmp_path: Path) -> None:
    with make_authority(tmp_path) as ca:
        ca.issue("orders")
    with sqlite3.connect(tmp_path / "ca" / "ledger.db") as ledger:
        plan = ledger.execute(
            "EXPLAIN QUERY PLAN SELECT serial, revoked_at, reason FROM certificates WHERE "
            "issuer_id = 2 AND revoked_at IS NOT NULL AND not_after >= 1 ORDER BY id"
        ).fetchall()
    assert any("certificates_revoked" in row[-1] for row in plan), plan
