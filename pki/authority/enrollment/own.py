"""The CA's own certificate, with which it serves."""

from __future__ import annotations

from datetime import timedelta

from pki.authority.context import AuthorityContext
from pki.authority.enrollment.acting import acting_as
from pki.authority.enrollment.obtained import Step, run_in_steps
from pki.authority.issued import Issued
from pki.authority.issuing.issuance import sign_order, trust_of
from pki.authority.lifetimes import DEFAULT_LEAF
from pki.authority.orders import LeafOrder
from pki.authority.registrations import Proof
from pki.authority.signing import PlannedLeaf
from pki.identity import SpiffeId
from pki.keys import IdentifiedKey, generate_key
from pki.x509 import WORKLOAD


def issue_own(context: AuthorityContext, lifetime: timedelta = DEFAULT_LEAF) -> Issued:
    """Issue a certificate for the CA itself, with a new key that no file holds.

    Raises:
        StateError: if no issuing CA is active.
        LedgerError: if it could not be recorded.
    """
    key = generate_key()
    spiffe_id = SpiffeId.of_ca(context.settings.limits.trust_domain)
    context = acting_as(context, str(spiffe_id))
    public = IdentifiedKey.of(key.public_key())
    order = LeafOrder(spiffe_id, WORKLOAD, public, lifetime, Proof.CA, True)

    def decide(step: Step) -> Issued | PlannedLeaf:
        result = sign_order(context, order, step.transaction, step.signed)
        if isinstance(result, PlannedLeaf):
            return result
        new, notes = result
        trust = trust_of(context, step.transaction)
        return trust.issued(spiffe_id, new.certificate, key=key, notes=notes)

    return run_in_steps(context, decide)
