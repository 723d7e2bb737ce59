"""Tiles: how a log is cut into files that never change (C2SP tlog-tiles).

A tile holds up to 256 hashes of one level. Level 0 holds the hashes of the entries, and each higher
level holds the root of each full tile below. An entry bundle holds the entries of one tile of level
0. The last tile of a level may be partial; its width is part of its name.

A log may be pruned: it has a minimum index, and what ends at or below it may be missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pki.errors import quote_untrusted
from pki.transparency.errors import TransparencyFormatError
from pki.transparency.merkle import HASH_BYTES, MAX_SIZE

TILE_WIDTH = 256
TILE_HEIGHT = 8
MAX_ENTRY_BYTES = 0xFFFF
_MAX_LEVEL = 7  # 256 ** 8 entries are more than MAX_SIZE
_PATH = re.compile(
    r"tile/(?P<level>entries|[0-7])/(?P<index>(?:x[0-9]{3}/)*[0-9]{3})"
    r"(?:\.p/(?P<width>[1-9][0-9]{0,2}))?",
    re.ASCII,
)
_MAX_PATH = 64


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile, or an entry bundle, by its place in the log.

    Args:
        level: of the hashes; None for an entry bundle.
        index: within the level.
        width: how many hashes or entries it holds: 256, or fewer in a partial tile.
    """

    level: int | None
    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        """Check that a log can have such a tile."""
        if not (
            (self.level is None or 0 <= self.level <= _MAX_LEVEL)
            and 1 <= self.width <= TILE_WIDTH
            and self.index >= 0
            and self.start + (self.width - 1) * self._entries_of_one < MAX_SIZE
        ):
            raise TransparencyFormatError(f"no log has {self}")

    @classmethod
    def parse(cls, path: str) -> Tile:
        """Parse a path such as ``tile/0/x001/234`` or ``tile/entries/000.p/7``.

        Raises:
            TransparencyFormatError: if it is not exactly the path of a tile.
        """
        parts = _PATH.fullmatch(path) if len(path) <= _MAX_PATH else None
        if parts is not None:
            level = None if parts["level"] == "entries" else int(parts["level"])
            index = int(parts["index"].replace("x", "").replace("/", ""))
            width = int(parts["width"] or TILE_WIDTH)
            tile = cls(level, index, width)
            if tile.path == path:
                return tile
        raise TransparencyFormatError(f"{quote_untrusted(path)} is not the path of a tile")

    @property
    def path(self) -> str:
        """The path below the log's prefix."""
        digits = str(self.index)
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        index = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
        level = "entries" if self.level is None else str(self.level)
        suffix = "" if self.is_full else f".p/{self.width}"
        return f"tile/{level}/{index}{suffix}"

    @property
    def is_full(self) -> bool:
        """Whether it holds 256 hashes or entries, and never changes."""
        return self.width == TILE_WIDTH

    @property
    def _entries_of_one(self) -> int:
        return 1 << TILE_HEIGHT * (self.level or 0)

    @property
    def start(self) -> int:
        """The index of the first entry that it covers."""
        return self.index * TILE_WIDTH * self._entries_of_one

    @property
    def end(self) -> int:
        """The index after the last entry that the full tile covers."""
        return (self.index + 1) * TILE_WIDTH * self._entries_of_one

    def may_be_pruned(self, minimum_index: int) -> bool:
        """Return whether a log with this minimum index need not have the tile any more."""
        return self.is_full and self.end <= minimum_index


def tiles_of(size: int) -> Iterator[Tile]:
    """Yield every tile and entry bundle of a log with this many entries, in the order of levels."""
    for level in (None, *range(_MAX_LEVEL + 1)):
        hashes = size >> TILE_HEIGHT * (level or 0)
        if not hashes:
            return
        full, width = divmod(hashes, TILE_WIDTH)
        for index in range(full):
            yield Tile(level, index)
        if width:
            yield Tile(level, full, width)


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Return an entry bundle: each entry with its length before it, in two bytes.

    Raises:
        TransparencyFormatError: if there are more than 256 entries, or one is over 65,535 bytes.
    """
    if not 1 <= len(entries) <= TILE_WIDTH or max(map(len, entries)) > MAX_ENTRY_BYTES:
        raise TransparencyFormatError(f"{len(entries)} entries make no bundle")
    return b"".join(len(item).to_bytes(2, "big") + item for item in entries)


def decode_bundle(data: bytes, *, width: int = TILE_WIDTH) -> tuple[bytes, ...]:
    """Return the entries of a bundle.

    Raises:
        TransparencyFormatError: if it does not hold exactly ``width`` entries.
    """
    entries: list[bytes] = []
    at = 0
    while at < len(data) and len(entries) < width:
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if end > len(data) or at + 2 > len(data):
            raise TransparencyFormatError(f"the bundle ends within entry {len(entries)}")
        entries.append(data[at + 2 : end])
        at = end
    if at != len(data) or len(entries) != width:
        raise TransparencyFormatError(f"the bundle does not hold exactly {width} entries")
    return tuple(entries)


def decode_tile(data: bytes, *, width: int = TILE_WIDTH) -> tuple[bytes, ...]:
    """Return the hashes of a tile.

    Raises:
        TransparencyFormatError: if it does not hold exactly ``width`` hashes.
    """
    if len(data) != width * HASH_BYTES:
        raise TransparencyFormatError(
            f"a tile of {width} hashes has {width * HASH_BYTES} bytes, and this one {len(data)}"
        )
    return tuple(data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES))
