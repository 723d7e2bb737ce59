"""Tiles: their paths, their contents, and what a pruned log may lack."""

from __future__ import annotations

import pytest

from pki.transparency import (
    Tile,
    TransparencyFormatError,
    decode_bundle,
    decode_tile,
    encode_bundle,
    tiles_of,
)


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 1234067), "tile/0/x001/x234/067"),
        (Tile(1, 999, 17), "tile/1/999.p/17"),
        (Tile(2, 1000, 255), "tile/2/x001/000.p/255"),
        (Tile(None, 5, 1), "tile/entries/005.p/1"),
    ],
)
def test_a_tile_and_its_path_are_the_same_thing(tile: Tile, path: str) -> None:
    assert tile.path == path
    assert Tile.parse(path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile/0/0",
        "tile/0/0000",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/00/000",
        "tile/8/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/\N{ARABIC-INDIC DIGIT THREE}",
        "tile/0/\N{ARABIC-INDIC DIGIT ZERO}00",
        "tile/0/000/",
        "/tile/0/000",
        "tile/data/000",
        "tile/0/../000",
        "tile/7/x999/999",
        "tile/0/" + "x001/" * 30 + "001",
    ],
)
def test_what_is_not_exactly_the_path_of_a_tile_is_refused(path: str) -> None:
    with pytest.raises(TransparencyFormatError):
        Tile.parse(path)


def test_a_log_of_70000_entries_has_the_tiles_that_the_specification_names() -> None:
    tiles = list(tiles_of(70_000))
    hashes = [tile for tile in tiles if tile.level is not None]
    assert len(hashes) == 273 + 1 + 1 + 1 + 1
    partial = [(tile.level, tile.width) for tile in hashes if not tile.is_full]
    assert partial == [(0, 112), (1, 17), (2, 1)]
    assert [tile.path for tile in tiles_of(256)] == [
        "tile/entries/000",
        "tile/0/000",
        "tile/1/000.p/1",
    ]
    assert list(tiles_of(0)) == []


def test_only_full_tiles_below_the_minimum_index_may_be_pruned() -> None:
    pruned = {tile.path for tile in tiles_of(70_000) if tile.may_be_pruned(65_536 + 300)}
    assert Tile(0, 256).path in pruned
    assert Tile(None, 256).path in pruned
    assert Tile(0, 257).path not in pruned
    # It ends at 65,536; the one of width 17 has tiles that are still needed.
    assert Tile(1, 0).path in pruned
    assert Tile(1, 1, 17).path not in pruned
    assert not any(tile.may_be_pruned(0) for tile in tiles_of(70_000))


def test_a_bundle_holds_each_entry_with_its_length() -> None:
    entries = (b"", b"one", b"x" * 65_535)
    data = encode_bundle(entries)
    assert data[:7] == b"\0\0\0\3one"
    assert decode_bundle(data, width=3) == entries
    for wrong in (data[:-1], data + b"\0", data[:4], b""):
        with pytest.raises(TransparencyFormatError):
            decode_bundle(wrong, width=3)
    for width in (2, 4):
        with pytest.raises(TransparencyFormatError):
            decode_bundle(data, width=width)
    for too_much in ([], [b""] * 257, [b"x" * 65_536]):
        with pytest.raises(TransparencyFormatError):
            encode_bundle(too_much)


def test_a_tile_holds_exactly_its_hashes() -> None:
    assert decode_tile(bytes(64), width=2) == (bytes(32), bytes(32))
    for data in (bytes(63), bytes(96), b""):
        with pytest.raises(TransparencyFormatError):
            decode_tile(data, width=2)
