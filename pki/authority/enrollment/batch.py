"""Issue certificates for the requests of other workloads, on the word of a registrar."""

from __future__ import annotations

from pki.authority.context import AuthorityContext
from pki.authority.enrollment.obtained import Obtained, obtained, order_of, sign_for_request
from pki.authority.enrollment.registering import registered
from pki.authority.issuance import order_for_request
from pki.authority.registrations import Caller, Proof
from pki.authority.repeats import find_repeated
from pki.identity import SpiffeId
from pki.x509 import read_request


def issue_for_registrar(
    context: AuthorityContext, caller: Caller, spiffe_id: SpiffeId, request: bytes
) -> Obtained:
    """Issue a certificate for the request of a workload.

    The same request within ten minutes gets the same certificate.

    Args:
        context: the CA.
        caller: the registrar.
        spiffe_id: the workload; it must be registered for this way.
        request: its certificate signing request, DER or PEM.

    Raises:
        NotFoundError: if the workload is not registered.
        NotRegisteredError: if its registration does not allow this way.
        NotPermittedError: if the caller may not decide on it, or the request asks for another name.
        InputError: if the request is malformed.
    """
    parsed = read_request(request)
    with context.ledger.transaction() as transaction:
        registration, revision = registered(context, transaction, caller, spiffe_id)
        order = order_of(
            registration,
            parsed.public_key,
            Proof.REGISTRAR,
            by_admin=caller.is_admin and revision.by_admin,
        )
        repeated = find_repeated(order_for_request(order, parsed), transaction, now=context.now())
        if repeated is not None:
            return obtained(context, transaction, repeated, is_repeated=True)
        record, notes = sign_for_request(context, transaction, order, parsed)
        return obtained(context, transaction, record, notes=notes)
