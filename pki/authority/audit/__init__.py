"""The audit log at work: its key and checkpoint, refusals, verification, proofs.

The log itself is part of the ledger: :mod:`pki.authority.ledger.audit`. An operation records its
decision in the transaction that carries it out, in one line::

    transaction.audit.append(context.audit_entry(AuditAction.ISSUE, subject=..., certificate=...))

What is refused is recorded by :func:`recorded_refusals`, around the operation's transaction.
"""

from pki.authority.audit.publication import CheckpointPublication, log_origin
from pki.authority.audit.refusals import RefusalSums, recorded_refusals

__all__ = ["CheckpointPublication", "RefusalSums", "log_origin", "recorded_refusals"]
