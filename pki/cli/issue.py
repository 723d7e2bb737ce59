"""``handfast issue`` and ``handfast renew``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pki.authority import Authority, CertificateRecord, Issued
from pki.authority.lifetimes import is_renewal_due, renewal_due
from pki.cli.output import JsonOption, tell
from pki.cli.state import (
    DEFAULT_DIR,
    DirOption,
    open_authority,
    parse_dns,
    parse_ip,
    parse_layout,
    parse_lifetime,
)
from pki.errors import CredentialError, InputError, PkiError, StateError
from pki.files import (
    Layout,
    LoadedCredential,
    detect_layout,
    load_credential,
    pending_key,
    read_bounded,
    save_trust,
)
from pki.files.writer import finish_key
from pki.identity import SpiffeId
from pki.keys import KeyType, PrivateKey, generate_key
from pki.x509 import read_names
from pki.x509.profiles import LEAF_PROFILES
from pki.x509.request import MAX_REQUEST_BYTES

COULD_NOT_TELL = 3


def issue(
    name: Annotated[str, typer.Argument(help="The workload: orders, prod/orders, spiffe://...")],
    out: Annotated[Path | None, typer.Option(help="Where to; DIR/NAME if not given.")] = None,
    layout: Annotated[
        str, typer.Option(help="handfast, kubernetes, spiffe-helper, spire, certbot, spiffe-files.")
    ] = "handfast",
    ttl: Annotated[str, typer.Option(help="Lifetime: 30m, 1h; at most 24h.")] = "1h",
    dns: Annotated[list[str] | None, typer.Option(help="A further DNS name.")] = None,
    ip: Annotated[list[str] | None, typer.Option(help="An IP address.")] = None,
    csr: Annotated[
        Path | None, typer.Option(help="A request to answer; its maker keeps the key.")
    ] = None,
    key_type: Annotated[KeyType, typer.Option(help="Not ed25519.")] = KeyType.ECDSA_P256,
    profile: Annotated[str, typer.Option(help="workload, server or client.")] = "workload",
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Issue a certificate to a workload, and write it down with its key, trust and lists."""
    used = parse_layout(layout)
    if profile not in LEAF_PROFILES:
        raise typer.BadParameter(f"profile is one of {', '.join(LEAF_PROFILES)}")
    names = tuple(parse_dns(item) for item in dns or ())
    addresses = tuple(parse_ip(item) for item in ip or ())
    lifetime = parse_lifetime(ttl)
    with open_authority(directory) as authority:
        workload = (
            SpiffeId.parse(name)
            if "://" in name
            else SpiffeId.of_path(authority.trust_domain, name)
        )
        folder = out or directory / workload.path
        _refuse_other_credential(folder, workload, used)
        if csr is None:
            issued = authority.issue(
                name,
                dns=names,
                ip=addresses,
                lifetime=lifetime,
                key_type=key_type,
                profile=LEAF_PROFILES[profile],
            )
        else:
            issued = authority.issue_request(
                name,
                _read_request(csr),
                dns=names,
                ip=addresses,
                lifetime=lifetime,
                profile=LEAF_PROFILES[profile],
            )
    issued.save(folder, layout=used)
    _tell_issued("issue", issued, folder, used, as_json=as_json)


