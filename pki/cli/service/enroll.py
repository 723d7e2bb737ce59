"""``handfast enroll``: obtain a workload's first certificate from the CA, with a token."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from pki.ca_client.bundles import Anchor
from pki.ca_client.calls import JwtProof, Keys, enroll_by_jwt
from pki.ca_client.calls import enroll as ask_ca
from pki.ca_client.enrollment import enroll_into, why_unusable
from pki.ca_client.received import Received
from pki.ca_client.storage.identity_store import IdentityStore
from pki.cli.options import parse_path
from pki.cli.output import JsonOption, print_result, quote_path
from pki.cli.service.ca_options import parse_address
from pki.clock import system_clock
from pki.errors import StateError, quote_untrusted
from pki.files import read_bounded
from pki.identity import SpiffeId
from pki.proofs import EnrollmentToken
from pki.x509 import TrustBundle
from pki.x509.readers import MAX_BUNDLE_BYTES

_MOST_BYTES, _MOST_JWT_BYTES = 4096, 16 * 1024


def enroll(
    out: Annotated[
        Path,
        typer.Option(parser=parse_path, metavar="DIR", help="The directory for the identity."),
    ],
    token: Annotated[
        str | None,
        typer.Argument(help="The token; - reads it from stdin. Others can see arguments."),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(parser=parse_path, metavar="FILE", help="Read the token from a file."),
    ] = None,
    jwt_file: Annotated[
        Path | None,
        typer.Option(
            parser=parse_path,
            metavar="FILE",
            help="Prove it by a JWT of an OIDC issuer, with --address, --bundle and --name.",
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            parser=parse_address, metavar="ADDRESS", help="With --jwt-file: the CA, host:port."
        ),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(parser=parse_path, metavar="FILE", help="With --jwt-file: the CA's roots."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="ID", help="With --jwt-file: the SPIFFE ID to enroll.")
    ] = None,
    recovery: Annotated[
        bool,
        typer.Option(
            help="Make a recovery key too, so that the workload comes back after a long sleep."
        ),
    ] = True,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="Replace the identity in the directory, though it seems to be of use still, and "
            "trust the root that the token names.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Enroll a workload: verify the CA first, make the key here, and bring the certificate.

    A directory whose identity was revoked is enrolled anew.
    """
    by_jwt = _jwt_proof(jwt_file, address, bundle, name)
    proof = by_jwt or EnrollmentToken.parse(_read(token, token_file))
    name_of_proof = proof.jwt.encode() if isinstance(proof, JwtProof) else proof.credential.id
    store, now = IdentityStore(out), system_clock()

    def ask(keys: Keys, anchor: Anchor | None) -> Received:
        if isinstance(proof, JwtProof):
            return enroll_by_jwt(proof, keys, now=now, anchor=anchor)
        return ask_ca(proof, keys, now=now, anchor=anchor)

    with ExitStack() as stack:
        if store.is_enrolled:
            if not replace and not why_unusable(store, now):
                raise StateError(
                    f"{quote_path(out)} is enrolled already",
                    remedy=f"Keep it fresh: handfast agent {quote_path(out)}; or enroll it anew "
                    "with --replace; or choose another directory",
                )
            stack.callback(store.hold())
        received = enroll_into(
            store, name_of_proof, ask, with_recovery=recovery, trust_proof=replace
        )
    leaf = received.credential.leaf
    print_result(
        "enroll",
        {
            "spiffe_id": str(received.spiffe_id),
            "directory": out,
            "serial": f"{leaf.serial_number:x}",
            "not_after": leaf.not_valid_after_utc,
            "ca": received.authority_address,
            "recoveries": received.recoveries_left,
            "notes": list(received.notes),
        },
        [
            f"Enrolled {received.spiffe_id} in {quote_path(out)}, until "
            f"{leaf.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC",
            *(f"Note: {quote_untrusted(note)}" for note in received.notes),
            f"Next: handfast agent {quote_path(out)} keeps it fresh for any program; a Python "
            f"service does so itself: pki.Workload.from_ca({str(out)!r})",
        ],
        as_json=as_json,
    )


def _jwt_proof(
    jwt_file: Path | None, address: str | None, bundle: Path | None, name: str | None
) -> JwtProof | None:
    """Return the proof by a JWT that the options describe; None if they describe none."""
    if jwt_file is None:
        if address is not None or bundle is not None or name is not None:
            raise typer.BadParameter("--address, --bundle and --name belong to --jwt-file")
        return None
    if address is None or bundle is None or name is None:
        raise typer.BadParameter("--jwt-file needs --address, --bundle and --name too")
    spiffe_id = SpiffeId.parse(name)
    try:
        jwt, _ = read_bounded(jwt_file, max_bytes=_MOST_JWT_BYTES)
        roots, _ = read_bounded(bundle, max_bytes=MAX_BUNDLE_BYTES)
    except FileNotFoundError as error:
        raise StateError(f"{quote_untrusted(error.filename)} is not there") from None
    trusted = TrustBundle.read(roots, default=spiffe_id.trust_domain)
    return JwtProof(address, trusted, spiffe_id, jwt.decode("ascii", "replace").strip())


def _read(token: str | None, token_file: Path | None) -> str:
    if (token is None) == (token_file is None):
        raise typer.BadParameter("give the token, or --token-file FILE, or - for stdin")
    if token_file is not None:
        try:
            data, _ = read_bounded(token_file, max_bytes=_MOST_BYTES)
        except FileNotFoundError:
            raise StateError(f"token file {quote_path(token_file)} is not there") from None
        return data.decode("ascii", "replace")
    assert token is not None
    return sys.stdin.read(_MOST_BYTES) if token == "-" else token  # noqa: S105 - a dash
