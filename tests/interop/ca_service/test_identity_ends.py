"""An identity that ends, or never began, leaves nothing behind and takes nothing from others."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from pki.ca_client import CaIdentity
from pki.ca_client.log_witness import LogWitness
from pki.ca_client.trust_follower import TrustFollower
from pki.credentials.periodic import PeriodicTask
from tests.ca_service import Served
from tests.interop.ca_service.test_followers import enrolled
from tests.interop.shop import eventually


def own_threads() -> set[str]:
    names = ("handfast-trust", "handfast-identity", "handfast-witness")
    return {item.name for item in threading.enumerate() if item.name.startswith(names)}


@pytest.mark.parametrize("part", [PeriodicTask, TrustFollower, LogWitness])
def test_who_cant_start_its_threads_keeps_none_and_frees_the_directory(
    ca: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: type
) -> None:
    with enrolled(ca, tmp_path / "orders"):
        pass

    def fail(_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(part, "start", fail)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            CaIdentity(tmp_path / "orders")
    assert eventually(lambda: not own_threads())
    with CaIdentity(tmp_path / "orders") as identity:
        assert identity.problem == ""


def test_closing_twice_closes_no_descriptor_of_others(ca: Served, tmp_path: Path) -> None:
    with enrolled(ca, tmp_path / "orders") as identity:
        identity.close()
        # The lowest numbers that are free, so also that of the lock.
        others = [os.open(os.devnull, os.O_RDONLY) for _ in range(64)]
    for descriptor in others:
        os.close(descriptor)
