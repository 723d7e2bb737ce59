"""``handfast renew``: renews what is due, and repairs whatever is not the key.

The order: the directory's lock, then all that can still be read of it, then what the ledger knows,
then what is due. From the first look to the last file nobody else writes there, so that two at once
never ask for two renewals of one certificate: the second finds it done.
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
from pki.cli.ca_directory import open_authority
from pki.cli.issuing import parse_request, print_issued, read_request_file, save_issued
from pki.cli.ledger_lookup import chain_of, need_record
from pki.cli.options import DEFAULT_DIR, DirOption, parse_lifetime, parse_path
from pki.cli.output import JsonOption, print_result
from pki.cli.trust_distribution import issuer_certificates, take_in_crls
from pki.errors import CouldNotTellError, CredentialError, PkiError, StateError, quote_untrusted
from pki.files import (
    Contents,
    Layout,
    detect_layout,
    find_layout,
    pending_key,
    read_contents,
    save_credential,
    save_trust,
    writing,
)
from pki.files.writer import finish_key, save_chain
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
            "--check", help="Only ask whether it is due: exit 0 yes, 1 no, 3 could not tell."
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Renew though it is not due.")] = False,
    ttl: Annotated[str | None, typer.Option(help="Lifetime; that of the old one if not given.")] = (
        None
    ),
    csr: Annotated[
        Path | None,
        typer.Option(help="A new request, for a directory whose key is with the request's maker."),
    ] = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Renew a certificate that is due, and bring trust bundle and revocation lists up to date."""
    lifetime = parse_lifetime(ttl) if ttl else None
    if check:
        _check(target, directory, as_json=as_json)
        return
    layout, holds_key = _find(target)
    request = _request_for(target, csr, holds_key=holds_key)
    before = _leaf_print(target, layout)
    with open_authority(directory) as authority, writing(target, layout=layout):
        if holds_key:
            finish_key(target, layout=layout)
        contents = read_contents(target, layout, holds_key=holds_key)
        if holds_key:
            _need_key(contents)
        # The directory may lie elsewhere, and its own lists tell what its CA once revoked.
        take_in_crls(authority, directory, contents.crls)
        authority.refresh_crls()
        record = need_record(authority, contents)
        repaired = _repair(authority, contents, record)
        due = renewal_due(record.issued_at, record.not_after, int(record.serial, 16))
        # Somebody else renewed it while this waited for the directory: that is what was wanted.
        already = before is not None and before != _leaf_print(target, layout)
        # A revoked one is never "not due": the CA refuses it, and says what to do.
        is_due = record.revoked_at is not None or is_renewal_due(
            record.issued_at, record.not_after, int(record.serial, 16), now=authority.now()
        )
        if not is_due and (already or not force):
            _print_not_due(record, due, target, repaired, already=already, as_json=as_json)
            return
        if holds_key:
            made = generate_key(_key_type(contents.key_of_leaf or contents.key))
            key = pending_key(target, made, layout=layout)
            issued = authority.renew(record.certificate, key=key, lifetime=lifetime)
        elif request is not None:
            issued = authority.renew_request(record.certificate, request.data, lifetime=lifetime)
        else:
            raise StateError(
                f"{quote_untrusted(target)} is due, and its key is elsewhere; its trust "
                "bundle and lists are "
                "up to date",
                remedy="Bring a new request of whoever holds the key: handfast renew DIR --csr "
                "FILE",
            )
        save_issued(issued, target, layout)
    print_issued("renew", issued, target, layout, as_json=as_json)


@dataclass(frozen=True, slots=True)
class _Request:
    data: bytes
    public_key: PublicKey


def _find(target: Path) -> tuple[Layout, bool]:
    """Tell a directory's layout, and whether a key lies there.

    Raises:
        CredentialError: if it holds no credential.
    """
    found = find_layout(target)
    # Without a chain either: the error names what is looked for.
    return found if found is not None else (detect_layout(target), True)


def _request_for(target: Path, csr: Path | None, *, holds_key: bool) -> _Request | None:
    if csr is None:
        return None
    data = read_request_file(csr)
    if holds_key:
        raise CredentialError(
            f"{quote_untrusted(target)} holds its own key, and needs no request",
            remedy="Leave --csr away, or name the directory that the request's answer went to",
        )
    return _Request(data, parse_request(data, csr))


