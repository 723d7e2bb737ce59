"""``handfast.ca.v1.Registrations``: who may obtain which names, and by which proof."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import grpc.aio

from pki._proto.handfast.ca.v1 import registrations_pb2, registrations_pb2_grpc
from pki.access.peer import peer
from pki.authority.enrollment import (
    create_registration,
    delete_registration,
    get_registration,
    list_registrations,
    update_registration,
)
from pki.authority.enrollment.registering import Changed
from pki.authority.registrations import Caller
from pki.daemon.callers import caller_of
from pki.daemon.calls import registrations as registration_calls
from pki.daemon.messages import read_registration, registration_message
from pki.daemon.status import admit, answer
from pki.errors import InputError
from pki.identity import SpiffeId

if TYPE_CHECKING:
    from pki.authority.context import AuthorityContext
    from pki.daemon.parts import CaParts

_Context = grpc.aio.ServicerContext[Any, Any]
_Result = TypeVar("_Result")
_PAGE, _MOST_PAGE = 100, 1000


class RegistrationsHandler(registrations_pb2_grpc.RegistrationsServicer):
    """Answers registrars and admins."""

    def __init__(self, parts: CaParts) -> None:
        self._parts = parts

    async def CreateRegistration(
        self, request: registrations_pb2.CreateRegistrationRequest, context: _Context
    ) -> registrations_pb2.Registration:
        """Register a workload."""

        def work(caller: Caller) -> registrations_pb2.Registration:
            registration = read_registration(request.registration)
            revision = create_registration(self._parts.for_registrars, caller, registration)
            return registration_message(registration, revision)

        return await self._answer(context, work)

    async def GetRegistration(
        self, request: registrations_pb2.GetRegistrationRequest, context: _Context
    ) -> registrations_pb2.Registration:
        """Return one registration."""

        def work(caller: Caller) -> registrations_pb2.Registration:
            spiffe_id = SpiffeId.parse(request.spiffe_id)
            return registration_message(*get_registration(self._parts.context, caller, spiffe_id))

        return await self._answer(context, work)

    async def UpdateRegistration(
        self, request: registrations_pb2.UpdateRegistrationRequest, context: _Context
    ) -> registrations_pb2.ChangedRegistration:
        """Replace a registration; revoke what it no longer covers."""

        def work(caller: Caller) -> registrations_pb2.ChangedRegistration:
            registration = read_registration(request.registration)
            changed = update_registration(
                self._for_change(request.keep_certificates),
                caller,
                registration,
                revision=request.registration.revision,
                keep_certificates=request.keep_certificates,
            )
            return self._changed(changed)

        return await self._answer(context, work)

    async def DeleteRegistration(
        self, request: registrations_pb2.DeleteRegistrationRequest, context: _Context
    ) -> registrations_pb2.ChangedRegistration:
        """Delete a registration; revoke its workload's certificates."""

        def work(caller: Caller) -> registrations_pb2.ChangedRegistration:
            changed = delete_registration(
                self._for_change(request.keep_certificates),
                caller,
                SpiffeId.parse(request.spiffe_id),
                keep_certificates=request.keep_certificates,
            )
            return self._changed(changed)

        return await self._answer(context, work)

    async def ListRegistrations(
        self, request: registrations_pb2.ListRegistrationsRequest, context: _Context
    ) -> registrations_pb2.ListRegistrationsResponse:
        """List the registrations that the caller may decide on."""

        def work(caller: Caller) -> registrations_pb2.ListRegistrationsResponse:
            size = min(request.page_size or _PAGE, _MOST_PAGE)
            domain = self._parts.context.settings.limits.trust_domain
            prefix = SpiffeId.parse_name(request.prefix, domain) if request.prefix else None
            if len(request.page_token) > 4096:
                raise InputError("page_token is not one that this CA gave")
            found = list_registrations(
                self._parts.for_registrars,
                caller,
                after=request.page_token,
                most=size,
                prefix=prefix,
            )
            return registrations_pb2.ListRegistrationsResponse(
                registrations=[registration_message(*item) for item in found],
                next_page_token=str(found[-1][0].spiffe_id) if len(found) == size else "",
            )

        return await self._answer(context, work)

    async def ConfirmRegistrations(
        self, request: registrations_pb2.ConfirmRegistrationsRequest, context: _Context
    ) -> registrations_pb2.ConfirmRegistrationsResponse:
        """Confirm registrations from a backup, and list those that wait: for admins."""
        return await self._answer(
            context,
            lambda caller: registration_calls.confirm(self._parts.for_registrars, caller, request),
        )

    async def _answer(self, context: _Context, work: Callable[[Caller], _Result]) -> _Result:
        caller = caller_of(peer())
        await admit(context, lambda: self._parts.take_operation(caller))
        return await answer(context, self._parts.operating, lambda: work(caller))

    def _for_change(self, keep_certificates: bool) -> AuthorityContext:
        """Return the CA for a change, which is as urgent as a revocation if it may revoke."""
        return self._parts.for_registrars if keep_certificates else self._parts.context

    def _changed(self, changed: Changed) -> registrations_pb2.ChangedRegistration:
        message = registrations_pb2.ChangedRegistration(
            revoked=[record.serial for record in changed.revoked]
        )
        if changed.registration is not None and changed.revision is not None:
            message.registration.CopyFrom(
                registration_message(changed.registration, changed.revision)
            )
        if changed.revoked:
            self._parts.tell_revoked()
        return message
