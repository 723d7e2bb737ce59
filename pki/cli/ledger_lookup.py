"""Finds what the ledger knows of a credential directory, by whatever can be read of it."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from pki.authority import Authority, CertificateRecord
from pki.errors import StateError, quote_untrusted
from pki.files import Contents
from pki.keys import public_key_fingerprint


def record_of(authority: Authority, contents: Contents) -> CertificateRecord | None:
    """Return the ledger's record of a directory's certificate; None if it is not of this CA.

    Where the leaf can't be read, the key tells which it is: the newest that was issued for it.
    """
    if contents.leaf is not None:
        return _record_of_leaf(authority, contents.leaf)
    return record_of_key(authority, contents)


def record_of_key(authority: Authority, contents: Contents) -> CertificateRecord | None:
    """Return the newest certificate that was issued for a key of a directory; None if none was."""
    prints = {
        public_key_fingerprint(key.public_key())
        for key in (contents.key, contents.next_key)
        if key is not None
    }
    if not prints:
        return None
    found = [
        item for item in authority.certificates(with_ended=True) if item.key_fingerprint in prints
    ]
    return found[-1] if found else None


def need_record(authority: Authority, contents: Contents) -> CertificateRecord:
    """Return the ledger's record of a directory's certificate.

    Raises:
        PkiError: if nothing that can be read leads to one.
    """
    record = record_of(authority, contents)
    if record is not None:
        return record
    if contents.leaf is None:
        cause = contents.why_no_leaf()
        cause.remedy = cause.remedy or "Nothing is left to go by: issue a new one elsewhere"
        raise cause
    raise StateError(
        f"the certificate in {quote_untrusted(contents.directory)} is not one that this CA issued",
        remedy="Name the CA that did with --dir",
    )


def was_issued_here(authority: Authority, leaf: x509.Certificate) -> bool:
    """Return whether an issuing CA of ours signed a certificate, also where the ledger lost it."""
    for issuer in authority.issuers():
        if issuer.certificate.subject == leaf.issuer:
            try:
                leaf.verify_directly_issued_by(issuer.certificate)
            except (ValueError, TypeError, InvalidSignature):
                continue
            return True
    return False


def chain_of(authority: Authority, record: CertificateRecord) -> tuple[x509.Certificate, ...]:
    """Return the whole chain of a certificate, as the ledger has it."""
    issuer = next(item for item in authority.issuers() if item.id == record.issuer_id)
    return record.certificate, issuer.certificate


def others_of(
    authority: Authority, records: Sequence[CertificateRecord]
) -> tuple[CertificateRecord, ...]:
    """Return the certificates of the same workloads that are still good."""
    workloads = {item.spiffe_id for item in records}
    serials = {item.serial for item in records}
    return tuple(
        item
        for item in authority.certificates()
        if item.spiffe_id in workloads and item.serial not in serials and item.revoked_at is None
    )


def line_of(authority: Authority, serial: str) -> tuple[CertificateRecord, ...]:
    """Return a certificate and all that was renewed from it, as the ledger has them now."""
    everything = authority.certificates(with_ended=True)
    line = [item for item in everything if item.serial == serial]
    while line:
        follower = next((item for item in everything if item.renewed_from == line[-1].id), None)
        if follower is None:
            break
        line.append(follower)
    return tuple(line)


def _record_of_leaf(authority: Authority, leaf: x509.Certificate) -> CertificateRecord | None:
    record = authority.certificate(leaf.serial_number)
    # The serial number alone proves nothing: whoever can write the file can write any number.
    return record if record is not None and record.certificate == leaf else None