def _need_key(contents: Contents) -> None:
    """Check that the key can be read: it is the one part that no repair brings back.

    Raises:
        PkiError: if it can't, or belongs to another certificate.
    """
    layout = contents.layout
    if contents.leaf is not None and contents.key_of_leaf is not None:
        return
    if contents.key is None or contents.leaf is not None:
        for name in (layout.key, layout.next_key):
            if name in contents.faults:
                raise contents.faults[name]
        raise CredentialError(
            f"{quote_untrusted(contents.directory / layout.key)} does not belong to the "
            "certificate",
            remedy="Bring the key back that does, or issue a new credential elsewhere",
        )


def _repair(authority: Authority, contents: Contents, record: CertificateRecord) -> list[str]:
    """Write anew whatever is damaged or old and is not the key; return the names of damaged files.

    Raises:
        StateError: if a file can't be written.
    """
    layout, directory = contents.layout, contents.directory
    bundle, crls = authority.trust()
    save_trust(bundle, crls, directory, layout=layout, issuers=issuer_certificates(authority))
    damaged = [name for name in contents.faults if name not in (layout.key, layout.next_key)]
    chain = chain_of(authority, record)
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
    already: bool,
    as_json: bool,
) -> None:
    print_result(
        "renew",
        {
            "directory": target,
            "renewed": False,
            "already": already,
            "due": due,
            "serial": record.serial,
            "repaired": repaired,
        },
        [
            f"{record.spiffe_id} was renewed by another process meanwhile, to {record.serial}"
            if already
            else f"{record.spiffe_id} is not due before {due:%Y-%m-%d %H:%M:%S} UTC "
            "(--force renews it now)",
            *([f"Repaired {', '.join(repaired)}"] if repaired else []),
            f"Trust bundle and revocation lists in {target} are up to date",
        ],
        as_json=as_json,
    )


def _check(target: Path, directory: Path, *, as_json: bool) -> None:
    """Ask whether there is anything to renew.

    Raises:
        CouldNotTellError: whatever keeps from an answer: no reason may read as "no".
    """
    try:
        why, due = _why_due(target, directory)
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
        {"directory": target, "due": bool(why), "why": why, "renewal_from": due},
        [f"Due: {', '.join(why)}" if why else f"Not due before {due:%Y-%m-%d %H:%M:%S} UTC"],
        as_json=as_json,
    )
    if not why:
        raise typer.Exit(1)


def _why_due(target: Path, directory: Path) -> tuple[list[str], datetime]:
    """Return what makes a renewal due, nothing if it is not, and when the certificate is due.

    Raises:
        PkiError: if that can't be told.
    """
    layout, holds_key = _find(target)
    with open_authority(directory, read_only=True) as authority:
        contents = read_contents(target, layout, holds_key=holds_key)
        if holds_key:
            _need_key(contents)
        record = need_record(authority, contents)
        due = renewal_due(record.issued_at, record.not_after, int(record.serial, 16))
        bundle, crls = authority.trust()
        chain = chain_of(authority, record)
        now = authority.now()
    stale = contents.crls is None or {item.der for item in crls.crls.values()} != {
        item.der for item in contents.crls.crls.values()
    }
    ahead = any(item.this_update > now for item in crls.crls.values())
    old_trust = contents.bundle is None or contents.bundle.to_pem() != bundle.to_pem()
    why = [
        words
        for is_so, words in (
            (record.revoked_at is not None, "the certificate was revoked: issue a new one"),
            (now >= due, "the certificate is past half of its life"),
            (now < record.issued_at, "the certificate was issued by a clock that was ahead"),
            (ahead, "a revocation list counts only from a time to come"),
            (contents.chain != chain, "the chain is damaged"),
            (holds_key and contents.key_of_leaf is not contents.key, "a renewal was cut off"),
            (stale, "the revocation lists are not the newest"),
            (old_trust, "the trust bundle is not the newest"),
        )
        if is_so
    ]
    return why, due


def _leaf_print(target: Path, layout: Layout) -> str | None:
    """Return what tells one certificate of a directory from the next; None if it can't be read."""
    try:
        contents = read_contents(target, layout, holds_key=False)
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
