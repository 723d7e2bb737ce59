"""``handfast ca rotate status``: show where rotations stand, and who hinders the next step."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from pki._proto.handfast.ca.v1 import rotation_pb2 as messages
from pki.authority.ledger import IssuerStatus
from pki.authority.rotation.status import StepState
from pki.ca_client.received import read_moment
from pki.cli.options import DEFAULT_DIR, DirOption
from pki.cli.output import JsonOption, print_result, print_table
from pki.cli.service.ca_options import CaOption, CredentialOption
from pki.cli.service.rotation.desk import rotation_desk
from pki.errors import counted

_MOST_SHOWN = 40


def rotate_status(
    ca: CaOption = None,
    credential: CredentialOption = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Show the steps of a root's rotation, and which workloads the next one would strand.

    Works on the folder, or with --ca over the network.
    """
    with rotation_desk(ca, credential, directory, read_only=True) as desk:
        status = desk.status()
    if as_json:
        print_result("ca rotate status", _facts(status), [], as_json=True)
        return
    print_table(
        f"Rotation of the root: trust bundle {status.bundle_number} with "
        + counted(status.bundle_roots, "root"),
        ("step", "state", "hindered by", "free at (UTC)"),
        [
            (
                step.name,
                step.state,
                counted(step.hindered, "certificate") if step.hindered else "",
                _text(moment(step, "free_at")),
            )
            for step in status.steps
        ],
    )
    lines = [line for due in status.dues for line in due_lines(due)]
    lines += _holder_lines(status)
    lines += [
        f"{hanging(count)} on issuing CA {key_id}, which is {state}; the last one ends at "
        f"{_text(end)} UTC"
        for key_id, state, count, end in _older_issuers(status)
    ]
    lines += pending_lines(status.pending if status.HasField("pending") else None)
    hindering = hindering_holders(status)
    if hindering:
        print_table(
            f"{counted(len(hindering), 'certificate')} "
            + ("hinders the next step" if len(hindering) == 1 else "hinder the next step"),
            ("workload", "serial", "root", "bundle", "reported (UTC)", "until (UTC)"),
            [_row(holder, status) for holder in hindering[:_MOST_SHOWN]],
        )
        if len(hindering) > _MOST_SHOWN:
            lines.append(f"and {len(hindering) - _MOST_SHOWN} more (--json shows all)")
    print_result("ca rotate status", {}, lines, as_json=False)


def hindering_holders(status: messages.RotationStatus) -> list[messages.Holder]:
    """Return the holders that hinder the first step that is not done."""
    for step in status.steps:
        if step.state != StepState.DONE:
            return [holder for holder in status.holders if step.name in holder.hinders]
    return []


def due_lines(due: messages.SuccessorDue) -> list[str]:
    """Return when the successor of a root or an issuing CA is due, in lines of 80 columns."""
    kind = "root" if due.kind == "root" else "issuing CA"
    state = f"{due.prepared} is prepared" if due.prepared else ""
    if due.due_now:
        command = "handfast ca root " if kind == "root" else "handfast ca rotate --"
        state = f"DUE NOW: {command}{due.due_now}"
    prepare, activate = moment(due, "prepare_from"), moment(due, "activate_by")
    return [
        f"The successor of {kind} {due.key_id}" + (f": {state}" if state else ""),
        f"  is prepared from {prepare:%Y-%m-%d} on, and activated by {activate:%Y-%m-%d}",
    ]


def due_facts(due: messages.SuccessorDue) -> dict[str, object]:
    """Return the same for scripts."""
    return {
        "kind": due.kind,
        "key_id": due.key_id,
        "prepare_from": moment(due, "prepare_from"),
        "activate_by": moment(due, "activate_by"),
        "prepared": due.prepared or None,
        "due_now": due.due_now or None,
    }


def pending_lines(pending: messages.PendingRequest | None) -> list[str]:
    """Return what is said of the request that waits, in lines of 80 columns."""
    if pending is None:
        return []
    made_at = _text(moment(pending, "made_at"))
    lines = [
        f"A request waits to be signed where the roots are: {pending.purpose},",
        f"  {pending.digest[:16]} of {made_at} UTC. Then: handfast ca root import",
    ]
    if pending.issuing_ca:
        lines.append(f"  it asks for issuing CA {pending.issuing_ca}, serial number")
        lines.append(f"  {pending.serial or 'unknown'}")
    return lines


