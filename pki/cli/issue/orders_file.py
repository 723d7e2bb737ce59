"""Reads what ``handfast issue --from`` issues: JSON lines, or CSV with a heading.

The whole file is read and checked before anything is issued.
"""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

from pki.authority import NamedOrder
from pki.durations import parse_duration
from pki.errors import InputError, PkiError, StateError, counted, quote_untrusted
from pki.files import read_bounded
from pki.identity import DnsName
from pki.keys import KeyType
from pki.x509 import LeafProfile
from pki.x509.profiles import LEAF_PROFILES

MOST_ORDERS = 100_000
_MOST_BYTES = 32 * 1024 * 1024
_LISTS = ("dns", "ip")
_FIELDS = ("name", *_LISTS, "ttl", "profile", "key_type", "out")
_MOST_TOLD = 3


@dataclass(frozen=True, slots=True)
class PlacedOrder:
    """An order, and where it stands.

    Args:
        order: the order.
        out: the directory that was named for it; None is that of its name.
        line: its number in the file; None if it was named by the command.
    """

    order: NamedOrder
    out: Path | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds for an order that does not say otherwise."""

    lifetime: timedelta | None
    key_type: KeyType
    profile: LeafProfile


def read_orders(path: Path, defaults: Defaults) -> list[PlacedOrder]:
    """Read a file of orders.

    Args:
        path: the file; ``-`` is standard input.
        defaults: for what an order leaves out.

    Raises:
        InputError: if a line is no order: each faulty line is named, the first few with its fault.
        StateError: if the file can't be read, or is too large.
    """
    text = _read(path)
    orders: list[PlacedOrder] = []
    faults: list[str] = []
    for number, item in _json_lines(text) if _is_json(text) else _csv_rows(text):
        try:
            orders.append(_order(item, defaults, number))
        except (PkiError, ValueError, TypeError) as error:
            faults.append(f"line {number}: {error}")
        if len(orders) + len(faults) > MOST_ORDERS:
            raise InputError(
                f"{quote_untrusted(path)} holds more than {MOST_ORDERS} orders",
                remedy="Split it",
            )
    refuse_faults(faults, quote_untrusted(path))
    if not orders:
        raise InputError(
            f"{quote_untrusted(path)} names no workloads",
            remedy='Write JSON lines, {"name": "orders"}, or CSV whose heading names the columns',
        )
    return orders


def refuse_faults(faults: Sequence[str], where: str) -> None:
    """Refuse orders of which some can't be issued.

    Args:
        faults: each with its line.
        where: the file.

    Raises:
        InputError: if there is a fault.
    """
    if not faults:
        return
    more = len(faults) - _MOST_TOLD
    told = "; ".join(faults[:_MOST_TOLD]) + (f"; and {more} more" if more > 0 else "")
    raise InputError(
        f"{where} holds {counted(len(faults), 'line')} that can't be issued: {told}",
        remedy="Nothing was issued. Correct the file and run this again",
    )


def _read(path: Path) -> str:
    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read(_MOST_BYTES + 1)
        elif path.is_fifo():
            # What a shell makes of <(...), and /dev/stdin behind a pipe.
            with path.open("rb") as pipe:
                data = pipe.read(_MOST_BYTES + 1)
        else:
            data = read_bounded(path, max_bytes=_MOST_BYTES)[0]
    except FileNotFoundError:
        raise StateError(f"{quote_untrusted(path)} is not there") from None
    if len(data) > _MOST_BYTES:
        raise StateError(f"{quote_untrusted(path)} is larger than {_MOST_BYTES} bytes")
    try:
        # Spreadsheets begin their files with a byte order mark.
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(
            f"{quote_untrusted(path)} is no UTF-8 text", remedy="Save it with the encoding UTF-8"
        ) from None


def _is_json(text: str) -> bool:
    return text.lstrip()[:1] == "{"


def _json_lines(text: str) -> Iterator[tuple[int, object]]:
    # Not splitlines(): a text in JSON may hold characters that end a line elsewhere.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield number, json.loads(line, object_pairs_hook=_without_repeats)
            except _BadLineError as error:
                yield number, error
            except (ValueError, RecursionError):
                yield number, _BadLineError("it is no JSON object")


class _BadLineError(InputError):
    """What is wrong with a line as a whole."""


def _repeated(names: Sequence[str]) -> _BadLineError:
    # Nobody can say which of the two is meant.
    name = next(name for place, name in enumerate(names) if name in names[:place])
    return _BadLineError(f"{quote_untrusted(name)} is named twice")


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise _repeated([name for name, _ in pairs])
    return fields


def _csv_rows(text: str) -> Iterator[tuple[int, object]]:
    # With every kind of line end, which the reader knows itself: some spreadsheets write CR alone.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    heading: list[str] | None = None
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            cells = [cell.strip() for cell in row]
            if heading is None:
                heading = cells
                if "name" not in heading:
                    separated = "; separate the columns with commas" if ";" in row[0] else ""
                    raise InputError(
                        f"line {reader.line_num} is no heading: it names no column 'name'",
                        remedy="Write JSON, one object a line, or CSV that begins with a line of "
                        f"column names, of {', '.join(_FIELDS)}{separated}",
                    )
                if len(set(heading)) < len(heading):
                    raise _repeated(heading)
            elif len(cells) != len(heading):
                text = f"it has {counted(len(cells), 'cell')}, and the heading {len(heading)}"
                yield reader.line_num, _BadLineError(text)
            else:
                filled = {key: cell for key, cell in zip(heading, cells, strict=True) if cell}
                yield (
                    reader.line_num,
                    {key: cell.split() if key in _LISTS else cell for key, cell in filled.items()},
                )
    except csv.Error as error:
        raise InputError(f"line {reader.line_num} is no CSV: {error}") from None


def _order(item: object, defaults: Defaults, line: int) -> PlacedOrder:
    if isinstance(item, _BadLineError):
        raise item
    if not isinstance(item, Mapping):
        raise InputError("it is no JSON object")
    unknown = sorted(str(key) for key in item if key not in _FIELDS)
    if unknown:
        raise InputError(f"{quote_untrusted(unknown[0])} is none of {', '.join(_FIELDS)}")
    if "name" not in item:
        raise InputError("it has no name")
    ttl, out = _text(item, "ttl"), _text(item, "out")
    profile, key_type = _text(item, "profile"), _text(item, "key_type")
    if profile and profile not in LEAF_PROFILES:
        raise InputError(
            f"profile {quote_untrusted(profile)} is none of {', '.join(LEAF_PROFILES)}"
        )
    if key_type and key_type not in set(KeyType):
        raise InputError(f"key_type {quote_untrusted(key_type)} is none of {', '.join(KeyType)}")
    order = NamedOrder(
        _text(item, "name"),
        tuple(DnsName.parse(name) for name in _texts(item, "dns")),
        tuple(ip_address(address) for address in _texts(item, "ip")),
        parse_duration(ttl) if ttl else defaults.lifetime,
        KeyType(key_type) if key_type else defaults.key_type,
        LEAF_PROFILES[profile] if profile else defaults.profile,
    )
    return PlacedOrder(order, _path(out) if out else None, line)


def _path(text: str) -> Path:
    try:
        is_one = b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        is_one = False
    if not is_one:
        raise InputError(f"its out {quote_untrusted(text)} can't be a path")
    if text.startswith("~"):
        raise InputError(
            f"its out {quote_untrusted(text)} begins with ~, which only a shell replaces; write "
            "the whole path, or ./~ for a folder of that name"
        )
    return Path(text)


def _text(item: Mapping[str, object], key: str) -> str:
    value = item.get(key, "")
    if not isinstance(value, str):
        raise InputError(f"its {key} is no string")
    if not value and key in item:
        raise InputError(f"its {key} is empty")
    return value


def _texts(item: Mapping[str, object], key: str) -> list[str]:
    value = item.get(key, [])
    if not (isinstance(value, list) and all(isinstance(text, str) for text in value)):
        raise InputError(f"its {key} is no list of strings")
    return value
