"""The CA's own certificate, with which it serves."""

from __future__ import annotations

from datetime import timedelta

from pki.authority.context import AuthorityContext
from pki.authority.enrollment.acting import acting_as
from pki.authority.enrollment.obtained import Step, run_in_steps
from pki.authority.issued import Issued
from pki.authority.issuing.issuance import hand_out, sign_order
from pki.authority.lifetimes import DEFAULT_LEAF
from pki.authority.orders import LeafOrder
from pki.authority.registrations import Proof
from pki.authority.signing import PlannedLeaf
from pki.identity import SpiffeId
from pki.keys import generate_key
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
    order = LeafOrder(spiffe_id, WORKLOAD, key.public_key(), lifetime, Proof.CA, True)

    def decide(step: Step) -> Issued | PlannedLeaf:
        result = sign_order(context, order, step.transaction, step.signed)
        if isinstance(result, PlannedLeaf):
            return result
        leaf, notes = result
        return hand_out(context, step.transaction, spiffe_id, leaf, key=key, notes=notes)

    return run_in_steps(context, decide)
