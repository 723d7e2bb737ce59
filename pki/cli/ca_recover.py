"""``handfast ca status`` and ``handfast ca recover``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pki.authority import Authority
from pki.authority.recovery import RecoveryResult
from pki.cli.distribution import crls_below, distribute
from pki.cli.output import JsonOption, path_word, show_table, tell
from pki.cli.state import DEFAULT_DIR, DirOption, ca_home, ca_passphrase, open_authority
from pki.errors import StateError, quote_untrusted
from pki.files import read_bounded
from pki.x509 import CrlSet
from pki.x509.readers import MAX_CRLS_BYTES


def status(
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Show the CA's certificates and lists, and what was recorded for a person to look at."""
    with open_authority(directory, read_only=True) as authority:
        now = authority.now()
        issuers, events = authority.issuers(), authority.events()
        _, crls = authority.trust()
        state, accepted_at = authority.ledger_state()
    rows = [
        {
            "issuer": item.crl.issuer.rfc4514_string(),
            "number": item.number,
            "entries": len(item.revoked),
            "this_update": item.this_update,
            "next_update": item.next_update,
            "counts": item.this_update <= now <= item.next_update,
        }
        for item in crls.crls.values()
    ]
    if as_json:
        tell(
            "ca status",
            {
                "ledger": state.ledger_id,
                "commits": state.sequence,
                "recovered_at": accepted_at,
                "issuers": [
                    {
                        "kind": item.kind.value,
                        "key_id": item.key_id,
                        "status": item.status.value,
                        "not_after": item.certificate.not_valid_after_utc,
                    }
                    for item in issuers
                ],
                "lists": rows,
                "events": [{"at": at, "kind": kind, "detail": text} for at, kind, text in events],
            },
            [],
            as_json=True,
        )
        return
    show_table(
        f"CA in {path_word(ca_home(directory))}: {state.sequence} commits",
        ("kind", "key id", "status", "until (UTC)"),
        [
            (
                item.kind.value,
                item.key_id,
                item.status.value,
                f"{item.certificate.not_valid_after_utc:%Y-%m-%d}",
            )
            for item in issuers
        ],
    )
    show_table(
        "Revocation lists",
        ("issuer", "number", "entries", "until (UTC)", "counts now"),
        [
            (
                str(row["issuer"]),
                str(row["number"]),
                str(row["entries"]),
                f"{row['next_update']:%Y-%m-%d %H:%M:%S}",
                "yes" if row["counts"] else "no: handfast crl",
            )
            for row in rows
        ],
    )
    if not events:
        tell("ca status", {}, ["Nothing was recorded for a person to look at"], as_json=False)
        return
    show_table(
        f"{len(events)} events to look at",
        ("at (UTC)", "kind", "what"),
        [(f"{at:%Y-%m-%d %H:%M:%S}", kind, text) for at, kind, text in events],
    )


def recover(
    crls: Annotated[
        list[Path] | None,
        typer.Option(
            "--list", help="A crl.pem of a receiver elsewhere; those below DIR are read anyway."
        ),
    ] = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Go on with an older ledger, the newest being lost for good; what is revoked stays so."""
    named = [_read_crls(path) for path in crls or ()]
    done = Authority.recover(
        ca_home(directory), [*named, *crls_below(directory)], passphrase=ca_passphrase()
    )
    with open_authority(directory) as authority:
        spread = distribute(authority, directory)
    tell(
        "ca recover",
        {
            "was_older": done.was_older,
            "lost_commits": done.lost_commits,
            "lists_taken_in": list(done.imported_from),
            "unknown_certificates_end_by": done.unknown_end_by,
            **spread.to_json(),
        },
        [
            *_in_words(done),
            f"The lists were brought to {len(spread.reached)} credential directories here",
        ],
        as_json=as_json,
    )
    spread.finish("The ledger is taken as it is")


def _in_words(done: RecoveryResult) -> list[str]:
    taken = (
        f"Revocations were taken in from published lists of {', '.join(done.imported_from)}"
        if done.imported_from
        else "No published list revokes more than the ledger"
    )
    if not done.was_older or done.unknown_end_by is None:
        return ["The ledger is the newest one: there was nothing to accept", taken]
    lost = "an unknown number of" if done.lost_commits is None else str(done.lost_commits)
    return [
        f"Accepted an older ledger, which has lost {lost} commits",
        taken,
        "Mind: certificates that were issued since it was copied are unknown to it. They can't be "
        f"renewed, and the last ends by {done.unknown_end_by:%Y-%m-%d %H:%M:%S} UTC",
        "  Revoke one of them by its serial number: handfast revoke SERIAL",
        "  End all of them at once: handfast ca rotate, then handfast ca distrust with the key id "
        "of the issuing CA before, and issue anew",
        "Next: bring crl.pem to every receiver elsewhere; look at: handfast ca status",
    ]


def _read_crls(path: Path) -> CrlSet:
    try:
        return CrlSet.read(read_bounded(path, max_bytes=MAX_CRLS_BYTES)[0])
    except FileNotFoundError:
        raise StateError(f"{quote_untrusted(path)} is not there") from None
