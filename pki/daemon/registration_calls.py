"""Calls about registrations as messages: for the service, and for commands on the CA's folder."""

from __future__ import annotations

from pki._proto.handfast.ca.v1 import registrations_pb2 as messages
from pki.authority.context import AuthorityContext
from pki.authority.enrollment.confirming import (
    AT_ONCE,
    confirm_registrations,
    unconfirmed_registrations,
)
from pki.authority.registrations import Caller
from pki.errors import InputError
from pki.identity import SpiffeId

_MOST_TOKEN = 4096


def confirm(
    context: AuthorityContext, caller: Caller, request: messages.ConfirmRegistrationsRequest
) -> messages.ConfirmRegistrationsResponse:
    """Confirm registrations from a backup, and list those that wait.

    Raises:
        NotPermittedError: if the caller is no admin.
        NotFoundError: if a workload is not registered; then none is confirmed.
        InputError: if the message asks for too much, or for two things.
    """
    if len(request.spiffe_ids) > AT_ONCE:
        raise InputError(f"at most {AT_ONCE} registrations are confirmed at once")
    if request.next and request.spiffe_ids:
        raise InputError("name the workloads, or ask for the next ones, not both")
    if len(request.page_token) > _MOST_TOKEN:
        raise InputError("page_token is not one that this CA gave")
    confirmed: tuple[str, ...] = ()
    if request.next or request.spiffe_ids:
        named = [SpiffeId.parse(item) for item in request.spiffe_ids]
        confirmed = confirm_registrations(context, caller, None if request.next else named)
    waiting = unconfirmed_registrations(context, caller, after=request.page_token)
    return messages.ConfirmRegistrationsResponse(
        confirmed=confirmed,
        waiting=waiting,
        next_page_token=waiting[-1] if len(waiting) == AT_ONCE else "",
    )
