"""Revoke and list certificates at a CA over the network."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from string import hexdigits

from pki._proto.handfast.ca.v1 import authority_pb2
from pki.ca_client.received import read_moment
from pki.ca_client.rpc_errors import call
from pki.cli.output import print_result, print_table, table_fits
from pki.cli.service.remote import SECONDS, RemoteCa, remote_ca
from pki.clock import system_clock
from pki.errors import InputError, PkiError, counted, quote_untrusted
from pki.files import load_credential
from pki.identity import SpiffeId

_HEADINGS = ("workload", "serial", "profile", "until (UTC)", "status")
_SHORTEST_BEGINNING, _SURELY_WHOLE = 4, 30
_CLOCKS_DIFFER = timedelta(minutes=1)


def revoke_remotely(
    target: str, reason: str, ca: str, credential: Path | None, *, as_json: bool
) -> None:
    """Revoke at a CA: a directory's line, a workload's certificates, or one by its serial."""
    before = system_clock() - _CLOCKS_DIFFER
    with remote_ca(ca, credential) as remote:
        request = _request(target, remote)
        request.reason = reason
        answer = call(lambda: remote.authority.Revoke(request, timeout=SECONDS))
    print_result(
        "revoke",
        {
            "revoked": [
                {
                    "serial": item.serial,
                    "spiffe_id": item.spiffe_id,
                    "at": read_moment(item.revoked_at),
                }
                for item in answer.certificates
            ],
            "reason": reason,
            "ca": ca,
        },
        [
            *(_revoked_line(item, before) for item in answer.certificates),
            "Every server that follows the CA refuses them within a second",
        ],
        as_json=as_json,
    )


def list_remotely(ca: str, credential: Path | None, *, with_ended: bool, as_json: bool) -> None:
    """List the certificates that a CA issued, the newest first."""
    with remote_ca(ca, credential) as remote:
        found = list(_certificates(remote, with_ended=with_ended))
    rows = [
        (
            item.spiffe_id,
            item.serial,
            item.profile,
            f"{read_moment(item.not_after):%Y-%m-%d %H:%M:%S}",
            f"revoked: {item.reason}" if item.HasField("revoked_at") else "good",
        )
        for item in found
    ]
    if not as_json and rows and table_fits(_HEADINGS, rows):
        print_table(counted(len(rows), "certificate"), _HEADINGS, rows)
        return
    print_result(
        "list",
        {
            "certificates": [
                {
                    "serial": item.serial,
                    "spiffe_id": item.spiffe_id,
                    "profile": item.profile,
                    "not_after": read_moment(item.not_after),
                    "revoked_at": read_moment(item.revoked_at)
                    if item.HasField("revoked_at")
                    else None,
                    "issuer": item.issuer,
                }
                for item in found
            ]
        },
        ["  ".join(row) for row in rows] or ["No certificate is valid now"],
        as_json=as_json,
    )


def _certificates(
    remote: RemoteCa, *, with_ended: bool = False
) -> Iterator[authority_pb2.CertificateSummary]:
    request = authority_pb2.ListCertificatesRequest(page_size=500, ended=with_ended)
    while True:
        page = call(lambda: remote.authority.ListCertificates(request, timeout=SECONDS))
        yield from page.certificates
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def _revoked_line(item: authority_pb2.CertificateSummary, before: datetime) -> str:
    at = read_moment(item.revoked_at)
    if at < before:
        return f"{item.serial} of {item.spiffe_id} was revoked already, at {at:%Y-%m-%d %H:%M:%S}"
    return f"Revoked {item.serial} of {item.spiffe_id}"


def _request(target: str, remote: RemoteCa) -> authority_pb2.RevokeRequest:
    """Return the request for what a user names: a directory, a workload or a serial number."""
    if Path(target).is_dir():
        leaf = load_credential(Path(target)).credential.leaf
        return authority_pb2.RevokeRequest(serial=f"{leaf.serial_number:x}", whole_line=True)
    text = target.lower().replace(":", "").removeprefix("0x").lstrip("0")
    digits = text.rstrip(".\N{HORIZONTAL ELLIPSIS}")
    if set(digits) <= set(hexdigits) and len(digits) >= _SHORTEST_BEGINNING:
        if len(digits) >= _SURELY_WHOLE and digits == text:
            return authority_pb2.RevokeRequest(serial=digits)
        serial = _serial_that_begins(target, digits, remote)
        if serial:
            return authority_pb2.RevokeRequest(serial=serial)
    try:
        name = SpiffeId.parse_name(target, remote.own_id.trust_domain)
    except PkiError as error:
        raise InputError(
            f"{quote_untrusted(target)} is no directory here, no workload and no serial number of "
            "a certificate that is still valid",
            remedy="See them with: handfast list --ca",
        ) from error
    return authority_pb2.RevokeRequest(spiffe_id=str(name))


def _serial_that_begins(target: str, digits: str, remote: RemoteCa) -> str:
    """Return the one serial number that begins so; empty if there is none.

    Raises:
        InputError: if several do, or a workload has that name too.
    """
    workload = f"spiffe://{remote.own_id.trust_domain}/{target}"
    found = list(_certificates(remote))
    serials = [item.serial for item in found if item.serial.startswith(digits)]
    if serials and any(item.spiffe_id == workload for item in found):
        raise InputError(
            f"{quote_untrusted(target)} is a workload, and the beginning of the serial number "
            f"{serials[0]}",
            remedy=f"Nothing was revoked: name the workload ({workload}), or the whole number",
        )
    if len(serials) > 1:
        raise InputError(
            f"{len(serials)} serial numbers begin with {quote_untrusted(target)}",
            remedy="Nothing was revoked: write more digits",
        )
    return serials[0] if serials else ""
