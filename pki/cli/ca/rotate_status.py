"""``handfast ca rotate status``: show where rotations stand, and who hinders the next step."""

from __future__ import annotations

from datetime import datetime

from pki.authority.ledger import IssuerRecord, IssuerStatus
from pki.authority.rotation.readiness import Holder
from pki.authority.rotation.status import Due, RotationStatus, Step, StepState
from pki.cli.options import DEFAULT_DIR, DirOption
from pki.cli.output import JsonOption, print_result, print_table
from pki.cli.state.authority import open_authority

_MOST_SHOWN = 40


def rotate_status(directory: DirOption = DEFAULT_DIR, as_json: JsonOption = False) -> None:
    """Show the steps of a root's rotation, and which workloads the next one would strand."""
    with open_authority(directory, read_only=True) as authority:
        status = authority.rotation_status()
        now = authority.now()
    if as_json:
        print_result("ca rotate status", _facts(status, now), [], as_json=True)
        return
    print_table(
        f"Rotation of the root: trust bundle {status.bundle_number} with {status.bundle_roots} "
        "roots",
        ("step", "state", "hindered by", "free at (UTC)"),
        [
            (
                step.name,
                step.state.value,
                f"{len(step.hindered_by)} certificates" if step.hindered_by else "",
                f"{step.free_at:%Y-%m-%d %H:%M:%S}" if step.free_at else "",
            )
            for step in status.steps
        ],
    )
    lines = [line for due in status.dues for line in due_lines(due, now)]
    lines += [
        f"{count} certificates hang on issuing CA {issuer.key_id}, which is {issuer.status.value}; "
        f"the last one ends at {end:%Y-%m-%d %H:%M:%S} UTC"
        for issuer, count, end in _older_issuers(status)
    ]
    if status.pending is not None:
        lines.append(
            f"A request waits to be signed where the roots are: {status.pending.purpose.value}, "
            f"made at {status.pending.made_at:%Y-%m-%d %H:%M:%S} UTC. Then: handfast ca root import"
        )
    hindering = hindering_holders(status)
    if hindering:
        print_table(
            f"{len(hindering)} certificates hinder the next step",
            ("workload", "serial", "root", "bundle", "reported (UTC)", "until (UTC)"),
            [_row(holder) for holder in hindering[:_MOST_SHOWN]],
        )
        if len(hindering) > _MOST_SHOWN:
            lines.append(f"and {len(hindering) - _MOST_SHOWN} more (--json shows all)")
    print_result("ca rotate status", {}, lines, as_json=False)


def hindering_holders(status: RotationStatus) -> tuple[Holder, ...]:
    """Return the holders that hinder the first step that is not done."""
    for step in status.steps:
        if step.state is not StepState.DONE:
            return step.hindered_by
    return ()


def due_lines(due: Due, now: datetime) -> list[str]:
    """Return when the successor of a root or an issuing CA is due, in lines of 80 columns."""
    kind = "root" if due.issuer.kind.value == "root" else "issuing CA"
    state = f"{due.prepared.key_id} is prepared" if due.prepared is not None else ""
    if needed := due.needed(now):
        command = "handfast ca root " if kind == "root" else "handfast ca rotate --"
        state = f"DUE NOW: {command}{needed}"
    return [
        f"The successor of {kind} {due.issuer.key_id}" + (f": {state}" if state else ""),
        f"  is prepared from {due.prepare:%Y-%m-%d} on, and activated by {due.activate:%Y-%m-%d}",
    ]


def due_facts(due: Due, now: datetime) -> dict[str, object]:
    """Return the same for scripts."""
    return {
        "kind": due.issuer.kind.value,
        "key_id": due.issuer.key_id,
        "prepare_from": due.prepare,
        "activate_by": due.activate,
        "prepared": due.prepared.key_id if due.prepared is not None else None,
        "due_now": due.needed(now) or None,
    }


def step_facts(step: Step) -> dict[str, object]:
    """Return a step for scripts, without those that hinder it."""
    return {"step": step.name, "state": step.state.value, "free_at": step.free_at}


def holder_facts(holder: Holder) -> dict[str, object]:
    """Return a holder for scripts."""
    return {
        "spiffe_id": holder.certificate.spiffe_id,
        "serial": holder.certificate.serial,
        "not_after": holder.certificate.not_after,
        "issuing_ca": holder.issuer.key_id,
        "root": holder.root.key_id,
        "bundle": holder.bundle_number,
        "reported_at": holder.reported_at,
    }


def _facts(status: RotationStatus, now: datetime) -> dict[str, object]:
    pending = status.pending
    return {
        "bundle": status.bundle_number,
        "bundle_roots": status.bundle_roots,
        "pending": {"purpose": pending.purpose.value, "request": pending.digest}
        if pending is not None
        else None,
        "steps": [
            {
                **step_facts(step),
                "hindered_by": [item.certificate.serial for item in step.hindered_by],
            }
            for step in status.steps
        ],
        "certificates": [holder_facts(holder) for holder in status.holders],
        "older_issuing_cas": [
            {
                "key_id": issuer.key_id,
                "status": issuer.status.value,
                "certificates": count,
                "last_ends": end,
            }
            for issuer, count, end in _older_issuers(status)
        ],
        "due": [due_facts(due, now) for due in status.dues],
    }


def _older_issuers(status: RotationStatus) -> list[tuple[IssuerRecord, int, datetime]]:
    """Return the issuing CAs that sign no more, with how many certificates hang on each."""
    ends: dict[int, list[datetime]] = {}
    issuers: dict[int, IssuerRecord] = {}
    for holder in status.holders:
        if holder.issuer.status is not IssuerStatus.ACTIVE:
            issuers[holder.issuer.id] = holder.issuer
            ends.setdefault(holder.issuer.id, []).append(holder.certificate.not_after)
    return [(issuers[item], len(ends[item]), max(ends[item])) for item in sorted(ends)]


def _row(holder: Holder) -> tuple[str, ...]:
    certificate = holder.certificate
    return (
        certificate.spiffe_id,
        certificate.serial[:16],
        holder.root.key_id,
        str(holder.bundle_number or "unknown"),
        f"{holder.reported_at:%Y-%m-%d %H:%M:%S}" if holder.reported_at else "silent",
        f"{certificate.not_after:%Y-%m-%d %H:%M:%S}",
    )
