"""``handfast ca status``: show the CA's certificates, revocation lists and recorded events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from pki.authority.pending.record import PendingRevocation
from pki.cli.ca.rotate_status import due_facts, due_lines, pending_facts, pending_lines
from pki.cli.options import DEFAULT_DIR, DirOption, ca_directory
from pki.cli.output import JsonOption, print_result, print_table, quote_path
from pki.cli.state.authority import open_to_show
from pki.daemon.rotation_calls import get_status


def status(
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Show the CA's certificates and CRLs, and the events that need a person's attention."""
    with open_to_show(directory) as authority:
        now = authority.now()
        issuers, events = authority.issuers(), authority.events()
        _, crls = authority.trust()
        state, accepted_at = authority.ledger_state()
        restored_at, waits = authority.restored_at(), authority.waits_for_lists()
        places = [authority.key_place(item) for item in issuers]
        intents = authority.signing_intents()
        rotation = get_status(authority, most=0)
        is_shared = authority.context.ledger.place.is_shared
        reserve = authority.context.reserve
        held, wanted = reserve.held(), reserve.wanted()
        pending = authority.pending_revocations()
        if (problem := authority.pending_problem()) is not None:
            raise problem
    request = rotation.pending if rotation.HasField("pending") else None
    rows = [
        {
            "issuer": item.crl.issuer.rfc4514_string(),
            "number": item.number,
            "entries": len(item.revoked),
            "this_update": item.this_update,
            "next_update": item.next_update,
            "valid_now": item.this_update <= now <= item.next_update,
        }
        for item in crls.crls.values()
    ]
    if as_json:
        print_result(
            "ca status",
            {
                "ledger": state.ledger_id,
                "commits": state.sequence,
                "recovered_at": accepted_at,
                "restored_at": restored_at,
                "waits_for_lists": waits,
                "issuers": [
                    {
                        "kind": item.kind.value,
                        "key_id": item.key_id,
                        "status": item.status.value,
                        "not_after": item.certificate.not_valid_after_utc,
                        "key_place": place,
                    }
                    for item, place in zip(issuers, places, strict=True)
                ],
                "signing_intents": [
                    {
                        "serial": item.serial,
                        "subject": item.subject,
                        "names": list(item.names),
                        "tbs_sha256": item.tbs_sha256,
                        "planned_at": item.planned_at,
                        "not_after": item.not_after,
                        "revoked_at": item.revoked_at,
                    }
                    for item in intents
                ],
                "reserve": {"bytes": held, "wanted": wanted},
                "pending_revocations": [
                    {
                        "at": record.at,
                        "actor": record.actor,
                        "reason": record.reason,
                        "serials": [item.serial for item in record.entries],
                    }
                    for record in pending
                ],
                "pending_request": pending_facts(request),
                "due": [due_facts(due) for due in rotation.dues],
                "crls": rows,
                "events": [{"at": at, "kind": kind, "detail": text} for at, kind, text in events],
            },
            [],
            as_json=True,
        )
        return
    print_table(
        f"CA in {quote_path(ca_directory(directory))}: {state.sequence} commits",
        ("kind", "key id", "status", "until (UTC)", "key"),
        [
            (
                item.kind.value,
                item.key_id,
                item.status.value,
                f"{item.certificate.not_valid_after_utc:%Y-%m-%d}",
                "in a token" if place.startswith("pkcs11:") else place,
            )
            for item, place in zip(issuers, places, strict=True)
        ],
    )
    # As in the table above, and short enough for a terminal of 80 columns.
    names = {
        item.certificate.subject.rfc4514_string(): f"{item.kind.value} {item.key_id}"
        for item in issuers
    }
    print_table(
        "Revocation lists",
        ("issuer", "number", "entries", "until (UTC)"),
        [
            (
                names.get(str(row["issuer"]), str(row["issuer"])),
                str(row["number"]),
                str(row["entries"]),
                f"{row['next_update']:%Y-%m-%d %H:%M}",
            )
            for row in rows
        ],
    )
    if intents:
        print_table(
            "Perhaps signed, and never handed out: revoke by number what is older than a minute",
            ("serial", "for", "at (UTC)", "revoked"),
            [
                (
                    item.serial,
                    item.subject,
                    f"{item.planned_at:%Y-%m-%d %H:%M:%S}",
                    "no" if item.revoked_at is None else "yes",
                )
                for item in intents
            ],
        )
    lines = [
        f"NOT VALID NOW is the list of {names.get(issuer, issuer)}: handfast crl"
        for issuer in (str(row["issuer"]) for row in rows if not row["valid_now"])
    ]
    lines += [
        *_restore_lines(restored_at, waits=waits),
        *_space_lines(held, wanted, pending, is_shared=is_shared),
    ]
    lines += [line for due in rotation.dues for line in due_lines(due)] + pending_lines(request)
    print_result("ca status", {}, lines, as_json=False)
    if not events:
        print_result("ca status", {}, ["No event needs attention"], as_json=False)
        return
    print_table(
        f"{len(events)} events that need attention",
        ("at (UTC)", "kind", "what"),
        [(f"{at:%Y-%m-%d %H:%M:%S}", kind, text) for at, kind, text in events],
    )


def _restore_lines(restored_at: datetime | None, *, waits: bool) -> Iterator[str]:
    """Yield what a restore from a backup leaves open."""
    if waits:
        yield (
            f"RESTORED FROM A BACKUP at {restored_at:%Y-%m-%d %H:%M:%S} UTC, AND SIGNS NOTHING: it "
            "lacks what was revoked since. Next: handfast ca recover --crl FILE"
        )


def _space_lines(
    held: int, wanted: int, pending: Sequence[PendingRevocation], *, is_shared: bool
) -> Iterator[str]:
    """Yield what stands between a full disk and a revocation, and what is not recorded yet."""
    if held >= wanted:
        yield f"In reserve for revocations on a full disk: {held // 1024} KiB"
    else:
        yield (
            f"IN RESERVE for revocations on a full disk: {held // 1024} KiB of {wanted // 1024}: "
            "make room there"
        )
    if pending:
        count = sum(len(record.entries) for record in pending)
        noun = "certificate is" if count == 1 else "certificates are"
        yield (
            f"NOT RECORDED YET: {count} {noun} revoked since {pending[0].at:%Y-%m-%d %H:%M:%S} UTC "
            "that the ledger does not hold. Nothing is issued before it can be written again"
        )
    if pending and is_shared:
        yield (
            "NO OTHER REPLICA KNOWS OF IT: one that can write may renew the certificate, and "
            "publishes lists without the revocation. Bring crl.pem to receivers, or revoke there "
            "too"
        )
