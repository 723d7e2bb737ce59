"""Finds out what ``handfast revoke`` shall revoke: by directory, workload, or serial number.

The rules:

1. A directory means its certificate with the whole line of renewals, the earlier ones too: one of
   them may be valid still, and a stream may have begun with it.
2. A workload, by its path or its SPIFFE ID, means all of its certificates that have not ended.
3. A serial number, or a beginning that no other serial number has (``17392cb5`` or ``17392cb5..``,
   as ``watch`` prints it), means that certificate and what was renewed from it.
4. What may mean two of these is refused, because a revocation can't be undone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from string import hexdigits

from pki.authority import Authority
from pki.authority.revocation import parse_serial_prefix
from pki.cli.output import quote_path
from pki.cli.state.ledger_lookup import (
    find_record,
    find_record_of_key,
    require_record,
    was_issued_here,
)
from pki.cli.state.workload_proof import check_workload
from pki.errors import CredentialError, InputError, PkiError, join_first, quote_untrusted
from pki.files import detect_layout, find_layout, read_partial_credential
from pki.identity import SpiffeId

_SHORTEST_PREFIX = 4
_MOST_SHOWN = 8
_SURELY_A_NUMBER = 16


@dataclass(frozen=True, slots=True)
class RevocationTarget:
    """What is to be revoked: certificates by their serial numbers, or a whole workload.

    Args:
        serials: the serial numbers; empty for a workload.
        workload: the workload.
        whole_line: whether also the certificates from which these were renewed.
    """

    serials: tuple[str, ...] = ()
    workload: SpiffeId | None = None
    whole_line: bool = False


def find_target(authority: Authority, text: str) -> RevocationTarget:
    """Return what a text means.

    Raises:
        PkiError: if it means nothing that this CA issued, or may mean two things.
    """
    if text.lower().startswith("spiffe:"):
        return RevocationTarget(workload=SpiffeId.parse_name(text, authority.trust_domain))
    workload = _workload_named(authority, text)
    path = Path(text)
    if path.is_dir():
        if workload is None or text.startswith(("/", "./", "../")):
            return _target_of_directory(authority, path)
        if find_layout(path) is not None:
            raise InputError(
                f"{quote_untrusted(text)} is a directory here, and the workload {workload}",
                remedy=f"Nothing was revoked: name the directory (./{quote_path(path)}) or the "
                f"workload ({workload})",
            )
        return RevocationTarget(workload=workload)
    return _target_of_number(authority, text, workload)


def _target_of_number(
    authority: Authority, text: str, workload: SpiffeId | None
) -> RevocationTarget:
    """Return what a text means that is no directory: a serial number, or the workload of that name.

    Raises:
        InputError: if it means nothing, or may mean several things.
    """
    prefix, goes_on = parse_serial_prefix(text)
    is_hex = bool(prefix) and set(prefix) <= set(hexdigits)
    records = authority.certificates_with_serial(prefix) if is_hex else ()
    if not goes_on and any(item.serial == prefix for item in records):
        return RevocationTarget((prefix,))
    if records and len(prefix) >= _SHORTEST_PREFIX:
        if workload is not None:
            raise InputError(
                f"{quote_untrusted(text)} is a workload, and the beginning of the serial number "
                f"{records[0].serial}",
                remedy=f"Nothing was revoked: name the workload ({workload}), or the whole number",
            )
        if len(records) > 1:
            serials = join_first([item.serial for item in records], _MOST_SHOWN)
            raise InputError(
                f"{len(records)} serial numbers begin with {quote_untrusted(text)}: {serials}",
                remedy="Nothing was revoked: write more digits",
            )
        return RevocationTarget((records[0].serial,))
    if workload is not None:
        return RevocationTarget(workload=workload)
    if is_hex and records:
        raise InputError(
            f"{quote_untrusted(text)} is too short for a serial number",
            remedy=f"Write at least {_SHORTEST_PREFIX} of its digits",
        )
    if len(prefix) >= _SURELY_A_NUMBER and is_hex and not goes_on:
        # The ledger may have lost it: the CA decides.
        return RevocationTarget((prefix,))
    raise InputError(
        f"{quote_untrusted(text)} is no directory, no workload with a certificate that is still "
        "valid, and no serial number of a certificate",
        remedy="See them with: handfast list",
    )


def _workload_named(authority: Authority, text: str) -> SpiffeId | None:
    """Return the workload of a name, if it has a certificate that has not ended."""
    try:
        workload = SpiffeId.parse_name(text, authority.trust_domain)
    except PkiError:
        return None
    return workload if authority.certificates_of(workload) else None


def _target_of_directory(authority: Authority, path: Path) -> RevocationTarget:
    """Return the certificates of a directory: that of its chain, and those of its keys.

    Raises:
        PkiError: if it holds no certificate of this CA.
    """
    layout_and_key = find_layout(path)
    layout, holds_key = (
        layout_and_key if layout_and_key is not None else (detect_layout(path), True)
    )
    contents = read_partial_credential(path, layout, holds_key=holds_key)
    record, of_key = find_record(authority, contents), find_record_of_key(authority, contents)
    is_foreign = contents.leaf is not None and not was_issued_here(authority, contents.leaf)
    if of_key is not None and is_foreign:
        # Whatever certificate somebody put beside it, the key says whose directory it is.
        return RevocationTarget((of_key.serial,), whole_line=True)
    if record is not None and of_key is not None and record.spiffe_id != of_key.spiffe_id:
        # Anybody who can write here could have another workload revoked, and keep this one valid.
        raise CredentialError(
            f"{quote_untrusted(path)} holds the certificate {record.serial} of {record.spiffe_id} "
            f"and the key of {of_key.serial} of {of_key.spiffe_id}: it is not clear which is meant",
            remedy="Nothing was revoked: revoke the one that is meant, or both, by their serial "
            "numbers",
        )
    if record is not None:
        remedy = (
            f"Nothing was revoked: name the workload that is meant ({record.spiffe_id}, or whose "
            "directory it is), or a serial number"
        )
        check_workload(contents, record, None, remedy=remedy)
    if record is None and contents.leaf is not None and not is_foreign:
        # An older ledger may lack the certificate, but its serial number can still be revoked.
        first = f"{contents.leaf.serial_number:x}"
    else:
        first = require_record(authority, contents).serial
    serials = (first, *([of_key.serial] if of_key is not None else []))
    return RevocationTarget(tuple(dict.fromkeys(serials)), whole_line=True)
