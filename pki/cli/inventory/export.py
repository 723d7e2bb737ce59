"""``handfast export``."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated

import typer

from pki.authority.inventory import InventoryRow
from pki.cli.inventory.filters import (
    AllOption,
    ExpiringOption,
    IssuerOption,
    OwnerOption,
    StateOption,
    facts_of,
    note_local,
    selection_of,
)
from pki.cli.options import DEFAULT_DIR, DirOption
from pki.cli.output import output_errors_reported
from pki.cli.state.authority import open_to_show

_COLUMNS = (
    "spiffe_id",
    "names",
    "serial",
    "profile",
    "issuer",
    "status",
    "issued_at",
    "not_before",
    "not_after",
    "revoked_at",
    "reason",
    "key_sha256",
)


class ExportFormat(StrEnum):
    """The formats."""

    CSV = "csv"
    JSON = "json"


def export(
    form: Annotated[
        ExportFormat, typer.Option("--format", help="CSV, or JSON: one object a line.")
    ] = ExportFormat.CSV,
    expiring: ExpiringOption = None,
    owner: OwnerOption = None,
    issuer: IssuerOption = None,
    state: StateOption = None,
    everything: AllOption = False,
    directory: DirOption = DEFAULT_DIR,
) -> None:
    """Write the inventory to stdout, for spreadsheets and other programs."""
    note_local()
    with open_to_show(directory) as authority:
        selection = selection_of(
            authority,
            expiring=expiring,
            owner=owner,
            issuer=issuer,
            states=state or (),
            everything=everything,
        )
        rows = authority.inventory(selection, with_names=True)
        lines = map(_facts, rows)
        with output_errors_reported():
            if form is ExportFormat.JSON:
                for item in lines:
                    sys.stdout.write(json.dumps(item) + "\n")
            else:
                _write_csv(lines)


def _write_csv(rows: Iterator[Mapping[str, object]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row in rows:
        writer.writerow([_cell(row[name]) for name in _COLUMNS])


def _facts(row: InventoryRow) -> dict[str, object]:
    facts = facts_of(row)
    facts["names"] = list(row.names)
    facts["key_sha256"] = row.key_fingerprint
    facts["not_before"] = row.not_before
    return {name: _plain(facts[name]) for name in _COLUMNS}


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value


def _cell(value: object) -> str:
    if isinstance(value, list):
        return " ".join(value)
    return "" if value is None else str(value)
