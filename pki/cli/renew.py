"""``handfast renew``: renews a certificate that is due, and repairs every file but the key.

The order: lock the directory, read all that can still be read of it, look up its record in the
ledger, then decide whether it is due. While the lock is held nobody else writes there, so that two
processes never ask for two renewals of one certificate: the second finds it renewed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pki.authority import Authority, CertificateRecord
from pki.authority.lifetimes import is_renewal_due, renewal_due
from pki.cli.options import DEFAULT_DIR, DirOption, parse_lifetime, parse_path
from pki.cli.output import JsonOption, print_result
from pki.cli.state.authority import open_authority
from pki.cli.state.issuing import parse_request, print_issued, read_request_file, save_issued
from pki.cli.state.ledger_lookup import recorded_chain, require_record
from pki.cli.state.trust_distribution import import_crls, issuer_certificates
from pki.errors import CouldNotTellError, CredentialError, PkiError, StateError, quote_untrusted
from pki.files import (
    Layout,
    PartialCredential,
    detect_layout,
    ensure_pending_key,
    find_layout,
    read_partial_credential,
    save_credential,
    save_trust,
    writer_lock,
)
from pki.files.writer import promote_pending_key, save_chain
from pki.keys import KeyType, PrivateKey, PublicKey, generate_key, public_key_fingerprint
from pki.x509 import Credential
from pki.x509.decoding import public_key_of


def renew(
    target: Annotated[
        Path, typer.Argument(parser=parse_path, metavar="DIR", help="The credential directory.")
    ],
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Only check whether it is due: exit 0 yes, 1 no, 3 could not tell."
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Renew it even if it is not due.")] = False,
    ttl: Annotated[
        str | None, typer.Option(help="Lifetime; by default that of the old certificate.")
    ] = (None),
    csr: Annotated[
        Path | None,
        typer.Option(help="A new certificate request, for a directory without the key."),
    ] = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Renew a certificate that is due, and update trust bundle and revocation lists."""
    lifetime = parse_lifetime(ttl) if ttl else None
    if check:
        _check_due(target, directory, as_json=as_json)
        return
    layout, holds_key = _find_layout(target)
    request = _read_request(target, csr, holds_key=holds_key)
    leaf_before = _leaf_fingerprint(target, layout)
    with open_authority(directory) as authority, writer_lock(target, layout=layout):
        if holds_key:
            promote_pending_key(target, layout=layout)
        contents = read_partial_credential(target, layout, holds_key=holds_key)
        if holds_key:
            _require_key(contents)
        # The directory may be outside the state folder, and its own CRLs may be newer.
        import_crls(authority, directory, contents.crls)
        authority.refresh_crls()
        record = require_record(authority, contents)
        repaired = _repair(authority, contents, record)
        due = renewal_due(record.issued_at, record.not_after, int(record.serial, 16))
        # Another process renewed it while this one waited for the lock.
        already_renewed = leaf_before is not None and leaf_before != _leaf_fingerprint(
            target, layout
        )
        # A revoked certificate counts as due: the CA then refuses it, and says what to do.
        is_due = record.revoked_at is not None or is_renewal_due(
            record.issued_at, record.not_after, int(record.serial, 16), now=authority.now()
        )
        if not is_due and (already_renewed or not force):
            _print_not_due(
                record, due, target, repaired, already_renewed=already_renewed, as_json=as_json
            )
            return
        if holds_key:
            new_key = generate_key(_key_type(contents.leaf_key or contents.key))
            key = ensure_pending_key(target, new_key, layout=layout)
            issued = authority.renew(record.certificate, key=key, lifetime=lifetime)
        elif request is not None:
            issued = authority.renew_request(record.certificate, request.data, lifetime=lifetime)
        else:
            raise StateError(
                f"{quote_untrusted(target)} is due, and its key is elsewhere; its trust bundle "
                "and lists are up to date",
                remedy="Bring a new request from the holder of the key: handfast renew DIR --csr "
                "FILE",
            )
        save_issued(issued, target, layout)
    print_issued("renew", issued, target, layout, as_json=as_json)


@dataclass(frozen=True, slots=True)
class _Request:
    data: bytes
    public_key: PublicKey


def _find_layout(target: Path) -> tuple[Layout, bool]:
    """Return a directory's layout, and whether it holds a key.

    Raises:
        CredentialError: if it holds no credential.
    """
    layout_and_key = find_layout(target)
    # Neither key nor chain is there: the error names the files that are expected.
    return layout_and_key if layout_and_key is not None else (detect_layout(target), True)


def _read_request(target: Path, csr: Path | None, *, holds_key: bool) -> _Request | None:
    if csr is None:
        return None
    data = read_request_file(csr)
    if holds_key:
        raise CredentialError(
            f"{quote_untrusted(target)} holds its own key, and needs no request",
            remedy="Leave out --csr, or name the directory that was made with issue --csr",
        )
    return _Request(data, parse_request(data, csr))


def _require_key(contents: PartialCredential) -> None:
    """Check that the key can be read: it is the one file that can't be repaired.

    Raises:
        PkiError: if it can't be read, or belongs to another certificate.
    """
    layout = contents.layout
    if contents.leaf is not None and contents.leaf_key is not None:
        return
    if contents.key is None or contents.leaf is not None:
        for name in (layout.key, layout.next_key):
            if name in contents.errors:
                raise contents.errors[name]
        raise CredentialError(
            f"{quote_untrusted(contents.directory / layout.key)} does not belong to the "
            "certificate",
            remedy="Restore the key that does, or issue a new credential elsewhere",
        )


