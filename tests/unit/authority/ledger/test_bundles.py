"""Bundles, reports and several roots in the ledger, and a ledger from before there were any."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.authority.ledger import IssuerStatus, TrustReport
from pki.authority.ledger.hierarchy import active_root, root_of, trusted_roots
from pki.errors import LedgerError
from tests.older_ledger import make_older
from tests.support import NOW, Clock, make_authority


def before_bundles(home: Path) -> None:
    """Make the ledger one of a handfast without signed bundles and audit log."""
    make_older(home, "0002")
    for name in ("audit.key.pem", "audit.checkpoint", "audit.vkey"):
        (home / name).unlink()


@pytest.mark.sqlite
def test_a_ledger_from_before_bundles_keeps_its_lists_that_were_signed_ahead(
    tmp_path: Path,
) -> None:
    with make_authority(tmp_path) as ca:
        ca.rotate()
        orders = ca.issue("orders")
    home = tmp_path / "ca"
    before_bundles(home)
    (home / "root.key.pem").unlink()
    with Authority.open(home, clock=Clock()) as ca:
        assert ca.bundles() == ()
        assert ca.bundle_number() == 0
        assert ca.renew(orders.leaf).leaf.issuer == orders.leaf.issuer
        ca.distrust(ca.issuers()[1].key_id)
        assert ca.issuers()[1].status is IssuerStatus.DISTRUSTED


@pytest.mark.sqlite
def test_a_ledger_from_before_bundles_goes_through_a_root_rotation(tmp_path: Path) -> None:
    clock = Clock()
    with make_authority(tmp_path, clock) as ca:
        orders = ca.issue("orders")
    before_bundles(tmp_path / "ca")
    with Authority.open(tmp_path / "ca", clock=clock) as ca:
        ca.prepare_root()
        (first,) = ca.bundles()
        assert len(first.content.roots) == 2
        # It was issued before any bundle, so nobody knows what its holder trusts.
        (holder,) = ca.rotation_status().holders
        assert (holder.certificate.certificate, holder.bundle_number) == (orders.leaf, 0)
        clock.move(hours=1, seconds=1)
        ca.activate_root()
        ca.withdraw_root()
        assert [item.number for item in ca.bundles()] == [1, 2]


def test_a_bundle_that_is_not_the_next_one_is_not_recorded(tmp_path: Path) -> None:
    with make_authority(tmp_path) as ca:
        (first,) = ca.bundles()
        with pytest.raises(LedgerError, match="is not the next one"):
            with ca._context.ledger.transaction() as transaction:
                transaction.rotation.add_bundle(first, now=NOW)


def test_reports_of_certificates_that_have_ended_are_forgotten(tmp_path: Path) -> None:
    with make_authority(tmp_path) as ca, ca._context.ledger.transaction() as transaction:
        for days, serial in ((0, "a"), (1, "b"), (4, "c"), (4, "c")):
            report = TrustReport(serial, "spiffe://shop.internal/x", 1, NOW + timedelta(days=days))
            transaction.rotation.put_report(report)
        assert [item.serial for item in transaction.rotation.reports()] == ["c"]


def test_each_issuing_ca_has_its_root_and_one_root_is_active(tmp_path: Path) -> None:
    with make_authority(tmp_path) as ca:
        ca.prepare_root()
        old, issuing, new, other = ca.issuers()
        assert root_of(issuing, ca.issuers()) == old
        assert root_of(other, ca.issuers()) == new
        assert root_of(new, ca.issuers()) == new
        assert trusted_roots(ca.issuers()) == (old, new)
        assert active_root(ca.issuers()) == old
        for wrong in ((), (issuing,), (new,)):
            with pytest.raises(LedgerError):
                active_root(wrong)
        with pytest.raises(LedgerError):
            root_of(issuing, (new, other))
