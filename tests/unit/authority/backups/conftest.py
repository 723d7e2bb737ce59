"""A CA that was backed up and used further, and what its receivers hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from pki.authority import Authority
from pki.authority.backups.restoring import Restored, restore_backup
from pki.authority.backups.resuming import Retirement
from pki.authority.recovery import RecoveryResult
from pki.x509 import CrlSet
from tests.support import Clock, make_authority


class Lost:
    """A CA that is backed up, goes on, and is then lost."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.file = folder / "ca.backup"
        self.home = folder / "again" / "ca"
        self.ca = make_authority(folder, self.clock)

    def back_up(self) -> None:
        self.ca.backup(self.file)
        self.clock.move(minutes=10)

    def held(self) -> CrlSet:
        return self.ca.trust()[1]

    def restore(self) -> Restored:
        self.ca.close()
        self.clock.move(minutes=1)
        return restore_backup(self.file, self.home, clock=self.clock)

    def recover(self, *held: CrlSet, retirement: Retirement | None = None) -> RecoveryResult:
        return Authority.recover(self.home, held, clock=self.clock, retirement=retirement)

    def open(self) -> Authority:
        return Authority.open(self.home, clock=self.clock)


@pytest.fixture
def lost(tmp_path: Path) -> Lost:
    return Lost(tmp_path)
