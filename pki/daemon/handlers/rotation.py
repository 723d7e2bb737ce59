"""``handfast.ca.v1.Rotation``: replace issuing CAs and roots, whose keys are elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import grpc.aio

from pki._proto.handfast.ca.v1 import rotation_pb2, rotation_pb2_grpc
from pki.access.peer import peer
from pki.authority.audit import recorded_refusals
from pki.authority.enrollment.acting import acting_as
from pki.authority.ledger.audit import AuditAction
from pki.authority.ledger.hierarchy import active_root
from pki.authority.registrations import Caller
from pki.authority.rotation.operations import RotatingAuthority
from pki.background import defer
from pki.daemon import rotation_calls
from pki.daemon.callers import caller_of
from pki.daemon.messages import page_number
from pki.daemon.status import admit, answer, log
from pki.errors import InputError, NotPermittedError, PkiError, WrongStepError

if TYPE_CHECKING:
    from pki.daemon.parts import CaParts

_Context = grpc.aio.ServicerContext[Any, Any]
_Result = TypeVar("_Result")
_PAGE, _MOST_PAGE = 500, 5000
_MOST_ANSWERS = 16
# Less than gRPC takes in one message. An answer to an ordinary request has a few dozen kilobytes.
_MOST_ANSWER_BYTES = 3 * 1024 * 1024


class ServedAuthority(RotatingAuthority):
    """The CA as an admin over the network has it replaced.

    Args:
        parts: what the handlers share.
        caller: who asks; the audit log names that one.
    """

    def __init__(self, parts: CaParts, caller: Caller) -> None:
        super().__init__(acting_as(parts.context, caller.name))
        self._parts = parts

    def _publish_step(self) -> None:
        """Tell followers first. The step is taken already: whatever fails here is made up for."""
        try:
            self._parts.feed.refresh()
            super()._publish_step()
        except PkiError as error:
            # The feed looks four times a second, and the next change publishes the files.
            defer(log.error, "a step of a rotation could not be published: %s", error)


class RotationHandler(rotation_pb2_grpc.RotationServicer):
    """Answers admins."""

    def __init__(self, parts: CaParts) -> None:
        self._parts = parts

    async def GetRotationStatus(
        self, request: rotation_pb2.GetRotationStatusRequest, context: _Context
    ) -> rotation_pb2.RotationStatus:
        """Tell where the rotations stand."""
        return await self._answer(
            context,
            lambda authority: rotation_calls.get_status(
                authority,
                after=page_number(request.page_token) or 0,
                most=min(request.page_size or _PAGE, _MOST_PAGE),
            ),
        )

    async def GetRootRequest(
        self, request: rotation_pb2.GetRootRequestRequest, context: _Context
    ) -> rotation_pb2.RootRequest:
        """Return the request that waits for the roots."""
        return await self._answer(context, rotation_calls.get_request)

    async def PrepareIssuer(
        self, request: rotation_pb2.PrepareIssuerRequest, context: _Context
    ) -> rotation_pb2.Prepared:
        """Make the next issuing CA, or a request for it."""

        def work(authority: RotatingAuthority) -> rotation_pb2.Prepared:
            if request.at_once:
                _check_root_key(authority)
            return rotation_calls.prepare_issuer(authority, request)

        return await self._answer(context, work)

    async def ActivateIssuer(
        self, request: rotation_pb2.ActivateIssuerRequest, context: _Context
    ) -> rotation_pb2.IssuingCa:
        """Sign leaves with the prepared issuing CA."""
        return await self._answer(
            context, lambda authority: rotation_calls.activate_issuer(authority, request)
        )

    async def Distrust(
        self, request: rotation_pb2.DistrustRequest, context: _Context
    ) -> rotation_pb2.Distrusted:
        """Revoke an issuing CA whose key leaked. It waits for no other operation."""
        return await self._answer(
            context,
            lambda authority: rotation_calls.distrust(authority, request),
            is_urgent=True,
        )

    async def PrepareRoot(
        self, request: rotation_pb2.PrepareRootRequest, context: _Context
    ) -> rotation_pb2.Prepared:
        """Put a new root beside the present one, or make a request for that."""
        return await self._answer(
            context, lambda authority: rotation_calls.prepare_root(authority, request)
        )

    async def ImportAnswers(
        self, request: rotation_pb2.ImportAnswersRequest, context: _Context
    ) -> rotation_pb2.Imported:
        """Check and record what the roots signed."""

        def work(authority: RotatingAuthority) -> rotation_pb2.Imported:
            if not 0 < len(request.answers) <= _MOST_ANSWERS:
                raise InputError(
                    f"1 to {_MOST_ANSWERS} answers are imported at once, not {len(request.answers)}"
                )
            if sum(map(len, request.answers)) > _MOST_ANSWER_BYTES:
                raise InputError(
                    f"the answers have more than {_MOST_ANSWER_BYTES} bytes",
                    remedy="Import them on the CA's machine: handfast ca root import",
                )
            return rotation_calls.import_answers(authority, request)

        return await self._answer(context, work)

    async def ActivateRoot(
        self, request: rotation_pb2.ActivateRootRequest, context: _Context
    ) -> rotation_pb2.ActivatedRoot:
        """Issue leaves under the prepared root."""
        return await self._answer(
            context, lambda authority: rotation_calls.activate_root(authority, request)
        )

    async def WithdrawRoot(
        self, request: rotation_pb2.WithdrawRootRequest, context: _Context
    ) -> rotation_pb2.WithdrawnRoot:
        """Take a root out of the trust bundle, or make a request for that."""
        return await self._answer(
            context, lambda authority: rotation_calls.withdraw_root(authority, request)
        )

    async def RenewRootLists(
        self, request: rotation_pb2.RenewRootListsRequest, context: _Context
    ) -> rotation_pb2.RenewedRootLists:
        """Have the roots sign their lists anew."""
        return await self._answer(context, rotation_calls.renew_root_lists)

    async def AcknowledgeRestoredLog(
        self, request: rotation_pb2.AcknowledgeRestoredLogRequest, context: _Context
    ) -> rotation_pb2.AcknowledgedLog:
        """Have the roots acknowledge that the audit log was restored."""
        return await self._answer(context, rotation_calls.acknowledge_restored_log)

    async def _answer(
        self,
        context: _Context,
        work: Callable[[RotatingAuthority], _Result],
        *,
        is_urgent: bool = False,
    ) -> _Result:
        parts, caller = self._parts, caller_of(peer())

        def check() -> None:
            if not (is_urgent and caller.is_admin):
                parts.take_operation(caller)

        def whole() -> _Result:
            authority = ServedAuthority(parts, caller)
            _check_admin(authority, caller)
            return work(authority)

        await admit(context, check)
        # Nobody but an admin takes one of these threads, to be refused in it either.
        is_urgent = is_urgent and caller.is_admin
        return await answer(context, parts.distrusting if is_urgent else parts.operating, whole)


def _check_admin(authority: RotatingAuthority, caller: Caller) -> None:
    """Check that the caller is an admin, whatever else the CA's policy grants."""
    if caller.is_admin:
        return
    refusal = authority.context.audit_entry(AuditAction.REFUSE, asked="rotation")
    with recorded_refusals(authority.context.ledger, refusal):
        raise NotPermittedError(
            f"{caller.name} may not replace what this CA signs with", remedy="Ask a ca-admin"
        )


def _check_root_key(authority: RotatingAuthority) -> None:
    with authority.context.ledger.transaction() as transaction:
        root = active_root(transaction.issuers())
        if not authority.context.has_root_key(root, transaction):
            raise WrongStepError(
                f"the key of root {root.key_id} is not on the CA's machine",
                remedy="Make a request for it: handfast ca rotate --prepare",
            )
