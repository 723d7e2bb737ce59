"""``handfast verify``: verifies a chain as a peer would."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from cryptography import x509

from pki.cli.options import DEFAULT_DIR, DirOption, ca_directory
from pki.cli.output import JsonOption, print_result, quote_path
from pki.cli.state.meant_path import path_suggested
from pki.clock import system_clock
from pki.errors import (
    CertificateError,
    CouldNotTellError,
    PkiError,
    StateError,
    VerificationError,
    quote_untrusted,
)
from pki.failures import FAILURES, recognise
from pki.files import load_credential, read_bounded
from pki.files.credential_files import error_context
from pki.identity import DnsName, SpiffeId
from pki.x509 import (
    CLIENT,
    SERVER,
    WORKLOAD,
    ChainVerifier,
    CrlSet,
    Fault,
    LeafProfile,
    Purpose,
    RevocationMode,
    TrustBundle,
    read_chain,
    read_names,
)
from pki.x509.readers import MAX_CRLS_BYTES
from pki.x509.verify import ExpectedName

_Value = TypeVar("_Value")
# The failure of the table that each fault is, where it is one only.
_SLUGS = {
    Fault.EXPIRED: "expired",
    Fault.NOT_YET_VALID: "not-yet-valid",
    Fault.REVOKED: "revoked",
    Fault.ISSUER_REVOKED: "issuer-revoked",
    Fault.NAME_MISMATCH: "wrong-name",
}


def verify(
    target: Annotated[Path, typer.Argument(help="A chain in PEM, or a credential directory.")],
    purpose: Annotated[Purpose, typer.Option("--as", help="The side that presents the chain.")],
    name: Annotated[
        str | None,
        typer.Option(help="The name that it must hold: payments, a SPIFFE ID, DNS name or IP."),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(help="The roots to trust; by default those beside the chain, or the CA's."),
    ] = None,
    crl: Annotated[
        Path | None,
        typer.Option(help="Revocation lists; by default those beside the chain, or the CA's."),
    ] = None,
    revocation: Annotated[
        RevocationMode,
        typer.Option(help="If a CRL is missing: refuse; accept; accept leaves of at most 24 h."),
    ] = RevocationMode.REQUIRED,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Verify a chain as a peer would: exit 0 accepted, 1 refused, 3 could not tell."""
    try:
        with path_suggested(target, directory):
            chain, roots, crls = _load(target, bundle, crl, ca_directory(directory))
        profile = _profile(chain[0], purpose)
        spiffe_id = None if profile is not WORKLOAD else read_names(chain[0]).spiffe_id
        expected = _expected(name, spiffe_id) if name else None
    except CertificateError as error:
        refusal = VerificationError(error.message, fault=Fault.PROFILE, remedy=error.remedy)
        raise _with_remedy(refusal, target) from error
    except PkiError as error:
        raise CouldNotTellError(error) from error
    except OSError as error:
        cause = StateError(f"{quote_untrusted(target)} can't be read: {error.strerror}")
        raise CouldNotTellError(cause) from error
    try:
        verified = ChainVerifier(roots, crls, mode=revocation).verify(
            chain, profile=profile, purpose=purpose, at=system_clock(), expected=expected
        )
    except VerificationError as error:
        raise _with_remedy(error, target) from None
    print_result(
        "verify",
        {
            "accepted": True,
            "result": "SUCCESS",
            "profile": profile.name,
            "purpose": purpose.value,
            "path": [item.subject.rfc4514_string() for item in verified.path],
            "valid_until": verified.valid_until,
        },
        [
            f"Accepted as a {purpose.value} ({profile.name} certificate)",
            *(f"  {quote_untrusted(item.subject.rfc4514_string())}" for item in verified.path),
            f"  valid until {verified.valid_until:%Y-%m-%d %H:%M:%S} UTC, CRLs included",
        ],
        as_json=as_json,
    )


def _with_remedy(error: VerificationError, target: Path) -> VerificationError:
    """Return a refusal with what to do about it, as ``handfast explain`` says it."""
    if not error.remedy:
        matches = recognise(error.message)
        slug = _SLUGS.get(error.fault) or (matches[0].failure.slug if matches else "")
        error.remedy = (
            f"{FAILURES[slug].remedy} More: handfast docs {slug}"
            if slug
            else f"See what it holds: handfast inspect {quote_path(target)}"
        )
    return error


def _load(
    target: Path, bundle: Path | None, crl: Path | None, ca_folder: Path
) -> tuple[tuple[x509.Certificate, ...], TrustBundle, CrlSet | None]:
    if target.is_dir():
        credential = load_credential(target).credential
        roots = _read_and_parse(bundle, TrustBundle.read) if bundle else credential.bundle
        crls = _read_and_parse(crl, CrlSet.read) if crl else credential.crls
        return credential.chain, roots, crls
    chain = _read_and_parse(target, read_chain)
    roots = _read_and_parse(bundle or ca_folder / "bundle.pem", TrustBundle.read)
    crls_path = crl or ca_folder / "crl.pem"
    crls = _read_and_parse(crls_path, CrlSet.read) if crl or crls_path.exists() else None
    return chain, roots, crls


def _profile(leaf: x509.Certificate, purpose: Purpose) -> LeafProfile:
    if any(uri.startswith("spiffe://") for uri in read_names(leaf).uris):
        return WORKLOAD
    return SERVER if purpose is Purpose.SERVER else CLIENT


def _expected(name: str, own: SpiffeId | None) -> ExpectedName:
    if "://" not in name:
        try:
            return ip_address(name)
        except ValueError:
            if "." in name or own is None:
                return DnsName.parse(name)
    return SpiffeId.parse_name(name, own.trust_domain if own is not None else None)


def _read_and_parse(path: Path, read: Callable[[bytes], _Value]) -> _Value:
    """Read and parse a file; every error names the file."""
    try:
        data = read_bounded(path, max_bytes=MAX_CRLS_BYTES)[0]
    except FileNotFoundError:
        raise StateError(f"{quote_untrusted(path)} is not there") from None
    with error_context(path):
        return read(data)
