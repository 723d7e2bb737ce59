"""``handfast ca root prepare``: put a new root beside the present one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pki.authority.lifetimes import DEFAULT_ISSUING, DEFAULT_ROOT
from pki.cli.ca.root.options import IssuingLifetimeOption, OutOption, RootLifetimeOption
from pki.cli.options import DEFAULT_DIR, DirOption, dir_option, parse_path
from pki.cli.output import JsonOption, print_result, quote_path
from pki.cli.state.authority import open_authority
from pki.cli.state.root_requests import next_lines, save_request
from pki.cli.state.trust_distribution import distribute, import_crls
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
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Make a trust bundle with the old and the new root, and an issuing CA under the new one."""
    certificate = read_certificate(_read(root)) if root is not None else None
    with open_authority(directory) as authority:
        import_crls(authority, directory)
        prepared = authority.prepare_root(
            certificate,
            key_type=key_type,
            root_lifetime=lifetime,
            issuing_lifetime=issuing_lifetime,
        )
        if prepared.request is not None:
            path = save_request(prepared.request, out, directory)
            print_result(
                "ca root prepare",
                {"status": "requested", "request": path, "digest": prepared.request.digest},
                next_lines(prepared.request, path, directory),
                as_json=as_json,
            )
            return
        distribution = distribute(authority, directory)
        number = authority.bundle_number()
        keys = sorted(authority.path.glob("root*.key.pem"))
    assert prepared.issuer is not None
    print_result(
        "ca root prepare",
        {
            "status": "prepared",
            "bundle": number,
            "issuing_ca": prepared.issuer.key_id,
            **distribution.to_json(),
        },
        [
            f"Trust bundle {number} holds the old and the new root. It was brought to "
            f"{len(distribution.updated)} credential directories here",
            f"Issuing CA {prepared.issuer.key_id} under the new root is prepared",
            *(
                ["Take the roots' keys away from this machine: " + ", ".join(map(quote_path, keys))]
                if keys
                else []
            ),
            "Next: bring bundle.pem and crl.pem to all others, look at handfast ca rotate status"
            f"{dir_option(directory)}, and then: handfast ca root activate{dir_option(directory)}",
        ],
        as_json=as_json,
    )
    distribution.exit_if_incomplete("The new root is prepared")


def _read(path: Path) -> bytes:
    try:
        return read_bounded(path, max_bytes=2 * MAX_CERTIFICATE_BYTES)[0]
    except FileNotFoundError:
        raise StateError(
            f"{quote_untrusted(path)} is not there",
            remedy="Make a root where roots are kept: handfast ca root new",
        ) from None
