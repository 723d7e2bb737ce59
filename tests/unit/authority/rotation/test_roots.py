"""Replacing a root: each step in its turn, and a CA that goes on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.authority.ledger import IssuerStatus
from pki.authority.rotation.root import make_root
from pki.errors import InputError, NotPermittedError, StateError
from pki.identity import TrustDomain
from pki.keys import generate_key
from pki.x509.bundle_chain import follow
from tests.rotating import accepts, serial, spiffe, statuses
from tests.support import NOW, Clock, make_authority

YEARS = timedelta(days=3650)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ca(tmp_path: Path, clock: Clock) -> Iterator[Authority]:
    with make_authority(tmp_path, clock) as made:
        yield made


def test_a_root_is_replaced_and_every_step_is_a_link_of_one_chain(
    ca: Authority, clock: Clock
) -> None:
    old = ca.issue("orders")
    old_trust = ca.trust()
    (first,) = ca.bundles()
    ca.prepare_root()
    both = ca.trust()
    assert len(both[0].all_roots()) == 2
    assert accepts(both, old, ca)
    # What is issued meanwhile hangs on the old root, so nobody needs the new one yet.
    assert accepts(old_trust, ca.issue("audit"), ca)
    ca.report_trust([(spiffe("orders"), serial(old))], 2)
    root, stranded = ca.activate_root()
    assert (root.status, stranded) == (IssuerStatus.ACTIVE, ())
    new = ca.issue("payments")
    assert accepts(both, new, ca)
    assert not accepts(old_trust, new, ca)
    assert accepts(ca.trust(), old, ca)
    clock.move(hours=2)
    request, hanging = ca.withdraw_root()
    assert (request, hanging) == (None, ())
    last = ca.trust()
    newer = ca.issue("payments")
    assert accepts(last, newer, ca)
    assert last[0].all_roots() == (root.certificate,)
    # Two CRLs: those of the old root and its issuing CA are published no longer.
    assert len(last[1].crls) == 2
    assert follow(first, ca.bundles(since=1), now=ca.now()).content.roots == (root.certificate,)
    assert [item.number for item in ca.bundles(since=1, most=1)] == [2]
    assert statuses(ca) == [
        ("root", "withdrawn"),
        ("issuing", "withdrawn"),
        ("root", "active"),
        ("issuing", "active"),
    ]


def test_after_a_rotation_everything_else_works_under_the_new_root(
    ca: Authority, clock: Clock, tmp_path: Path
) -> None:
    ca.prepare_root()
    root, _ = ca.activate_root()
    ca.withdraw_root()
    record = ca.rotate()
    assert record.certificate.issuer == root.certificate.subject
    issued = ca.issue("orders")
    (revoked,) = ca.revoke(issued.leaf.serial_number)
    assert revoked.issuer_id == record.id
    assert not accepts(ca.trust(), issued, ca)
    ca.refresh_crls(force=True)
    (tmp_path / "ca" / f"root-{root.key_id}.key.pem").unlink()
    ca.distrust(record.key_id)
    with Authority.open(tmp_path / "ca", clock=clock) as again:
        assert again.trust()[0].all_roots() == (root.certificate,)


def test_the_key_of_a_withdrawn_root_and_of_its_issuing_cas_may_be_destroyed(
    ca: Authority, tmp_path: Path
) -> None:
    old = ca.issue("orders")
    _, old_issuing = ca.issuers()
    ca.report_trust([], 1)
    ca.prepare_root()
    ca.activate_root(force=True)
    ca.withdraw_root(force=True)
    (tmp_path / "ca" / "root.key.pem").unlink()
    (tmp_path / "ca" / f"issuing-{old_issuing.key_id}.key.pem").unlink()
    assert ca.refresh_crls(force=True) == 1
    ca.revoke(old.leaf.serial_number)
    renewed = ca.issue("orders")
    assert accepts(ca.trust(), renewed, ca)
    assert Authority.recover(tmp_path / "ca", clock=Clock()).was_older is False


# Steps out of order


@pytest.mark.parametrize(
    ("steps", "step", "what", "first"),
    [
        ((), "activate_root", "none is prepared", "handfast ca root prepare"),
        ((), "withdraw_root", "none is prepared", "handfast ca root prepare"),
        (("prepare_root",), "prepare_root", "is prepared already", "handfast ca root activate"),
        (("prepare_root",), "withdraw_root", "only prepared", "handfast ca root activate"),
        (
            ("prepare_root", "activate_root"),
            "activate_root",
            "none is prepared",
            "handfast ca root prepare",
        ),
        (
            ("prepare_root", "activate_root"),
            "prepare_root",
            "is still trusted",
            "handfast ca root withdraw",
        ),
    ],
)
def test_a_step_out_of_order_is_refused_with_what_comes_first(
    ca: Authority, steps: tuple[str, ...], step: str, what: str, first: str
) -> None:
    for earlier in steps:
        getattr(ca, earlier)()
    before = statuses(ca), len(ca.bundles())
    with pytest.raises(StateError, match=what) as caught:
        getattr(ca, step)()
    assert first in caught.value.remedy
    assert (statuses(ca), len(ca.bundles())) == before


def test_a_prepared_root_can_be_given_up(ca: Authority) -> None:
    old = ca.issue("orders")
    ca.prepare_root()
    prepared = ca.issuers()[2]
    assert ca.withdraw_root(prepared.key_id[:8]) == (None, ())
    assert accepts(ca.trust(), old, ca)
    assert accepts(ca.trust(), ca.issue("payments"), ca)
    assert len(ca.trust()[0].all_roots()) == 1
    ca.prepare_root()
    ca.activate_root(force=True)


def test_the_active_root_and_one_that_is_not_there_are_not_withdrawn(ca: Authority) -> None:
    with pytest.raises(StateError, match="is the active one"):
        ca.withdraw_root(ca.issuers()[0].key_id)
    for wrong in ("", "zz", ca.issuers()[1].key_id):
        with pytest.raises(InputError, match="names no"):
            ca.withdraw_root(wrong)


# What a new root must be


def test_a_root_that_cannot_take_the_place_of_the_old_one_is_refused(
    ca: Authority, clock: Clock
) -> None:
    key = generate_key()

    def root(
        domain: str = "shop.internal", at: timedelta = timedelta(0), key: object = key
    ) -> object:
        return make_root(
            TrustDomain(domain),
            key,  # type: ignore[arg-type]
            lifetime=YEARS,
            issuing_lifetime=timedelta(days=365),
            backdate=timedelta(minutes=1),
            now=NOW + at,
        )

    leaf = ca.issue("orders")
    assert leaf.key is not None
    present = ca.issuers()
    refused: list[object] = [
        root("bank.internal"),
        root(at=timedelta(days=1)),
        root(at=-YEARS),
        root(at=timedelta(days=100) - YEARS),
        root(key=leaf.key),
        present[0].certificate,
        present[1].certificate,
        leaf.leaf,
    ]
    for certificate in refused:
        with pytest.raises((InputError, StateError, NotPermittedError)):
            ca.prepare_root(certificate)  # type: ignore[arg-type]
    assert ca.issuers() == present
    assert len(list((ca.path).glob("issuing-*.key.pem"))) == 1
