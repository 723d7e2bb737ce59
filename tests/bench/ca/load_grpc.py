"""A process that asks handfast's CA for certificates, over sixteen connections of registrars."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pki
from pki._proto.handfast.ca.v1 import authority_pb2, authority_pb2_grpc
from pki.identity import SpiffeId
from tests.bench.ca.signing_requests import make_ders
from tests.bench.ca.threads import work_until
from tests.bench.children import serve_commands

_SECONDS = 60.0


class Load:
    """The connections, and the requests that were not sent yet."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._stack = ExitStack()
        self._stubs = []
        for folder in settings["registrars"]:
            me = self._stack.enter_context(pki.Workload.from_directory(Path(folder)))
            peer = SpiffeId.parse(settings["peer"])
            channel = self._stack.enter_context(me.sync_channel(settings["address"], peer=peer))
            self._stubs.append(authority_pb2_grpc.AuthorityStub(channel))
        self._ders: list[bytes] = []

    def prepare(self, number: int) -> int:
        """Make requests for the next measure, and connect."""
        self._ders += make_ders(number - len(self._ders))
        for place in range(len(self._stubs)):
            self._issue(place, 1)()
        return len(self._ders)

    def issue(self, seconds: float, size: int) -> dict[str, float]:
        """Ask for certificates, ``size`` in each call."""
        return work_until([self._issue(i, size) for i in range(len(self._stubs))], seconds)

    def _issue(self, place: int, size: int) -> Callable[[], int]:
        stub, name = self._stubs[place], f"spiffe://shop.internal/load/{place}"

        def work() -> int:
            items = [
                authority_pb2.BatchItem(spiffe_id=name, request=self._ders.pop())
                for _ in range(size)
            ]
            answer = stub.IssueBatch(authority_pb2.IssueBatchRequest(items=items), timeout=_SECONDS)
            for result in answer.results:
                if not result.HasField("certificate"):
                    raise RuntimeError(str(result.refused))
            return len(answer.results)

        return work


if __name__ == "__main__":
    _load = Load(json.loads(sys.argv[1]))
    serve_commands({}, {"prepare": _load.prepare, "issue": _load.issue})
