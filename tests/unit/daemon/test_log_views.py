"""What witnesses are shown is made once for those that ask at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pki.authority import Authority
from pki.daemon import log_views
from pki.daemon.log_views import LogViews, log_key_of
from pki.transparency import consistency_proof, open_checkpoint, verify_consistency
from tests.support import make_authority


class Bench:
    """The views of a CA, with a clock of their own, and the number of proofs that were made."""

    def __init__(self, ca: Authority) -> None:
        self.ca = ca
        self.seconds = 100.0
        self.views = LogViews(ca.context, lambda: self.seconds)

    def size(self, since: int = 0) -> int:
        """Return how many entries the checkpoint has that is shown."""
        with self.ca.context.ledger.snapshot() as transaction:
            key = log_key_of(transaction)
        return open_checkpoint(self.views.view(since, ()).note, [key]).checkpoint.size


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with make_authority(tmp_path) as ca:
        ca.issue("orders")
        yield Bench(ca)


@pytest.fixture
def proofs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    made: list[int] = []
    original = consistency_proof

    def proof(*args: Any, old_size: int, new_size: int) -> Any:
        made.append(old_size)
        return original(*args, old_size=old_size, new_size=new_size)

    monkeypatch.setattr(log_views, "consistency_proof", proof)
    return made


def test_a_proof_is_made_once_for_all_that_have_seen_as_much(
    bench: Bench, proofs: list[int]
) -> None:
    shown = [bench.views.view(2, ()) for _ in range(10)]
    assert len({(view.note, view.consistency) for view in shown}) == 1
    assert proofs == [2]


def test_within_a_second_all_are_shown_the_same_though_the_log_grows(bench: Bench) -> None:
    before = bench.size()
    bench.ca.issue("stock")
    assert bench.size() == before
    bench.seconds += 1.0
    assert bench.size() > before


def test_who_has_seen_as_much_is_shown_the_newest_at_once(bench: Bench) -> None:
    before = bench.size()
    bench.ca.issue("stock")
    after = bench.size(since=before)
    assert after > before
    assert bench.size() == after, "and so is everybody from then on"


def test_the_proof_leads_to_the_checkpoint_that_is_shown(bench: Bench) -> None:
    with bench.ca.context.ledger.snapshot() as transaction:
        key = log_key_of(transaction)
    old = open_checkpoint(bench.views.view(0, ()).note, [key]).checkpoint
    bench.ca.issue("stock")
    bench.seconds += 1.0
    view = bench.views.view(old.size, ())
    new = open_checkpoint(view.note, [key]).checkpoint
    verify_consistency(
        old_size=old.size,
        old_root=old.root,
        new_size=new.size,
        new_root=new.root,
        proof=view.consistency,
    )


def test_who_has_seen_more_than_there_is_gets_no_proof(bench: Bench) -> None:
    assert bench.views.view(10_000, ()).consistency == ()


def test_no_more_proofs_are_kept_than_many_share(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_views, "_MOST_PROOFS", 2)
    size = bench.size()
    for since in range(size):
        bench.views.view(since, ())
    assert bench.views._shown is not None
    assert len(bench.views._shown.proofs) == 2
