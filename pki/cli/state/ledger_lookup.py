"""Finds the ledger's records for a credential directory, by whatever can be read of it."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from pki.authority import Authority, CertificateRecord
from pki.errors import StateError, quote_untrusted
from pki.files import PartialCredential
from pki.keys import public_key_fingerprint


def find_record(authority: Authority, contents: PartialCredential) -> CertificateRecord | None:
    """Return the record of a directory's certificate; None if it is not of this CA.

    Where the leaf can't be read, the key identifies it: the newest certificate issued for the key.
    """
    if contents.leaf is not None:
        return _find_record_of_leaf(authority, contents.leaf)
    return find_record_of_key(authority, contents)


def find_record_of_key(
    authority: Authority, contents: PartialCredential
) -> CertificateRecord | None:
    """Return the record of the newest certificate for a key of a directory; None without one."""
    fingerprints = {
        public_key_fingerprint(key.public_key())
        for key in (contents.key, contents.next_key)
        if key is not None
    }
    if not fingerprints:
        return None
    records = [
        item
        for item in authority.certificates(with_ended=True)
        if item.key_fingerprint in fingerprints
    ]
    return records[-1] if records else None


def require_record(authority: Authority, contents: PartialCredential) -> CertificateRecord:
    """Return the record of a directory's certificate.

    Raises:
        PkiError: if nothing that can be read leads to a record.
    """
    record = find_record(authority, contents)
    if record is not None:
        return record
    if contents.leaf is None:
        cause = contents.leaf_error()
        cause.remedy = (
            cause.remedy or "Nothing in the directory identifies it: issue a new one elsewhere"
        )
        raise cause
    raise StateError(
        f"the certificate in {quote_untrusted(contents.directory)} is not one that this CA issued",
        remedy="Name the CA that did with --dir",
    )


def was_issued_here(authority: Authority, leaf: x509.Certificate) -> bool:
    """Return whether an issuing CA of ours signed a certificate, even if the ledger lost it."""
    for issuer in authority.issuers():
        if issuer.certificate.subject == leaf.issuer:
            try:
                leaf.verify_directly_issued_by(issuer.certificate)
            except (ValueError, TypeError, InvalidSignature):
                continue
            return True
    return False


def recorded_chain(authority: Authority, record: CertificateRecord) -> tuple[x509.Certificate, ...]:
    """Return the chain of a certificate, as the ledger records it."""
    issuer = next(item for item in authority.issuers() if item.id == record.issuer_id)
    return record.certificate, issuer.certificate


def other_valid_certificates(
    authority: Authority, records: Sequence[CertificateRecord]
) -> tuple[CertificateRecord, ...]:
    """Return the other certificates of the same workloads that are still valid."""
    workloads = {item.spiffe_id for item in records}
    serials = {item.serial for item in records}
    return tuple(
        item
        for item in authority.certificates()
        if item.spiffe_id in workloads and item.serial not in serials and item.revoked_at is None
    )


def renewal_line(authority: Authority, serials: Sequence[str]) -> list[CertificateRecord]:
    """Return the records of certificates, of what they were renewed from, and of their renewals."""
    everything = {item.id: item for item in authority.certificates(with_ended=True)}
    line = {item.id for item in everything.values() if item.serial in serials}
    size = 0
    while size != len(line):
        size = len(line)
        for item in everything.values():
            linked = {item.id} if item.renewed_from is None else {item.id, item.renewed_from}
            if linked & line:
                line |= linked
    return [item for item in everything.values() if item.id in line]


def _find_record_of_leaf(authority: Authority, leaf: x509.Certificate) -> CertificateRecord | None:
    record = authority.certificate(leaf.serial_number)
    # The serial number alone proves nothing: anybody who can write the file can choose it.
    return record if record is not None and record.certificate == leaf else None
