"""Prove to anybody who has the log's key that the CA recorded a decision."""

from __future__ import annotations

from pki.authority.ledger import Transaction
from pki.authority.ledger.audit import AuditAction, AuditEntry
from pki.errors import InputError, StateError, quote_untrusted
from pki.transparency import InclusionProofFile, VerifierKey, inclusion_proof, open_checkpoint
from pki.transparency.merkle import MAX_SIZE

_ISSUING = frozenset({AuditAction.ISSUE, AuditAction.RENEW, AuditAction.INIT, AuditAction.PREPARE})


def find_issuing_entry(transaction: Transaction, serial: str) -> int:
    """Return the index of the entry that issued a certificate.

    Raises:
        InputError: if no entry did.
    """
    about = transaction.audit.entries_about(serial)
    for index, text in about:
        if AuditEntry.parse(text).action in _ISSUING:
            return index
    raise InputError(
        f"no entry of the audit log issued a certificate with the serial number "
        f"{quote_untrusted(serial)}",
        remedy=f"Prove another entry about it: handfast audit prove --entry {about[0][0]}"
        if about
        else "See the entries: handfast audit show",
    )


def prove_entry(
    transaction: Transaction, index: int, *, checkpoint: bytes | None
) -> InclusionProofFile:
    """Make the proof that the log holds an entry; the entry is the proof's extra data.

    Args:
        transaction: of the ledger.
        index: of the entry.
        checkpoint: the published one.

    Raises:
        InputError: if there is no such entry.
        StateError: if the checkpoint does not cover it.
    """
    text = transaction.audit.entry(index) if 0 <= index < MAX_SIZE else None
    key = transaction.audit.verifier_key()
    if text is None:
        raise InputError(
            f"the audit log has no entry {index}", remedy="See the entries: handfast audit show"
        )
    if checkpoint is None or key is None:
        raise StateError(
            "the audit log has no published checkpoint",
            remedy="The next command of the CA publishes one, e.g. handfast crl",
        )
    signed = open_checkpoint(checkpoint, [VerifierKey.parse(key)])
    size = signed.checkpoint.size
    if index >= size:
        raise StateError(
            f"the published checkpoint is of {size} entries, and does not cover entry {index}",
            remedy="The next command of the CA publishes one that does, e.g. handfast crl",
        )
    entry = text.encode()
    hashes = inclusion_proof(transaction.audit, index=index, size=size)
    proof = InclusionProofFile(index, hashes, signed.note, entry)
    # Nobody is given a proof that does not hold: the log may have been changed.
    proof.verify(entry, [VerifierKey.parse(key)])
    return proof
