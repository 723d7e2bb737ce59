"""The dashboard of a CA's ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from rich.text import Text

from pki.authority.ledger.records import CertificateRecord, IssuerRecord
from pki.cli.state.authority import open_authority
from pki.cli.watch.board import Board, Column, Frame
from pki.errors import counted
from pki.inspection.formatting import format_relative_briefly, quote_if_unsafe

_MOST_RECORDS = 8
_SOON = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class LedgerView:
    """What the dashboard shows of a CA's ledger.

    Args:
        issuers: the CA's own certificates.
        in_force: the certificates that are valid, ordered by their end.
        ending_soon: how many of them end within a day.
        revoked: the certificates that were revoked last.
        issued: the certificates that were issued last.
    """

    issuers: tuple[IssuerRecord, ...]
    in_force: tuple[CertificateRecord, ...]
    ending_soon: int
    revoked: tuple[CertificateRecord, ...]
    issued: tuple[CertificateRecord, ...]


def ledger_view(
    issuers: Sequence[IssuerRecord], records: Sequence[CertificateRecord], now: datetime
) -> LedgerView:
    """Return what the dashboard shows of a ledger at a time.

    Args:
        issuers: all CA certificates.
        records: all certificates, also those that have ended.
        now: the time, aware.
    """
    in_force = sorted(
        (item for item in records if item.revoked_at is None and item.not_after >= now),
        key=lambda item: item.not_after,
    )
    revoked = [item for item in records if item.revoked_at is not None]
    revoked.sort(key=lambda item: str(item.revoked_at), reverse=True)
    return LedgerView(
        tuple(issuers),
        tuple(in_force),
        sum(item.not_after < now + _SOON for item in in_force),
        tuple(revoked[:_MOST_RECORDS]),
        tuple(list(records)[-_MOST_RECORDS:][::-1]),
    )


class LedgerDashboard:
    """Watches the ledger of the CA in a state folder.

    Args:
        state: the state folder.
    """

    def __init__(self, state: Path) -> None:
        self._state = state
        self._before: object = None

    def next_frame(self) -> Frame:
        """Read the ledger again."""
        with open_authority(self._state, read_only=True) as authority:
            now = authority.now()
            view = ledger_view(authority.issuers(), authority.certificates(with_ended=True), now)
        mark = (len(view.in_force), view.issued[:1], view.revoked[:1], len(view.issuers))
        changed = self._before != mark
        self._before = mark
        return Frame(ledger_board(view, now), _ledger_json(view), changed)


def ledger_board(view: LedgerView, now: datetime) -> Board:
    """Return the dashboard of a ledger."""
    title = f"{counted(len(view.in_force), 'certificate')} in force, {view.ending_soon} " + (
        "ends within a day" if view.ending_soon == 1 else "end within a day"
    )
    below = [
        Text(f"revoked: {quote_if_unsafe(item.spiffe_id)} {item.serial}", style="yellow")
        for item in view.revoked
    ]
    below += [
        Text(f"last issued: {quote_if_unsafe(item.spiffe_id)} {item.serial}")
        for item in view.issued[:3]
    ]
    issuers = [
        Text(
            f"{item.kind.value} {item.key_id}: {item.status.value}, ends "
            f"{format_relative_briefly(item.certificate.not_valid_after_utc, now)}"
        )
        for item in view.issuers
    ]
    return Board(
        f"{title}  {now:%Y-%m-%d %H:%M:%S} UTC",
        (Column("workload", 0), Column("serial", 1), Column("expires", 0, 10)),
        [
            (
                Text(quote_if_unsafe(item.spiffe_id)),
                Text(item.serial),
                Text(format_relative_briefly(item.not_after, now)),
            )
            for item in view.in_force
        ],
        [*issuers, *below],
    )


def _ledger_json(view: LedgerView) -> dict[str, object]:
    return {
        "in_force": [
            {"spiffe_id": item.spiffe_id, "serial": item.serial, "not_after": item.not_after}
            for item in view.in_force
        ],
        "ending_soon": view.ending_soon,
        "issuers": [
            {
                "kind": item.kind.value,
                "key_id": item.key_id,
                "status": item.status.value,
                "not_after": item.certificate.not_valid_after_utc,
            }
            for item in view.issuers
        ],
        "revoked": [
            {"spiffe_id": item.spiffe_id, "serial": item.serial, "revoked_at": item.revoked_at}
            for item in view.revoked
        ],
    }
