"""Make registrations of the certificates that a CA issued before it was served."""

from __future__ import annotations

from pki.authority.context import AuthorityContext
from pki.authority.ledger import CertificateRecord
from pki.authority.registrations import Proof, Registration
from pki.identity import SpiffeId, derive_names
from pki.x509 import read_names
from pki.x509.profiles import LEAF_PROFILES

_BY = "the operator, by certificates issued before"


def register_existing(context: AuthorityContext) -> tuple[SpiffeId, ...]:
    """Register each workload that has a valid certificate; do so once in the life of a CA.

    Each may renew, and enroll by token, with the names, profile and lifetime of its newest
    certificate.

    Returns:
        The workloads that were registered; empty if this was done before.
    """
    with context.ledger.transaction() as transaction:
        now = context.now()
        if not transaction.proofs.begin_service(at=now):
            return ()
        newest: dict[str, CertificateRecord] = {}
        for record in transaction.certificates(ends_after=now):
            if record.revoked_at is None:
                newest[record.spiffe_id] = record
        made = [_registration(record) for record in newest.values()]
        added = [
            item.spiffe_id
            for item in made
            if not item.spiffe_id.is_reserved
            and transaction.registrations.add(item, by=_BY, by_admin=True, at=now) is not None
        ]
        return tuple(sorted(added, key=str))


def _registration(record: CertificateRecord) -> Registration:
    spiffe_id = SpiffeId.parse(record.spiffe_id)
    names = read_names(record.certificate)
    derived = derive_names(spiffe_id).dns
    return Registration(
        spiffe_id,
        tuple(name for name in names.dns_names if name != derived),
        names.ip_addresses,
        record.not_after - record.issued_at,
        LEAF_PROFILES[record.profile],
        frozenset({Proof.TOKEN, Proof.RENEWAL}),
    )