def pending_facts(pending: messages.PendingRequest | None) -> dict[str, object] | None:
    """Return the same for scripts."""
    if pending is None:
        return None
    return {
        "purpose": pending.purpose,
        "request": pending.digest,
        "made_at": moment(pending, "made_at"),
        "issuing_ca": pending.issuing_ca or None,
        "serial": pending.serial or None,
    }


def step_facts(step: messages.RotationStep) -> dict[str, object]:
    """Return a step for scripts, without those that hinder it."""
    return {"step": step.name, "state": step.state, "free_at": moment(step, "free_at")}


def holder_facts(holder: messages.Holder) -> dict[str, object]:
    """Return a holder for scripts."""
    return {
        "spiffe_id": holder.spiffe_id,
        "serial": holder.serial,
        "not_after": moment(holder, "not_after"),
        "issuing_ca": holder.issuing_ca,
        "root": holder.root,
        "bundle": holder.bundle_number,
        "reported_at": moment(holder, "reported_at"),
    }


def moment(
    message: messages.RotationStep
    | messages.SuccessorDue
    | messages.PendingRequest
    | messages.Holder,
    name: str,
) -> datetime | None:
    """Return a time of a message; None if it is not set."""
    value: Timestamp = getattr(message, name)
    is_set = any(field.name == name for field, _ in message.ListFields())
    return read_moment(value) if is_set else None


def _facts(status: messages.RotationStatus) -> dict[str, object]:
    return {
        "bundle": status.bundle_number,
        "bundle_roots": status.bundle_roots,
        "pending": pending_facts(status.pending if status.HasField("pending") else None),
        "steps": [
            {
                **step_facts(step),
                "hindered_by": [
                    holder.serial for holder in status.holders if step.name in holder.hinders
                ],
            }
            for step in status.steps
        ],
        "certificates": [holder_facts(holder) for holder in status.holders],
        "older_issuing_cas": [
            {"key_id": key_id, "status": state, "certificates": count, "last_ends": end}
            for key_id, state, count, end in _older_issuers(status)
        ],
        "due": [due_facts(due) for due in status.dues],
    }


def _holder_lines(status: messages.RotationStatus) -> list[str]:
    """Say how far a trust bundle has come, while a root is replaced."""
    steps = {step.name: step.state for step in status.steps}
    if steps.get("prepare") != StepState.DONE or not status.holders:
        return []
    newest = [item for item in status.holders if item.bundle_number == status.bundle_number]
    reported = sum(1 for item in newest if item.HasField("reported_at"))
    silent = sum(1 for item in status.holders if not _has_said(item, status))
    return [
        f"Trust bundle {status.bundle_number} is with {len(newest)} of "
        f"{counted(len(status.holders), 'holder')} of certificates: {reported} reported it",
        f"  {silent} {'is' if silent == 1 else 'are'} silent. Who follows the CA gets it within a "
        "second, and reports it",
    ]


def _older_issuers(status: messages.RotationStatus) -> list[tuple[str, str, int, datetime]]:
    """Return the issuing CAs that sign no more, with how many certificates hang on each."""
    older: dict[tuple[str, str], list[datetime]] = {}
    for holder in status.holders:
        if holder.issuing_ca_status != IssuerStatus.ACTIVE:
            key = (holder.issuing_ca, holder.issuing_ca_status)
            older.setdefault(key, []).append(read_moment(holder.not_after))
    return [(*key, len(ends), max(ends)) for key, ends in older.items()]


def hanging(count: int) -> str:
    """Say how many certificates hang on something that is to end."""
    return f"{counted(count, 'certificate')} {'hangs' if count == 1 else 'hang'}"


def _has_said(holder: messages.Holder, status: messages.RotationStatus) -> bool:
    """Return whether a holder reported what it has, or has the newest bundle from the CA."""
    return holder.HasField("reported_at") or holder.bundle_number == status.bundle_number


def _row(holder: messages.Holder, status: messages.RotationStatus) -> Sequence[str]:
    return (
        holder.spiffe_id,
        holder.serial[:16],
        holder.root,
        str(holder.bundle_number or "unknown"),
        _text(moment(holder, "reported_at"))
        or ("brought by the CA" if _has_said(holder, status) else "silent"),
        _text(moment(holder, "not_after")),
    )


def _text(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}" if at is not None else ""
