"""``handfast ca root prepare``: put a new root beside the present one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.serialization import Encoding

from pki._proto.handfast.ca.v1 import rotation_pb2 as messages
from pki.authority.lifetimes import DEFAULT_ISSUING, DEFAULT_ROOT
from pki.cli.ca.root.options import IssuingLifetimeOption, OutOption, RootLifetimeOption
from pki.cli.options import DEFAULT_DIR, DirOption, parse_path
from pki.cli.output import JsonOption, print_result, quote_path
from pki.cli.service.ca_options import CaOption, CredentialOption
from pki.cli.service.rotation.desk import rotation_desk
from pki.cli.state.root_requests import print_request
from pki.daemon.messages import duration_message
from pki.errors import StateError, quote_untrusted
from pki.files import read_bounded
from pki.keys import KeyType
from pki.x509 import read_certificate
from pki.x509.readers import MAX_CERTIFICATE_BYTES


def prepare(
    root: Annotated[
        Path | None,
        typer.Option(
            parser=parse_path,
            metavar="FILE",
            help="The new root's certificate, from handfast ca root new. Without it, the root is "
            "made here, where the present root's key must be too.",
        ),
    ] = None,
    out: OutOption = None,
    lifetime: RootLifetimeOption = DEFAULT_ROOT,
    issuing_lifetime: IssuingLifetimeOption = DEFAULT_ISSUING,
    key_type: Annotated[
        KeyType, typer.Option(help="The kind of the new issuing CA's key.")
    ] = KeyType.ECDSA_P256,
    ca: CaOption = None,
    credential: CredentialOption = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Make a trust bundle with the old and the new root, and an issuing CA under the new one.

    Works on the folder, or with --ca over the network.
    """
    request = messages.PrepareRootRequest(
        key_type=key_type.value, issuing_lifetime=duration_message(issuing_lifetime)
    )
    if root is not None:
        request.root = read_certificate(_read(root)).public_bytes(Encoding.DER)
    with rotation_desk(ca, credential, directory) as desk:
        prepared = desk.prepare_root(request, lifetime)
        keys = desk.root_keys()
    if prepared.request:
        path = desk.request_path(out)
        print_request(
            "ca root prepare",
            prepared.request,
            path,
            desk.options(),
            as_json=as_json,
            waited=desk.waited,
        )
        return
    number, issuing = prepared.bundle_number, prepared.issuing_ca.key_id
    print_result(
        "ca root prepare",
        {
            "status": "prepared",
            "bundle": number,
            "issuing_ca": issuing,
            **desk.distribution.to_json(),
        },
        [
            f"Trust bundle {number} holds the old and the new root. {desk.reached('It')}",
            f"Issuing CA {issuing} under the new root is prepared",
            *(
                ["Take the roots' keys away from this machine: " + ", ".join(map(quote_path, keys))]
                if keys
                else []
            ),
            f"Next: {desk.rest()}, look at handfast ca rotate status{desk.options()}, and then: "
            f"handfast ca root activate{desk.options()}",
        ],
        as_json=as_json,
    )
    desk.distribution.exit_if_incomplete("The new root is prepared")


def _read(path: Path) -> bytes:
    try:
        return read_bounded(path, max_bytes=2 * MAX_CERTIFICATE_BYTES)[0]
    except FileNotFoundError:
        raise StateError(
            f"{quote_untrusted(path)} is not there",
            remedy="Make a root where roots are kept: handfast ca root new",
        ) from None
