"""Reads what ``handfast issue --from`` issues: JSON lines, or CSV with a heading.

The whole file is read and checked before anything is issued.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator, Mapping
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
    """An order, and the directory that was named for it; None is that of its name."""

    order: NamedOrder
    out: Path | None = None


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
            orders.append(_order(item, defaults))
        except (PkiError, ValueError, TypeError) as error:
            faults.append(f"line {number}: {error}")
        if len(orders) > MOST_ORDERS:
            raise InputError(
                f"{quote_untrusted(path)} holds more than {MOST_ORDERS} orders",
                remedy="Split it",
            )
    if faults:
        more = len(faults) - _MOST_TOLD
        told = "; ".join(faults[:_MOST_TOLD]) + (f"; and {more} more" if more > 0 else "")
        raise InputError(
            f"{quote_untrusted(path)} holds {counted(len(faults), 'line')} that can't be issued: "
            f"{told}",
            remedy="Nothing was issued. Correct the file and run this again",
        )
    if not orders:
        raise InputError(
            f"{quote_untrusted(path)} holds no orders",
            remedy='Write JSON lines, {"name": "orders"}, or CSV whose heading names the columns',
        )
    return orders


def _read(path: Path) -> str:
    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read(_MOST_BYTES + 1)
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
        raise InputError(f"{quote_untrusted(path)} is no UTF-8 text") from None


def _is_json(text: str) -> bool:
    return text.lstrip()[:1] == "{"


def _json_lines(text: str) -> Iterator[tuple[int, object]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError):
                yield number, None


def _csv_rows(text: str) -> Iterator[tuple[int, object]]:
    reader = csv.reader(io.StringIO(text), strict=True)
    heading: list[str] | None = None
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            cells = [cell.strip() for cell in row]
            if heading is None:
                heading = cells
                if "name" not in heading:
                    raise InputError(
                        f"line {reader.line_num} is no heading: it names no column 'name'",
                        remedy=f"Begin with a line of column names, of {', '.join(_FIELDS)}",
                    )
            elif len(cells) != len(heading):
                yield reader.line_num, None
            else:
                filled = {key: cell for key, cell in zip(heading, cells, strict=True) if cell}
                yield (
                    reader.line_num,
                    {key: cell.split() if key in _LISTS else cell for key, cell in filled.items()},
                )
    except csv.Error as error:
        raise InputError(f"line {reader.line_num} is no CSV: {error}") from None


def _order(item: object, defaults: Defaults) -> PlacedOrder:
    if not isinstance(item, Mapping):
        raise InputError("it is no JSON object, or has not as many cells as the heading")
    unknown = sorted(str(key) for key in item if key not in _FIELDS)
    if unknown:
        raise InputError(f"{quote_untrusted(unknown[0])} is none of {', '.join(_FIELDS)}")
    if "name" not in item:
        raise InputError("it has no name")
    ttl, out = _text(item, "ttl"), _text(item, "out")
    profile, key_type = _text(item, "profile"), _text(item, "key_type")
    if profile and profile not in LEAF_PROFILES:
        raise InputError(f"profile {quote_untrusted(profile)} is unknown")
    order = NamedOrder(
        _text(item, "name"),
        tuple(DnsName.parse(name) for name in _texts(item, "dns")),
        tuple(ip_address(address) for address in _texts(item, "ip")),
        parse_duration(ttl) if ttl else defaults.lifetime,
        KeyType(key_type) if key_type else defaults.key_type,
        LEAF_PROFILES[profile] if profile else defaults.profile,
    )
    return PlacedOrder(order, Path(out) if out else None)


def _text(item: Mapping[str, object], key: str) -> str:
    value = item.get(key, "")
    if not isinstance(value, str):
        raise InputError(f"its {key} is no text")
    if not value and key in item:
        raise InputError(f"its {key} is empty")
    return value


def _texts(item: Mapping[str, object], key: str) -> list[str]:
    value = item.get(key, [])
    if not (isinstance(value, list) and all(isinstance(text, str) for text in value)):
        raise InputError(f"its {key} is no list of texts")
    return value
