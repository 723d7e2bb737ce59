"""Renews the certificate of one directory if it is due, and repairs every file but the key.

The order: lock the directory, read all that can still be read of it, look up its record in the
ledger, then decide whether it is due. While the lock is held nobody else writes there, so that two
processes never ask for two renewals of one certificate: the second finds it renewed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pki.authority import Authority, CertificateRecord, Issued
from pki.authority.lifetimes import is_renewal_due, renewal_due
from pki.cli.options import dir_option
from pki.cli.output import quote_path
from pki.cli.state.issuing import parse_request, read_request_file, report_issued, save_issued
from pki.cli.state.ledger_lookup import recorded_chain, require_record
from pki.cli.state.trust_distribution import import_crls_of, issuer_certificates
from pki.cli.state.workload_proof import check_workload, is_proved
from pki.errors import CredentialError, PkiError, StateError, quote_untrusted
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
from pki.files.lock import WAIT_SECONDS
from pki.files.writer import promote_pending_key, save_chain
from pki.identity import SpiffeId
from pki.keys import KeyType, PrivateKey, PublicKey, generate_key, public_key_fingerprint
from pki.x509 import Credential
from pki.x509.decoding import public_key_of


@dataclass(frozen=True, slots=True)
class Renewal:
    """What is wanted of a renewal.

    Args:
        state: the state folder.
        force: renew a certificate that is not due too.
        lifetime: None takes that of the old certificate.
        csr: the file of a new request, for a directory without the key.
        name: the workload, as a path or a SPIFFE ID: needed with a request where another user can
            change the directory.
        wait_seconds: how long to wait for another writer of a directory; 0 tries once.
    """

    state: Path
    force: bool = False
    lifetime: timedelta | None = None
    csr: Path | None = None
    name: str | None = None
    wait_seconds: float = WAIT_SECONDS
    # The leaf's key in each directory, as it was when that was first tried.
    _leaves_before: dict[Path, str | None] = field(default_factory=dict)

    def run(self, authority: Authority, target: Path) -> tuple[dict[str, object], list[str]]:
        """Renew the certificate of a directory if it is due, and repair what else is there.

        The caller has imported the CRLs in the state folder.

        Returns:
            What was done: the facts for scripts, and the lines for people.

        Raises:
            PkiError: if it is due and can't be renewed, or a file can't be written.
        """
        layout, holds_key = find_credential(target)
        request = _read_request(target, self.csr, holds_key=holds_key)
        leaf_before = self._leaves_before.setdefault(target, _leaf_fingerprint(target, layout))
        with writer_lock(target, layout=layout, wait_seconds=self.wait_seconds):
            if holds_key:
                promote_pending_key(target, layout=layout)
            contents = read_partial_credential(target, layout, holds_key=holds_key)
            if holds_key:
                require_key(contents)
            # The directory may be outside the state folder, and its own CRLs may be newer.
            import_crls_of(authority, contents)
            authority.refresh_crls()
            record = require_record(authority, contents)
            if request is not None:
                self._check_workload(authority, contents, record)
            bundle_number = authority.bundle_number()
            repaired = _repair(authority, contents, record)
            if bundle_number and is_proved(contents, record):
                holder = SpiffeId.parse(record.spiffe_id)
                authority.report_trust([(holder, record.serial)], bundle_number)
            # Another process renewed it while this one waited for the lock.
            already_renewed = leaf_before is not None and leaf_before != _leaf_fingerprint(
                target, layout
            )
            # A revoked certificate counts as due: the CA then refuses it, and says what to do.
            is_due = record.revoked_at is not None or is_renewal_due(
                record.issued_at, record.not_after, int(record.serial, 16), now=authority.now()
            )
            if not is_due and (already_renewed or not self.force):
                return _report_not_due(record, target, repaired, already_renewed=already_renewed)
            issued = self._renew(authority, contents, record, request)
            save_issued(issued, target, layout)
        return report_issued("renew", issued, target, layout, self.state)

    def _check_workload(
        self, authority: Authority, contents: PartialCredential, record: CertificateRecord
    ) -> None:
        """Check that the request's sender gets no other workload's identity by a planted chain.

        Raises:
            PkiError: if it may be another's.
        """
        named = None
        if self.name is not None:
            named = SpiffeId.parse_name(self.name, authority.trust_domain)
        remedy = f"Name the workload whose request it is, e.g. --name {record.spiffe_id}"
        check_workload(contents, record, named, remedy=remedy)

    def _renew(
        self,
        authority: Authority,
        contents: PartialCredential,
        record: CertificateRecord,
        request: _Request | None,
    ) -> Issued:
        target, layout = contents.directory, contents.layout
        if contents.holds_key:
            new_key = generate_key(_key_type(contents.leaf_key or contents.key))
            key = ensure_pending_key(target, new_key, layout=layout)
            return authority.renew(record.certificate, key=key, lifetime=self.lifetime)
        if request is not None:
            return authority.renew_request(record.certificate, request.data, lifetime=self.lifetime)
        raise StateError(
            f"{quote_untrusted(target)} is due, and its key is elsewhere; its trust bundle "
            "and CRLs are up to date",
            remedy="Bring a request for a new key from the holder of the key: handfast renew "
            f"{quote_path(target)}{dir_option(self.state)} --csr FILE",
        )


@dataclass(frozen=True, slots=True)
class _Request:
    data: bytes
    public_key: PublicKey


def find_credential(target: Path) -> tuple[Layout, bool]:
    """Return a directory's layout, and whether it holds a key.

    Raises:
        CredentialError: if it holds no credential.
    """
    layout_and_key = find_layout(target)
    # Neither key nor chain is there: the error names the files that are expected.
    return layout_and_key if layout_and_key is not None else (detect_layout(target), True)


def require_key(contents: PartialCredential) -> None:
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


def _report_not_due(
    record: CertificateRecord, target: Path, repaired: list[str], *, already_renewed: bool
) -> tuple[dict[str, object], list[str]]:
    due = renewal_due(record.issued_at, record.not_after, int(record.serial, 16))
    facts: dict[str, object] = {
        "directory": target,
        "renewed": False,
        "already_renewed": already_renewed,
        "renewal_from": due,
        "serial": record.serial,
        "repaired": repaired,
    }
    lines = [
        f"{record.spiffe_id} was renewed by another process meanwhile, to {record.serial}"
        if already_renewed
        else f"{record.spiffe_id} is not due before {due:%Y-%m-%d %H:%M:%S} UTC "
        "(--force renews it now)",
        *([f"Repaired {', '.join(repaired)}"] if repaired else []),
        f"Trust bundle and revocation lists in {target} are up to date",
    ]
    return facts, lines


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
