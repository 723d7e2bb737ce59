"""``revocations.pending``: what is revoked and not in the ledger yet, one line each.

Lines are appended where the file holds nothing but zeros, in space that was allocated before, so
that a full disk does not matter. A line counts once it is whole and its hash is right: what a crash
left of one is written over. The file is emptied once the ledger holds all of its lines.

Whoever can write here can replace the CA's keys and lists too: owner and mode are checked like the
ledger's.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pki.authority.pending.record import KnownRevocations, PendingRevocation
from pki.errors import PkiError, StateError, quote_untrusted
from pki.files import locked
from pki.files.access import check_folder_status, distrust_reason, trusted_owners
from pki.files.open_folder import PRIVATE, OpenFolder, opened_folder

PENDING = "revocations.pending"
KEPT = "revocations.kept"
"""What no ledger records: revocations under an issuing CA that an older ledger does not know."""
SPACE_BYTES = 64 * 1024
_MOST_BYTES = 64 * 1024 * 1024
_LOCK = ".revocations.lock"
_WAIT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Lines:
    """What the file holds: the records, where they end, and where anything but zeros ends."""

    records: tuple[PendingRevocation, ...]
    end: int
    filled: int
    error: PkiError | None

    def undamaged(self) -> _Lines:
        """Return it, or raise why it must not be written to."""
        if self.error is not None:
            raise self.error
        return self


class PendingFile:
    """The file in the CA's folder.

    Args:
        folder: the CA's.
        name: the file's.
    """

    def __init__(self, folder: Path, name: str = PENDING) -> None:
        self._folder = folder
        self._name = name

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self._folder / self._name

    def is_empty(self) -> bool:
        """Return whether nothing is pending; quick, because each decision of the CA asks.

        Raises:
            StateError: if it can't be read.
        """
        with self._reading() as descriptor:
            return descriptor is None or os.pread(descriptor, 1, 0) in {b"", b"\0"}

    def read(self) -> tuple[PendingRevocation, ...]:
        """Return what is pending, oldest first.

        Raises:
            StateError: if it can't be read, or another user may have written it.
        """
        return self.known().whole()

    def known(self) -> KnownRevocations:
        """Return what can be read of what is pending, and why that may not be all.

        A line that is whole counts, also before or behind one that is damaged. Of a file that
        another user may have written, nothing counts.
        """
        try:
            if self.is_empty():
                return KnownRevocations((), None)
            self._check()
            with self._reading() as descriptor:
                if descriptor is None:
                    return KnownRevocations((), None)
                parsed = self._parse(descriptor)
        except PkiError as error:
            return KnownRevocations((), error)
        return KnownRevocations(parsed.records, parsed.error)

    def append(self, record: PendingRevocation) -> None:
        """Append a revocation; it is on disk when this returns.

        Raises:
            StateError: if it can't be written.
        """
        self._check()
        with self._writing() as descriptor:
            lines, line = self._parse(descriptor).undamaged(), record.to_line()
            # Zeros over what an interrupted writer left behind.
            line += b"\0" * max(0, lines.filled - lines.end - len(line))
            if os.pwrite(descriptor, line, lines.end) != len(line):
                raise StateError(f"{quote_untrusted(self.path)} could not be written whole")
            os.fsync(descriptor)

    def empty(self, recorded: Collection[str]) -> bool:
        """Empty the file if the ledger holds all of it; return whether it is empty now.

        Args:
            recorded: the ids of the revocations that are in the ledger.

        Raises:
            StateError: if it can't be emptied: then what it holds is recorded once more.
        """
        self._check()
        with self._writing() as descriptor:
            records = self._parse(descriptor).undamaged().records
            if not {item.id for item in records} <= set(recorded):
                return False
            os.ftruncate(descriptor, 0)
            self._allocate(descriptor)
            os.fsync(descriptor)
        return True

    def prepare(self) -> None:
        """Make the file, with space for what may come, if it can be made."""
        with suppress(PkiError):
            with self._reading() as descriptor:
                if descriptor is not None and os.fstat(descriptor).st_size >= SPACE_BYTES:
                    return
            with self._writing() as descriptor:
                if os.fstat(descriptor).st_size < SPACE_BYTES:
                    self._allocate(descriptor)
                    os.fsync(descriptor)

    @staticmethod
    def _allocate(descriptor: int) -> None:
        try:
            os.posix_fallocate(descriptor, 0, SPACE_BYTES)
        except OSError:
            # Without the space, a line is written where there is some.
            size = os.fstat(descriptor).st_size
            os.ftruncate(descriptor, min(size, SPACE_BYTES))

    def _parse(self, descriptor: int) -> _Lines:
        size = os.fstat(descriptor).st_size
        if size > _MOST_BYTES:
            raise StateError(f"{quote_untrusted(self.path)} has {size} bytes: that is damage")
        data = os.pread(descriptor, size, 0).rstrip(b"\0")
        records: list[PendingRevocation] = []
        end, is_whole = 0, True
        error: PkiError | None = None
        for line in data.splitlines(keepends=True):
            try:
                record = PendingRevocation.parse(line)
            except StateError as unknown:
                error = unknown
                continue
            if record is None:
                is_whole = False
                continue
            records.append(record)
            end += len(line)
            if not is_whole:
                # A writer stops within its own line, which is the last one.
                error = StateError(
                    f"{quote_untrusted(self.path)} is damaged: a line before the last is not whole",
                    remedy="Find out who changed it; revoke again what it was to revoke, and then "
                    "move it away",
                )
        return _Lines(tuple(records), end, len(data), error)

    def _check(self) -> None:
        """Check that no untrusted user can write the file or the folder.

        Raises:
            StateError: if one can.
        """
        with opened_folder(self._folder) as folder:
            check_folder_status(folder.path, folder.status())
            status = folder.status_of(self._name)
            owners = trusted_owners(folder.status())
        why = distrust_reason(status, owners) if status is not None else ""
        if why:
            raise StateError(
                f"{quote_untrusted(self.path)} {why}",
                remedy="Find out who changed it; then give it to the CA's user, with mode 0600",
            )

    @contextmanager
    def _reading(self) -> Iterator[int | None]:
        try:
            with opened_folder(self._folder) as folder:
                try:
                    descriptor = self._open(folder, os.O_RDONLY)
                except FileNotFoundError:
                    yield None
                    return
                try:
                    yield descriptor
                finally:
                    os.close(descriptor)
        except OSError as error:
            raise self._failure("read", error) from error

    @contextmanager
    def _writing(self) -> Iterator[int]:
        try:
            with (
                locked(self._folder, name=_LOCK, wait_seconds=_WAIT_SECONDS),
                opened_folder(self._folder) as folder,
            ):
                is_new = folder.status_of(self._name) is None
                owner = folder.owner_for(self._name)
                descriptor = self._open(folder, os.O_RDWR | os.O_CREAT)
                try:
                    if is_new:
                        if owner != (os.geteuid(), os.getegid()):
                            os.fchown(descriptor, *owner)
                        folder.sync()
                    yield descriptor
                finally:
                    os.close(descriptor)
        except PkiError:
            raise
        except OSError as error:
            raise self._failure("written", error) from error

    def _open(self, folder: OpenFolder, flags: int) -> int:
        flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(self._name, flags, PRIVATE, dir_fd=folder.descriptor)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            os.close(descriptor)
            raise StateError(f"{quote_untrusted(self.path)} is no file of its own")
        return descriptor

    def _failure(self, verb: str, error: OSError) -> StateError:
        return StateError(
            f"{quote_untrusted(self.path)} can't be {verb}: {error.strerror or error}",
            remedy="Check the disk and who may write to the folder",
        )
