"""``handfast.ca.v1.Audit``: the audit log, for its witnesses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc.aio

from pki._proto.handfast.ca.v1 import audit_pb2, audit_pb2_grpc
from pki.access.peer import peer
from pki.daemon.callers import caller_of
from pki.daemon.limits.budgets import Budget
from pki.daemon.status import admit, answer
from pki.errors import InputError
from pki.transparency import Tile, TransparencyError
from pki.transparency.note import MAX_NOTE_BYTES

if TYPE_CHECKING:
    from pki.daemon.parts import CaParts

_Context = grpc.aio.ServicerContext[Any, Any]
_MOST_NUMBER = 2**63 - 1
_MOST_KEY = 1024
_LEAST_LOOK_SECONDS, _LOOKS_A_SECOND = 60.0, 10.0
"""How often each workload looks at the log, and all together: a look and the cosignature after it
cost as much as a renewal."""


class AuditHandler(audit_pb2_grpc.AuditServicer):
    """Answers every workload of the trust domain; tiles are for admins."""

    def __init__(self, parts: CaParts) -> None:
        self._parts = parts

    async def GetCheckpoint(
        self, request: audit_pb2.GetCheckpointRequest, context: _Context
    ) -> audit_pb2.GetCheckpointResponse:
        """Return the newest checkpoint, with the proofs that a witness needs."""
        parts, caller = self._parts, peer()
        await self._admit(context, caller.serial)

        def work() -> audit_pb2.GetCheckpointResponse:
            if request.since > _MOST_NUMBER:
                raise InputError("no log has so many entries")
            view = parts.witnesses.view(request.since, str(caller.spiffe_id))
            return audit_pb2.GetCheckpointResponse(
                checkpoint=view.note,
                consistency=view.consistency,
                witnessed=[
                    audit_pb2.Witnessed(
                        key=item.key, checkpoint=item.note, consistency=item.consistency
                    )
                    for item in view.others
                ],
                look_again_seconds=look_again_seconds(parts.counters.followers),
            )

        return await answer(context, parts.listening, work)

    async def AddCosignature(
        self, request: audit_pb2.AddCosignatureRequest, context: _Context
    ) -> audit_pb2.AddCosignatureResponse:
        """Take the caller's cosignature."""
        parts, caller = self._parts, peer()
        await self._admit(context, caller.serial)

        def work() -> audit_pb2.AddCosignatureResponse:
            if len(request.checkpoint) > MAX_NOTE_BYTES or len(request.key) > _MOST_KEY:
                raise InputError("the checkpoint or the key is too long")
            parts.witnesses.add(caller.spiffe_id, request.checkpoint, request.key)
            return audit_pb2.AddCosignatureResponse()

        return await answer(context, parts.listening, work)

    async def GetTile(
        self, request: audit_pb2.GetTileRequest, context: _Context
    ) -> audit_pb2.GetTileResponse:
        """Return a tile of the log."""
        parts, caller = self._parts, caller_of(peer())
        await admit(context, lambda: parts.take_operation(caller))

        def work() -> audit_pb2.GetTileResponse:
            try:
                tile = Tile.parse(request.path)
            except TransparencyError as error:
                raise InputError(str(error)) from error
            with parts.context.ledger.snapshot() as transaction:
                return audit_pb2.GetTileResponse(data=transaction.audit.tile(tile))

        return await answer(context, parts.operating, work)

    async def _admit(self, context: _Context, serial: int) -> None:
        key = f"log {serial:x}".encode()
        await admit(context, lambda: self._parts.budgets.take(Budget.RENEWAL, key))


def look_again_seconds(followers: int) -> int:
    """Return how often each of so many workloads should look at the log."""
    return int(max(_LEAST_LOOK_SECONDS, followers / _LOOKS_A_SECOND))
