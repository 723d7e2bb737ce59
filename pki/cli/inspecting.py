"""``handfast inspect`` and ``handfast verify``."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509

from pki.cli.issue import CouldNotTellError
from pki.cli.output import JsonOption, tell
from pki.cli.state import DEFAULT_DIR, DirOption, ca_home
from pki.clock import system_clock
from pki.errors import CertificateError, PkiError, StateError, VerificationError, shown
from pki.files import detect_layout, load_credential, read_bounded
from pki.identity import DnsName, SpiffeId
from pki.keys import public_key_fingerprint
from pki.keys.encoding import decode_private_key, is_private_key_block
from pki.pem import PemBlock, read_blocks
from pki.x509 import (
    CLIENT,
    SERVER,
    WORKLOAD,
    ChainVerifier,
    Fault,
    LeafProfile,
    Purpose,
    RevocationList,
    RevocationLists,
    RevocationMode,
    TrustBundle,
    read_chain,
    read_names,
    read_request,
)
from pki.x509.readers import MAX_LISTS_BYTES, decode_certificate
from pki.x509.verify import ExpectedName

Facts = dict[str, object]


def inspect(
    target: Annotated[Path, typer.Argument(help="A PEM or DER file, or a credential directory.")],
    as_json: JsonOption = False,
) -> None:
    """Show what a certificate, chain, request, key, list or directory holds; never a secret."""
    files = [target]
    if target.is_dir():
        layout = detect_layout(target)
        names = (layout.key, layout.chain, layout.bundle, layout.lists)
        files = [target / name for name in names if name and (target / name).exists()]
    found: list[Facts] = []
    for path in files:
        found.extend({"file": str(path), **facts} for facts in _facts_of_file(path))
    lines = []
    for facts in found:
        lines.append(f"{facts['file']}: {facts['kind']}")
        lines.extend(
            f"  {name:<12}{_words(value)}"
            for name, value in facts.items()
            if name not in {"file", "kind"}
        )
    tell("inspect", {"objects": found}, lines, as_json=as_json)


def verify(
    target: Annotated[Path, typer.Argument(help="A chain in PEM, or a credential directory.")],
    purpose: Annotated[Purpose, typer.Option("--as", help="Which end it is presented at.")],
    name: Annotated[
        str | None,
        typer.Option(help="The name that it must hold: payments, a SPIFFE ID, DNS name or IP."),
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="The roots to believe; those beside it, or the CA's.")
    ] = None,
    crl: Annotated[
        Path | None, typer.Option(help="Revocation lists; those beside it, or the CA's.")
    ] = None,
    revocation: Annotated[
        RevocationMode, typer.Option(help="What to do where a list is missing.")
    ] = RevocationMode.REQUIRED,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Verify a chain as a peer would: exit 0 accepted, 1 refused, 3 could not tell."""
    try:
        chain, roots, lists = _load(target, bundle, crl, ca_home(directory))
        profile = _profile(chain[0], purpose)
        spiffe_id = None if profile is not WORKLOAD else read_names(chain[0]).spiffe_id
        expected = _expected(name, spiffe_id) if name else None
    except CertificateError as error:
        raise VerificationError(error.message, fault=Fault.PROFILE) from error
    except PkiError as error:
        raise CouldNotTellError(error) from error
    verified = ChainVerifier(roots, lists, mode=revocation).verify(
        chain, profile=profile, purpose=purpose, at=system_clock(), expected=expected
    )
    tell(
        "verify",
        {
            "accepted": True,
            "verdict": "SUCCESS",
            "profile": profile.name,
            "purpose": purpose.value,
            "path": [item.subject.rfc4514_string() for item in verified.path],
            "good_until": verified.good_until,
        },
        [
            f"Accepted as a {purpose.value} ({profile.name} certificate)",
            *(f"  {shown(item.subject.rfc4514_string())}" for item in verified.path),
            f"  good until {verified.good_until:%Y-%m-%d %H:%M:%S} UTC, lists included",
        ],
        as_json=as_json,
    )


def _load(
    target: Path, bundle: Path | None, crl: Path | None, home: Path
) -> tuple[tuple[x509.Certificate, ...], TrustBundle, RevocationLists | None]:
    if target.is_dir():
        credential = load_credential(target).credential
        roots = TrustBundle.read(_read(bundle)) if bundle else credential.bundle
        lists = RevocationLists.read(_read(crl)) if crl else credential.lists
        return credential.chain, roots, lists
    chain = read_chain(_read(target))
    roots = TrustBundle.read(_read(bundle or home / "bundle.pem"))
    lists_path = crl or home / "crl.pem"
    lists = RevocationLists.read(_read(lists_path)) if crl or lists_path.exists() else None
    return chain, roots, lists


