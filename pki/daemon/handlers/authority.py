"""``handfast.ca.v1.Authority``: renewals, batches, revocations, lists, tokens."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import grpc.aio
from cryptography import x509

from pki._proto.handfast.ca.v1 import authority_pb2, authority_pb2_grpc
from pki.access.authorizer import LEAF
from pki.access.peer import peer
from pki.authority.enrollment import (
    Obtained,
    check_may_revoke,
    create_token,
    issue_for_registrar,
    renew_own,
    revoke_own,
    revoke_serial,
    revoke_workload,
)
from pki.authority.enrollment.tokens import DEFAULT_TOKEN
from pki.authority.ledger import CertificateRecord
from pki.authority.ledger.audit import Actor
from pki.authority.revocation import parse_reason
from pki.daemon.callers import caller_of
from pki.daemon.limits.budgets import Budget, LinePlace
from pki.daemon.limits.renewal_queue import ComeBackError
from pki.daemon.messages import certificate_summary, page_number, timestamp
from pki.daemon.status import admit, answer, reason_and_code, refuse
from pki.errors import InputError, PkiError
from pki.identity import SpiffeId
from pki.proofs import EnrollmentToken

if TYPE_CHECKING:
    from pki.daemon.parts import CaParts

_Context = grpc.aio.ServicerContext[Any, Any]
_MOST_ITEMS = 100
_WHAT_TO_REVOKE = "say what to revoke: serial, spiffe_id or own"
_PAGE, _MOST_PAGE = 100, 1000


class AuthorityHandler(authority_pb2_grpc.AuthorityServicer):
    """Answers workloads, registrars and admins."""

    def __init__(self, parts: CaParts) -> None:
        self._parts = parts

    async def Renew(
        self, request: authority_pb2.RenewRequest, context: _Context
    ) -> authority_pb2.RenewResponse:
        """Renew the certificate of the caller's connection."""
        parts, presented = self._parts, presented_leaf(context)
        key = f"{presented.serial_number:x}".encode()
        await admit(context, lambda: parts.budgets.take(Budget.RENEWAL, key))

        def work() -> authority_pb2.RenewResponse:
            with LinePlace(parts.budgets) as place:
                obtained = renew_own(
                    parts.for_renewals,
                    presented,
                    request.request,
                    request.binding,
                    admit=place.take,
                )
            return authority_pb2.RenewResponse(certificate=parts.issued(obtained))

        try:
            async with parts.renewals.turn(presented.not_valid_after_utc, context.time_remaining):
                return await answer(context, parts.renewing, work)
        except ComeBackError as error:
            await refuse(context, error)

    async def IssueBatch(
        self, request: authority_pb2.IssueBatchRequest, context: _Context
    ) -> authority_pb2.IssueBatchResponse:
        """Issue certificates for other workloads, each by itself."""
        parts, caller = self._parts, caller_of(peer())
        number = len(request.items)

        def check() -> None:
            if not 0 < number <= _MOST_ITEMS:
                raise InputError(f"a batch has 1 to {_MOST_ITEMS} items, not {number}")
            parts.budgets.take(Budget.OPERATIONS, caller.name.encode(), number=number)

        await admit(context, check)

        def work() -> authority_pb2.IssueBatchResponse:
            items = [(item.spiffe_id, item.request) for item in request.items]
            results = issue_for_registrar(parts.for_registrars, caller, items)
            return authority_pb2.IssueBatchResponse(results=map(self._result, results))

        return await answer(context, parts.issuing, work)

    def _result(self, result: Obtained | PkiError) -> authority_pb2.BatchResult:
        if isinstance(result, PkiError):
            reason, _ = reason_and_code(result)
            refused = authority_pb2.Refused(reason=reason, message=str(result))
            return authority_pb2.BatchResult(refused=refused)
        return authority_pb2.BatchResult(certificate=self._parts.issued(result))

    async def Revoke(
        self, request: authority_pb2.RevokeRequest, context: _Context
    ) -> authority_pb2.RevokeResponse:
        """Revoke the caller's own line, or, for an admin, anything."""
        parts, caller = self._parts, self._parts.admin_caller(peer())
        presented = presented_leaf(context)
        reason = request.reason or "unspecified"

        def revoke() -> tuple[CertificateRecord, ...]:
            match request.WhichOneof("target"):
                case "own" if request.own:
                    return revoke_own(parts.context, presented, reason)
                case "serial":
                    return revoke_serial(
                        parts.context,
                        caller,
                        request.serial,
                        reason,
                        whole_line=request.whole_line,
                    )
                case "spiffe_id":
                    spiffe_id = SpiffeId.parse(request.spiffe_id)
                    return revoke_workload(parts.context, caller, spiffe_id, reason)
            raise InputError(_WHAT_TO_REVOKE)

        def work() -> authority_pb2.RevokeResponse:
            revoked = revoke()
            # Told before anything else is done.
            parts.tell_revoked()
            return authority_pb2.RevokeResponse(certificates=parts.summaries(revoked))

        if caller.is_admin:
            return await answer(context, parts.revoking, work)
        serial = f"{presented.serial_number:x}"

        def check() -> None:
            # Before a thread is taken: who may not revoke delays nobody who may.
            if request.WhichOneof("target") in {"serial", "spiffe_id"}:
                check_may_revoke(caller)
            if not request.own:
                raise InputError(_WHAT_TO_REVOKE)
            # Before a place is taken: who asks for nothing takes none from the line's owner.
            parse_reason(reason)
            parts.budgets.take(Budget.REVOKING, serial.encode())

        def refused(reason: str) -> None:
            parts.refused_workloads.count(reason, Actor(caller.name))

        await admit(context, check, refused)
        return await answer(context, parts.revoking_own.of(serial), work, refused)

    async def ListCertificates(
        self, request: authority_pb2.ListCertificatesRequest, context: _Context
    ) -> authority_pb2.ListCertificatesResponse:
        """List issued certificates, the newest first."""
        parts, caller = self._parts, caller_of(peer())
        await admit(context, lambda: parts.take_operation(caller))

        def work() -> authority_pb2.ListCertificatesResponse:
            size = min(request.page_size or _PAGE, _MOST_PAGE)
            if request.spiffe_id:
                SpiffeId.parse(request.spiffe_id)
            with parts.context.ledger.snapshot(newest=True) as transaction:
                found = transaction.newest(
                    before=page_number(request.page_token),
                    most=size,
                    spiffe_id=request.spiffe_id,
                    ends_after=None if request.ended else parts.context.now(),
                )
                issuers = transaction.issuers()
            visible = [
                item for item in found if caller.may_decide_on(SpiffeId.parse(item.spiffe_id))
            ]
            return authority_pb2.ListCertificatesResponse(
                certificates=[certificate_summary(item, issuers) for item in visible],
                next_page_token=str(found[-1].id) if len(found) == size else "",
            )

        return await answer(context, parts.operating, work)

    async def CreateToken(
        self, request: authority_pb2.CreateTokenRequest, context: _Context
    ) -> authority_pb2.CreateTokenResponse:
        """Make a token with which a workload can enroll once."""
        parts, caller = self._parts, caller_of(peer())
        await admit(context, lambda: parts.take_operation(caller))

        def work() -> authority_pb2.CreateTokenResponse:
            lifetime = timedelta(seconds=request.lifetime_seconds) or DEFAULT_TOKEN
            spiffe_id = SpiffeId.parse(request.spiffe_id)
            made = create_token(parts.for_registrars, caller, spiffe_id, lifetime)
            token = EnrollmentToken(
                parts.addresses.enrollment,
                parts.context.settings.limits.trust_domain,
                parts.root_fingerprint(),
                made.credential,
            )
            return authority_pb2.CreateTokenResponse(
                token=str(token),
                token_id=made.credential.id.hex(),
                expires_at=timestamp(made.expires_at),
            )

        return await answer(context, parts.operating, work)


def presented_leaf(context: _Context) -> x509.Certificate:
    """Return the certificate of the caller's connection, which was verified before."""
    # The keys and values are bytes or texts, depending on the type stubs' version.
    auth: Any = context.auth_context()
    return x509.load_pem_x509_certificate(auth[LEAF][0])
