"""Revoke and list certificates at a CA over the network."""

from __future__ import annotations

from pathlib import Path

from pki._proto.handfast.ca.v1 import authority_pb2
from pki.ca_client.received import read_moment
from pki.ca_client.rpc_errors import call
from pki.cli.output import print_result, print_table, table_fits
from pki.cli.service.remote import SECONDS, remote_ca
from pki.errors import InputError, PkiError, counted, quote_untrusted
from pki.files import load_credential
from pki.identity import SpiffeId, TrustDomain

_HEADINGS = ("workload", "serial", "profile", "until (UTC)", "status")
_SERIAL = frozenset("0123456789abcdefABCDEF:")


def revoke_remotely(
    target: str, reason: str, ca: str, credential: Path | None, *, as_json: bool
) -> None:
    """Revoke at a CA: a directory's line, a workload's certificates, or one by its whole serial."""
    with remote_ca(ca, credential) as remote:
        request = _request(target, remote.own_id.trust_domain)
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
            *(f"Revoked {item.serial} of {item.spiffe_id}" for item in answer.certificates),
            "Every server that follows the CA refuses them within a second",
        ],
        as_json=as_json,
    )


def list_remotely(ca: str, credential: Path | None, *, with_ended: bool, as_json: bool) -> None:
    """List the certificates that a CA issued, the newest first."""
    found: list[authority_pb2.CertificateSummary] = []
    with remote_ca(ca, credential) as remote:
        request = authority_pb2.ListCertificatesRequest(page_size=500, ended=with_ended)
        while True:
            page = call(lambda: remote.authority.ListCertificates(request, timeout=SECONDS))
            found += page.certificates
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
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


def _request(target: str, domain: TrustDomain) -> authority_pb2.RevokeRequest:
    """Return the request for what a user names: a directory, a workload or a serial number."""
    if Path(target).is_dir():
        leaf = load_credential(Path(target)).credential.leaf
        return authority_pb2.RevokeRequest(serial=f"{leaf.serial_number:x}", whole_line=True)
    if set(target) <= _SERIAL and len(target) >= 30:
        return authority_pb2.RevokeRequest(serial=target)
    try:
        return authority_pb2.RevokeRequest(spiffe_id=str(SpiffeId.parse_name(target, domain)))
    except PkiError as error:
        raise InputError(
            f"{quote_untrusted(target)} is no directory here, no workload and no whole serial "
            "number",
            remedy="With --ca, give a serial number whole",
        ) from error
