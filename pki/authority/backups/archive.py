"""The file of a backup: a zip archive with a manifest, whose parts are verified before any use.

Every tool that knows zip archives can list and unpack it. A part is read only up to the size that
the manifest names, so that a few bytes never unpack to more than was announced.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, BinaryIO

from pki.authority.backups.manifest import Manifest, Part
from pki.errors import InputError, StateError, quote_untrusted
from pki.files.open_folder import PRIVATE

MANIFEST = "manifest.json"
_MAX_MANIFEST_BYTES = 1024 * 1024
_CHUNK = 1024 * 1024
_QUICK = 1  # most of it are certificates and hashes, which no effort makes small
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


class PartWriter:
    """Writes one part, and computes its hash."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._size = 0

    def write(self, data: bytes) -> None:
        """Append to the part."""
        self._file.write(data)
        self._hash.update(data)
        self._size += len(data)

    def to_part(self, name: str) -> Part:
        """Return what the manifest says of it."""
        return Part(name, self._size, self._hash.hexdigest())


class ArchiveWriter:
    """Writes a backup, part after part, and the manifest at the end.

    Args:
        file: what it is written to.
        made_at: the time of its parts.
    """

    def __init__(self, file: BinaryIO, made_at: datetime) -> None:
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=_QUICK)
        self._made_at = made_at
        self.parts: list[Part] = []

    @contextmanager
    def part(self, name: str) -> Iterator[PartWriter]:
        """Write a part in a block."""
        with self._zip.open(self._info(name), "w", force_zip64=True) as file:
            writer = PartWriter(file)
            yield writer
        self.parts.append(writer.to_part(name))

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest; nothing can be added then."""
        self._zip.writestr(self._info(MANIFEST), manifest.encode())
        self._zip.close()

    def _info(self, name: str) -> zipfile.ZipInfo:
        info = zipfile.ZipInfo(name, self._made_at.timetuple()[:6])
        info.external_attr = PRIVATE << 16
        info.compress_type = zipfile.ZIP_DEFLATED
        return info


class ArchiveReader:
    """A backup that is read. Make one with :func:`opened_archive`."""

    def __init__(self, archive: zipfile.ZipFile, manifest: Manifest) -> None:
        self._zip = archive
        self.manifest = manifest

    def verify(self) -> None:
        """Verify the size and the hash of each part.

        Raises:
            InputError: if one is not as the manifest says.
        """
        for part in self.manifest.parts:
            digest, size = hashlib.sha256(), 0
            with self._opened(part) as file:
                while data := file.read(_CHUNK):
                    digest.update(data)
                    size += len(data)
                    if size > part.size:
                        break
            if (size, digest.hexdigest()) != (part.size, part.sha256):
                raise _damaged(f"its part {part.name} is not the one of its manifest")

    def read(self, part: Part) -> bytes:
        """Return the content of a part that was verified."""
        with self._opened(part) as file:
            return file.read(part.size)

    def lines(self, part: Part) -> Iterator[bytes]:
        """Yield the lines of a part that was verified."""
        with self._opened(part) as file:
            yield from file

    @contextmanager
    def _opened(self, part: Part) -> Iterator[IO[bytes]]:
        try:
            with self._zip.open(part.name) as file:
                yield file
        except _DAMAGED as error:
            raise _damaged(f"its part {part.name} can't be unpacked") from error


@contextmanager
def opened_archive(path: Path) -> Iterator[ArchiveReader]:
    """Open a backup, and verify all of it.

    Raises:
        StateError: if the file can't be read.
        InputError: if it is no backup, or is damaged.
    """
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise StateError(f"{quote_untrusted(path)} is not there") from None
    except OSError as error:
        raise StateError(f"{quote_untrusted(path)} can't be read: {error.strerror}") from error
    except _DAMAGED as error:
        raise _damaged("it is no zip archive, or not a whole one") from error
    with archive:
        reader = ArchiveReader(archive, _read_manifest(archive))
        reader.verify()
        yield reader


def _read_manifest(archive: zipfile.ZipFile) -> Manifest:
    names = archive.namelist()
    try:
        with archive.open(MANIFEST) as file:
            data = file.read(_MAX_MANIFEST_BYTES + 1)
    except (KeyError, *_DAMAGED):
        raise _damaged("it holds no manifest that can be read") from None
    if len(data) > _MAX_MANIFEST_BYTES:
        raise _damaged("its manifest is too large")
    manifest = Manifest.read(data)
    if sorted(names) != sorted([MANIFEST, *(part.name for part in manifest.parts)]):
        raise _damaged("it holds other parts than its manifest names")
    return manifest


def _damaged(why: str) -> InputError:
    return InputError(
        f"the backup can't be used: {why}", remedy="Nothing was changed; use another backup"
    )
