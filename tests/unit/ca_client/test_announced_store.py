"""Announcements are kept until a list holds them: after restarts, over damage, not for ever."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.ca_client.bundles import Anchor
from pki.ca_client.held_trust import HeldTrust
from pki.ca_client.storage import announced_store
from pki.ca_client.storage.announced_store import ANNOUNCED, AnnouncedStore, still_needed
from pki.ca_client.storage.ca_state import CaState
from pki.ca_client.storage.identity_store import IdentityStore, Stored
from pki.errors import InputError
from pki.x509 import CrlSet
from pki.x509.revocation import Announced, IssuerId
from tests.support import NOW, Clock, make_authority

END = int((NOW + timedelta(hours=1)).timestamp())
ONE: Announced = (b"\x01" * 20, 0xAB12)


def test_what_was_saved_is_read_again(tmp_path: Path) -> None:
    store = AnnouncedStore(tmp_path)
    assert store.load() == {}
    store.save({ONE: END})
    assert AnnouncedStore(tmp_path).load() == {ONE: END}
    assert stat.S_IMODE((tmp_path / ANNOUNCED).stat().st_mode) == 0o600
    store.save({})
    assert not (tmp_path / ANNOUNCED).exists()


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"version": 2, "announced": []}', '{"version": 1, "announced": [["zz"]]}'],
)
def test_a_damaged_file_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / ANNOUNCED).write_text(text)
    with pytest.raises(InputError, match="damaged"):
        AnnouncedStore(tmp_path).load()


def test_of_too_many_those_are_kept_that_end_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announced_store, "_MOST", 2)
    AnnouncedStore(tmp_path).save({(b"", number): number for number in range(1, 5)})
    assert set(AnnouncedStore(tmp_path).load().values()) == {3, 4}


def test_one_is_needed_until_a_list_holds_it_or_a_day_after_its_end() -> None:
    unlisted = frozenset({ONE})
    assert still_needed({ONE: END}, unlisted, now=NOW) == {ONE: END}
    assert still_needed({ONE: END}, frozenset(), now=NOW) == {}
    after = NOW + timedelta(hours=1, days=1)
    assert still_needed({ONE: END}, unlisted, now=after) == {ONE: END}
    assert still_needed({ONE: END}, unlisted, now=after + timedelta(seconds=1)) == {}


class Kept:
    """A directory with an identity, whose trust is read and read again."""

    def __init__(self, folder: Path, ca: Authority) -> None:
        self.folder, self.ca = folder, ca
        self.issued = ca.issue("server")
        self.issued.save(folder)
        self.running: HeldTrust | None = None

    def start(self) -> HeldTrust:
        """Begin with what the directory holds, once it holds what is known so far."""
        if self.running is not None:
            self.running.stop()
        store = IdentityStore(self.folder)
        stored = Stored(
            self.issued.credential,
            self.issued.spiffe_id,
            CaState("", "", "", 0, 0),
            Anchor(self.ca.trust_domain, roots=self.issued.bundle.all_roots()),
            AnnouncedStore(self.folder).load(),
        )
        self.running = HeldTrust(store, stored, Clock(), lambda: None)
        self.running.start()
        return self.running


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[Authority]:
    with make_authority(tmp_path) as authority:
        yield authority


def test_it_counts_after_a_restart_until_the_list_comes(tmp_path: Path, ca: Authority) -> None:
    kept = Kept(tmp_path / "server", ca)
    peer = ca.issue("peer")
    one = (IssuerId.of_ca(peer.chain[1]).key_id, peer.leaf.serial_number)
    kept.start().accept(CrlSet.none(), {one: END})
    again = kept.start()
    assert again.lists.announced == {one}
    # Another list, that lacks it, is no pardon.
    ca.refresh_crls(force=True)
    again.accept(ca.trust()[1])
    assert kept.start().lists.announced == {one}
    ca.revoke(peer.leaf.serial_number)
    last = kept.start()
    last.accept(ca.trust()[1])
    last.stop()
    assert last.lists.announced == frozenset()
    assert not (tmp_path / "server" / ANNOUNCED).exists()


def test_it_counts_at_once_even_if_it_can_not_be_kept(tmp_path: Path, ca: Authority) -> None:
    trust = Kept(tmp_path / "server", ca).start()
    (tmp_path / "server" / ANNOUNCED).mkdir()
    trust.accept(CrlSet.none(), {ONE: END})
    assert trust.lists.announced == {ONE}
    trust.stop()
