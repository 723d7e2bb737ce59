"""``handfast.ca.v1.Enrollment``: for callers that have no certificate, or one that has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc.aio

from pki._proto.handfast.ca.v1 import enrollment_pb2, enrollment_pb2_grpc
from pki.authority.enrollment import Enrollment, Nonces, Recovery, enroll, recover
from pki.daemon.limits.budgets import Budget
from pki.daemon.lists.pages import ListPages, places_of
from pki.daemon.status import admit, answer
from pki.errors import InputError, NotPermittedError
from pki.identity import SpiffeId
from pki.proofs import RecoveryId, TokenCredential

if TYPE_CHECKING:
    from pki.daemon.parts import CaParts

_Context = grpc.aio.ServicerContext[Any, Any]


class EnrollmentHandler(enrollment_pb2_grpc.EnrollmentServicer):
    """Answers strangers: nothing costly is done before something was proved."""

    def __init__(self, parts: CaParts) -> None:
        self._parts = parts
        self._pages = ListPages()

    async def Enroll(
        self, request: enrollment_pb2.EnrollRequest, context: _Context
    ) -> enrollment_pb2.EnrollResponse:
        """Give a workload the first certificate of a line."""
        parts = self._parts
        if request.WhichOneof("proof") == "jwt":
            return await self._enroll_by_jwt(request, context)
        proof = await admit(context, lambda: self._token(request), parts.refusals.count)

        def work() -> enrollment_pb2.EnrollResponse:
            spiffe_id = SpiffeId.parse(request.spiffe_id) if request.spiffe_id else None
            enrollment = Enrollment(
                proof, request.request, request.binding, request.recovery_key, spiffe_id
            )
            obtained = enroll(parts.for_strangers, enrollment, mac_key=parts.mac_key)
            return enrollment_pb2.EnrollResponse(certificate=parts.issued(obtained))

        return await answer(context, parts.enrolling, work, parts.refusals.count)

    async def _enroll_by_jwt(
        self, request: enrollment_pb2.EnrollRequest, context: _Context
    ) -> enrollment_pb2.EnrollResponse:
        parts, refused = self._parts, self._parts.refusals.count
        await admit(context, lambda: parts.budgets.take(Budget.JWTS), refused)

        def verify() -> Enrollment:
            # In threads of their own: the keys of the issuer may have to be fetched.
            jwt = parts.jwts.verify(request.jwt, now=parts.context.now())
            spiffe_id = SpiffeId.parse(request.spiffe_id) if request.spiffe_id else None
            return Enrollment(
                jwt, request.request, request.binding, request.recovery_key, spiffe_id
            )

        enrollment = await answer(context, parts.attesting, verify, refused)

        def work() -> enrollment_pb2.EnrollResponse:
            obtained = enroll(parts.for_strangers, enrollment, mac_key=parts.mac_key)
            return enrollment_pb2.EnrollResponse(certificate=parts.issued(obtained))

        return await answer(context, parts.enrolling, work, refused)

    async def GetNonce(
        self, request: enrollment_pb2.GetNonceRequest, context: _Context
    ) -> enrollment_pb2.GetNonceResponse:
        """Return a nonce for one recovery."""
        parts = self._parts
        recovery_id = await admit(
            context, lambda: self._recovery_id(request.recovery_id), parts.refusals.count
        )
        nonce = Nonces(parts.mac_key).make(recovery_id, now=parts.context.now())
        return enrollment_pb2.GetNonceResponse(nonce=nonce)

    async def Recover(
        self, request: enrollment_pb2.RecoverRequest, context: _Context
    ) -> enrollment_pb2.RecoverResponse:
        """Give a workload a certificate whose last one has ended."""
        parts = self._parts
        recovery_id = await admit(
            context, lambda: self._recovery_id(request.recovery_id), parts.refusals.count
        )

        def work() -> enrollment_pb2.RecoverResponse:
            recovery = Recovery(
                recovery_id,
                request.nonce,
                request.request,
                request.binding,
                request.proof,
                request.next_recovery_key,
            )
            obtained = recover(parts.for_renewals, recovery, mac_key=parts.mac_key)
            return enrollment_pb2.RecoverResponse(certificate=parts.issued(obtained))

        return await answer(context, parts.recovering, work, parts.refusals.count)

    async def GetBundle(
        self, request: enrollment_pb2.GetBundleRequest, context: _Context
    ) -> enrollment_pb2.GetBundleResponse:
        """Return the signed trust bundles after one."""
        parts = self._parts
        await admit(context, lambda: parts.budgets.take(Budget.BUNDLES), parts.refusals.count)
        return await answer(context, parts.enrolling, lambda: parts.bundles_since(request.since))

    async def GetLists(
        self, request: enrollment_pb2.GetListsRequest, context: _Context
    ) -> enrollment_pb2.GetListsResponse:
        """Return the signed revocation lists that the caller lacks."""
        parts = self._parts

        def page() -> enrollment_pb2.GetListsResponse:
            parts.budgets.take(Budget.LISTS)
            page = self._pages.page(parts.feed.state, request)
            if more_places := places_of(page):
                parts.budgets.take(Budget.LISTS, number=more_places)
            return page

        # Without a thread, which a ledger that is held would hold up.
        return await admit(context, page, parts.refusals.count)

    def _token(self, request: enrollment_pb2.EnrollRequest) -> TokenCredential:
        """Return the token of a request, with a place in its budget."""
        parts = self._parts
        if request.WhichOneof("proof") != "token":
            parts.budgets.take(Budget.STRANGERS)
            raise InputError("send a token")
        try:
            credential = TokenCredential.decode(request.token)
        except InputError:
            parts.budgets.take(Budget.STRANGERS)
            raise
        if credential.is_of(parts.mac_key):
            parts.budgets.take(Budget.PROOF, credential.id)
        else:
            parts.budgets.take(Budget.STRANGERS)
        return credential

    def _recovery_id(self, text: str) -> RecoveryId:
        """Return the recovery id of a request, with a place in its budget."""
        parts = self._parts
        try:
            recovery_id = RecoveryId.parse(text)
        except InputError:
            parts.budgets.take(Budget.STRANGERS)
            raise
        if not recovery_id.is_of(parts.mac_key):
            parts.budgets.take(Budget.STRANGERS)
            raise NotPermittedError("the recovery id is not one that this CA gave")
        parts.budgets.take(Budget.PROOF, recovery_id.id)
        return recovery_id
