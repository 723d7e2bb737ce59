"""A process that follows a CA: one stream of ``WatchTrust`` on each of thousands of connections.

Each has a certificate of its own. What arrives is read: who was revoked, by an announcement or by a
signed list, and when each follower heard it.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

from pki._proto.handfast.ca.v1 import trust_pb2
from pki.ca_client.received import read_crl
from tests.bench.ca.lean.ca_calls import WATCH, host_and_port, server_name
from tests.bench.ca.lean.connections import Connection, Loop, context_of
from tests.bench.ca.lean.http2 import Event
from tests.bench.ca.served import CA_ID
from tests.bench.children import serve_commands

_AT_ONCE = 32
_SECONDS = 300.0


class Load:
    """The followers of this process."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.root = Path(settings["root"])
        self.address = host_and_port(settings["address"])
        self.name = server_name(CA_ID)
        folder = Path(settings["credentials"])
        places = count(settings["first"], settings["step"])
        self._files = (folder / f"{place}.pem" for place in places)
        self.loop = Loop()
        self.loop.start()
        self._to_open = self.following = 0
        self.ended: list[str] = []
        self.heard: Counter[int] = Counter()
        """How many followers have heard of a serial number, and when the last one has."""
        self.last: dict[int, float] = {}
        self.by_list: Counter[int] = Counter()
        """How many have heard of it from a list, and not from an announcement."""
        self._lists: dict[bytes, frozenset[int]] = {}

    def open(self, number: int) -> float:
        """Begin more streams; return how many seconds it took until each had all that is known."""
        begun, wanted = time.monotonic(), self.following + number
        self._to_open = number
        for _ in range(min(_AT_ONCE, number)):
            self.loop.soon(self._open_next)
        self._wait(lambda: self.following == wanted)
        return time.monotonic() - begun

    def told(self, serial: str) -> dict[str, float]:
        """Wait until each follower has heard that a certificate was revoked.

        Returns:
            ``last``: when the last one heard it, in monotonic seconds; ``by_list``: how many heard
            it from a signed list.
        """
        number = int(serial, 16)
        self._wait(lambda: self.heard[number] == self.following)
        return {"last": self.last[number], "by_list": self.by_list[number]}

    def hear(self, follower: Follower, serial: int, *, by_list: bool) -> None:
        """Note that a follower has heard of a revocation."""
        if serial in follower.heard:
            return
        follower.heard.add(serial)
        self.heard[serial] += 1
        self.last[serial] = time.monotonic()
        self.by_list[serial] += by_list

    def serials_of(self, der: bytes) -> frozenset[int]:
        """Return what a list revokes; each list is decoded once for all followers."""
        found = self._lists.get(der)
        if found is None:
            found = self._lists[der] = read_crl(der).revoked
        return found

    def is_complete(self) -> None:
        """Note that one more follower has everything, and begin the next one."""
        self.following += 1
        self._open_next()

    def _open_next(self) -> None:
        if self._to_open:
            self._to_open -= 1
            Follower(self, next(self._files))

    def _wait(self, is_done: Any) -> None:
        end = time.monotonic() + _SECONDS
        while not is_done():
            if self.loop.failed is not None or self.ended or time.monotonic() > end:
                raise RuntimeError(f"{self.following} follow; {self.loop.failed!r} {self.ended}")
            time.sleep(0.005)


class Follower:
    """One follower."""

    def __init__(self, load: Load, credential: Path) -> None:
        self._load = load
        self.heard: set[int] = set()
        self._heartbeats = 0
        self._parts: dict[bytes, bytes] = {}
        context = context_of(load.root, credential)
        self._connection = Connection(load.loop, load.address, context, load.name)
        request = trust_pb2.WatchTrustRequest()
        self._connection.call(WATCH, request.SerializeToString(), self._event)

    def _event(self, event: Event) -> None:
        if event.message is None:
            self._load.ended.append(f"{self._connection.why_closed} {event.trailers}")
            return
        update = trust_pb2.TrustUpdate.FromString(event.message)
        match update.WhichOneof("update"):
            case "heartbeat":
                self._heartbeats += 1
                # The first comes before all else, the second when there is no more.
                if self._heartbeats == 2:
                    self._load.is_complete()
            case "revocations":
                for entry in update.revocations.entries:
                    self._load.hear(self, int.from_bytes(entry.serial, "big"), by_list=False)
            case "crl":
                part = update.crl
                der = self._parts.pop(part.issuer_key_id, b"") + part.data
                if part.more:
                    self._parts[part.issuer_key_id] = der
                    return
                for serial in self._load.serials_of(der) - self.heard:
                    self._load.hear(self, serial, by_list=True)


if __name__ == "__main__":
    _load = Load(json.loads(sys.argv[1]))
    serve_commands({}, {"open": _load.open, "told": _load.told})