def renew(
    target: Annotated[Path, typer.Argument(help="The credential directory.")],
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
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Renew a certificate that is due, and bring trust bundle and revocation lists up to date."""
    lifetime = parse_lifetime(ttl) if ttl else None
    if check:
        _check(target, directory, as_json=as_json)
        return
    with open_authority(directory) as authority:
        layout = detect_layout(target)
        finish_key(target, layout=layout)
        loaded = load_credential(target, layout=layout)
        authority.refresh_lists()
        record = _record(authority, loaded)
        due = renewal_due(record.issued_at, record.not_after, int(record.serial, 16))
        moment = authority.now()
        if not force and not is_renewal_due(
            record.issued_at, record.not_after, int(record.serial, 16), now=moment
        ):
            bundle, lists = authority.trust()
            save_trust(bundle, lists, target, layout=layout)
            tell(
                "renew",
                {"directory": target, "renewed": False, "due": due, "serial": record.serial},
                [
                    f"{record.spiffe_id} is not due before {due:%Y-%m-%d %H:%M:%S} UTC "
                    "(--force renews it now)",
                    f"Trust bundle and revocation lists in {target} are up to date",
                ],
                as_json=as_json,
            )
            return
        key = pending_key(target, generate_key(_key_type(loaded)), layout=layout)
        issued = authority.renew(loaded.credential.leaf, key=key, lifetime=lifetime)
    issued.save(target, layout=layout)
    _tell_issued("renew", issued, target, layout, as_json=as_json)


def _check(target: Path, directory: Path, *, as_json: bool) -> None:
    try:
        with open_authority(directory, read_only=True) as authority:
            loaded = load_credential(target)
            record = _record(authority, loaded)
            due = renewal_due(record.issued_at, record.not_after, int(record.serial, 16))
            bundle, lists = authority.trust()
            now = authority.now()
    except PkiError as error:
        # Neither yes nor no: systemd's ExecCondition must not read this as "not due".
        raise CouldNotTellError(error) from error
    held = loaded.credential.lists
    stale = held is None or {item.der for item in lists.lists.values()} != {
        item.der for item in held.lists.values()
    }
    ahead = any(item.this_update > now for item in lists.lists.values())
    old_trust = loaded.credential.bundle.to_pem() != bundle.to_pem()
    why = [
        words
        for is_so, words in (
            (now >= due, "the certificate is past half of its life"),
            (now < record.issued_at, "the certificate was issued by a clock that was ahead"),
            (ahead, "a revocation list counts only from a time to come"),
            (stale, "the revocation lists are not the newest"),
            (old_trust, "the trust bundle is not the newest"),
        )
        if is_so
    ]
    tell(
        "renew --check",
        {"directory": target, "due": bool(why), "why": why, "renewal_from": due},
        [f"Due: {', '.join(why)}" if why else f"Not due before {due:%Y-%m-%d %H:%M:%S} UTC"],
        as_json=as_json,
    )
    if not why:
        raise typer.Exit(1)


class CouldNotTellError(Exception):
    """A question of yes or no that has no answer: exit code 3."""

    def __init__(self, cause: PkiError) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _record(authority: Authority, loaded: LoadedCredential) -> CertificateRecord:
    leaf = loaded.credential.leaf
    record = authority.certificate(leaf.serial_number)
    if record is None or record.certificate != leaf:
        raise StateError(
            "the certificate is not one that this CA issued",
            remedy="Name the CA that did with --dir",
        )
    return record


def _key_type(loaded: LoadedCredential) -> KeyType:
    key: PrivateKey = loaded.credential.key
    if isinstance(key, rsa.RSAPrivateKey):
        return KeyType.RSA_4096 if key.key_size > 3072 else KeyType.RSA_3072
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.key_size > 256:
        return KeyType.ECDSA_P384
    return KeyType.ECDSA_P256


def _read_request(path: Path) -> bytes:
    try:
        return read_bounded(path, max_bytes=MAX_REQUEST_BYTES)[0]
    except FileNotFoundError:
        raise StateError(f"request {path} is not there") from None


def _refuse_other_credential(folder: Path, workload: SpiffeId, layout: Layout) -> None:
    """Never write one workload's credential over another's, nor two layouts side by side."""
    try:
        if (there := detect_layout(folder)) is not layout:
            raise StateError(
                f"{folder} holds a credential in the layout {there.name}",
                remedy=f"Issue with --layout {there.name}, or choose another folder with --out",
            )
        held = load_credential(folder).credential.spiffe_id
    except (CredentialError, InputError):
        # There is none, or none that works: nothing is lost.
        return
    if held is not None and held != workload:
        raise CredentialError(
            f"{folder} holds the credential of {held}", remedy="Choose another folder with --out"
        )


def _tell_issued(
    command: str, issued: Issued, folder: Path, layout: Layout, *, as_json: bool
) -> None:
    leaf = issued.leaf
    names = read_names(leaf)
    files = [layout.chain or layout.key, layout.bundle, layout.lists]
    if issued.key is not None:
        files.insert(0, layout.key)
    tell(
        command,
        {
            "renewed": command == "renew",
            "spiffe_id": str(issued.spiffe_id),
            "serial": f"{leaf.serial_number:x}",
            "dns": [name.name for name in names.dns_names],
            "ip": [str(address) for address in names.ip_addresses],
            "not_before": leaf.not_valid_before_utc,
            "not_after": leaf.not_valid_after_utc,
            "directory": folder,
            "files": sorted(set(files)),
            "notes": list(issued.notes),
        },
        [
            f"{'Renewed' if command == 'renew' else 'Issued'} {issued.spiffe_id}",
            f"  serial    {leaf.serial_number:x}",
            f"  names     {', '.join(name.name for name in names.dns_names) or 'no DNS name'}",
            f"  until     {leaf.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC",
            f"  in        {folder}: {', '.join(sorted(set(files)))}",
            *(f"Mind: {note}" for note in issued.notes),
            f"Next: handfast verify {folder} --as server; and a timer for: handfast renew {folder}",
        ],
        as_json=as_json,
    )