def _repair(
    authority: Authority, contents: PartialCredential, record: CertificateRecord
) -> list[str]:
    """Write again every damaged or old file but the key; return the names of the damaged ones.

    Raises:
        StateError: if a file can't be written.
    """
    layout, directory = contents.layout, contents.directory
    bundle, crls = authority.trust()
    save_trust(bundle, crls, directory, layout=layout, issuers=issuer_certificates(authority))
    damaged = [name for name in contents.errors if name not in (layout.key, layout.next_key)]
    chain = recorded_chain(authority, record)
    if contents.chain != chain:
        if layout.chain is not None:
            save_chain(chain, directory, layout=layout)
        elif contents.key is not None:
            save_credential(Credential(contents.key, chain, bundle, crls), directory, layout=layout)
        damaged.append(layout.chain or layout.key)
    return sorted(set(damaged))


def _print_not_due(
    record: CertificateRecord,
    due: datetime,
    target: Path,
    repaired: list[str],
    *,
    already_renewed: bool,
    as_json: bool,
) -> None:
    print_result(
        "renew",
        {
            "directory": target,
            "renewed": False,
            "already_renewed": already_renewed,
            "renewal_from": due,
            "serial": record.serial,
            "repaired": repaired,
        },
        [
            f"{record.spiffe_id} was renewed by another process meanwhile, to {record.serial}"
            if already_renewed
            else f"{record.spiffe_id} is not due before {due:%Y-%m-%d %H:%M:%S} UTC "
            "(--force renews it now)",
            *([f"Repaired {', '.join(repaired)}"] if repaired else []),
            f"Trust bundle and revocation lists in {target} are up to date",
        ],
        as_json=as_json,
    )


def _check_due(target: Path, directory: Path, *, as_json: bool) -> None:
    """Check whether there is anything to renew.

    Raises:
        CouldNotTellError: if anything prevents an answer, so that no failure reads as "no".
    """
    try:
        reasons, due = _due_reasons(target, directory)
    except PkiError as error:
        raise CouldNotTellError(error) from error
    except KeyboardInterrupt:
        raise CouldNotTellError(StateError("interrupted before there was an answer")) from None
    except Exception as error:
        cause = StateError(
            f"{quote_untrusted(target)}: {type(error).__name__}: {quote_untrusted(error)}"
        )
        raise CouldNotTellError(cause) from error
    print_result(
        "renew --check",
        {"directory": target, "due": bool(reasons), "reasons": reasons, "renewal_from": due},
        [
            f"Due: {', '.join(reasons)}"
            if reasons
            else f"Not due before {due:%Y-%m-%d %H:%M:%S} UTC"
        ],
        as_json=as_json,
    )
    if not reasons:
        raise typer.Exit(1)


def _due_reasons(target: Path, directory: Path) -> tuple[list[str], datetime]:
    """Return why a renewal is due, empty if it is not, and when the certificate is due.

    Raises:
        PkiError: if it can't be determined.
    """
    layout, holds_key = _find_layout(target)
    with open_authority(directory, read_only=True) as authority:
        contents = read_partial_credential(target, layout, holds_key=holds_key)
        if holds_key:
            _require_key(contents)
        record = require_record(authority, contents)
        due = renewal_due(record.issued_at, record.not_after, int(record.serial, 16))
        bundle, crls = authority.trust()
        chain = recorded_chain(authority, record)
        now = authority.now()
    stale = contents.crls is None or {item.der for item in crls.crls.values()} != {
        item.der for item in contents.crls.crls.values()
    }
    ahead = any(item.this_update > now for item in crls.crls.values())
    old_trust = contents.bundle is None or contents.bundle.to_pem() != bundle.to_pem()
    reasons = [
        reason
        for applies, reason in (
            (record.revoked_at is not None, "the certificate was revoked: issue a new one"),
            (now >= due, "the certificate is past half of its life"),
            (now < record.issued_at, "the certificate was issued by a clock that was ahead"),
            (ahead, "a revocation list becomes valid only in the future"),
            (contents.chain != chain, "the chain is damaged"),
            (holds_key and contents.leaf_key is not contents.key, "a renewal was cut off"),
            (stale, "the revocation lists are not the newest"),
            (old_trust, "the trust bundle is not the newest"),
        )
        if applies
    ]
    return reasons, due


def _leaf_fingerprint(target: Path, layout: Layout) -> str | None:
    """Return the fingerprint of the leaf's key in a directory; None if it can't be read."""
    try:
        contents = read_partial_credential(target, layout, holds_key=False)
    except PkiError:
        return None
    if contents.leaf is None:
        return None
    return public_key_fingerprint(public_key_of(contents.leaf))


def _key_type(key: PrivateKey | None) -> KeyType:
    if isinstance(key, rsa.RSAPrivateKey):
        return KeyType.RSA_4096 if key.key_size > 3072 else KeyType.RSA_3072
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.key_size > 256:
        return KeyType.ECDSA_P384
    return KeyType.ECDSA_P256