def _profile(leaf: x509.Certificate, purpose: Purpose) -> LeafProfile:
    if any(uri.startswith("spiffe://") for uri in read_names(leaf).uris):
        return WORKLOAD
    return SERVER if purpose is Purpose.SERVER else CLIENT


def _expected(name: str, own: SpiffeId | None) -> ExpectedName:
    if "://" in name:
        return SpiffeId.parse(name)
    try:
        return ip_address(name)
    except ValueError:
        if "." not in name and own is not None:
            return SpiffeId.of_path(own.trust_domain, name)
        return DnsName.parse(name)


def _read(path: Path) -> bytes:
    try:
        return read_bounded(path, max_bytes=MAX_LISTS_BYTES)[0]
    except FileNotFoundError:
        raise StateError(f"{shown(path)} is not there") from None


def _facts_of_file(path: Path) -> list[Facts]:
    data = _read(path)
    if data[:1] == b"\x30":
        for label in ("CERTIFICATE", "X509 CRL", "CERTIFICATE REQUEST"):
            try:
                return [_facts(PemBlock(label, data))]
            except PkiError:
                continue
        raise CertificateError(f"{shown(path)} is DER of none of the known kinds")
    blocks = read_blocks(data, what=shown(path), max_bytes=MAX_LISTS_BYTES)
    if not blocks:
        raise CertificateError(f"{shown(path)} holds nothing")
    return [_facts(block) for block in blocks]


def _facts(block: PemBlock) -> Facts:
    if block.label == "CERTIFICATE":
        return _certificate(decode_certificate(block.der, what="certificate"))
    if block.label == "X509 CRL":
        (item,) = RevocationLists.read(block.der).lists.values()
        return _list(item)
    if block.label.endswith("CERTIFICATE REQUEST"):
        request = read_request(block.der)
        return {
            "kind": "certificate request",
            "subject": str(request.names.subject),
            "uris": list(request.names.uris),
            "dns": [item.name for item in request.names.dns_names],
            "key": public_key_fingerprint(request.public_key),
        }
    if is_private_key_block(block):
        if block.label.startswith("ENCRYPTED"):
            return {"kind": "private key, encrypted"}
        key = decode_private_key(block).public_key()
        return {"kind": "private key (not shown)", "key": public_key_fingerprint(key)}
    raise CertificateError(f"PEM block {shown(block.label)} is of no kind known here")


def _certificate(certificate: x509.Certificate) -> Facts:
    basic = certificate.extensions
    is_ca = any(isinstance(item.value, x509.BasicConstraints) and item.value.ca for item in basic)
    facts: Facts = {
        "kind": "CA certificate" if is_ca else "certificate",
        "subject": certificate.subject.rfc4514_string(),
    }
    try:
        names = read_names(certificate)
    except CertificateError as error:
        if not is_ca:
            facts["names"] = f"refused: {error.message}"
    else:
        facts["uris"] = list(names.uris)
        facts["dns"] = [item.name for item in names.dns_names]
        facts["ip"] = [str(item) for item in names.ip_addresses]
    facts |= {
        "until": certificate.not_valid_after_utc,
        "from": certificate.not_valid_before_utc,
        "issuer": certificate.issuer.rfc4514_string(),
        "serial": f"{certificate.serial_number:x}",
    }
    if not is_ca:
        facts["profiles"] = [
            profile.name for profile in (WORKLOAD, SERVER, CLIENT) if _fits(profile, certificate)
        ]
    return facts


def _fits(profile: LeafProfile, certificate: x509.Certificate) -> bool:
    try:
        profile.check(certificate)
    except CertificateError:
        return False
    return True


def _list(item: RevocationList) -> Facts:
    return {
        "kind": "revocation list",
        "issuer": item.crl.issuer.rfc4514_string(),
        "number": item.number,
        "entries": len(item.revoked),
        "this update": item.this_update,
        "next update": item.next_update,
    }


def _words(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(_words(item) for item in value) or "-"
    text = str(value)
    return text if text.isascii() and text.isprintable() else shown(text)
