"""The streams that run on one channel: ended when the policy takes their server's role away."""

from __future__ import annotations

import threading
import weakref
from typing import Protocol

from pki.access.refusal import Refusal
from pki.rpc.client.pin import ServedByCheck


class ClientStream(Protocol):
    """A stream, and how it is ended."""

    method: str | bytes

    def end(self, refusal: Refusal) -> None:
        """End it, and have its caller read why."""


class ClientStreams:
    """The running streams of one channel, for as long as somebody holds them.

    Args:
        served_by: asks the policy in force.
    """

    def __init__(self, served_by: ServedByCheck) -> None:
        self._served_by = served_by
        # gRPC cancels a stream that nobody holds any more.
        self._streams: weakref.WeakSet[ClientStream] = weakref.WeakSet()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return how many run."""
        return len(self._streams)

    def add(self, stream: ClientStream) -> None:
        """Keep an eye on a stream."""
        with self._lock:
            self._streams.add(stream)

    def discard(self, stream: ClientStream) -> None:
        """Take a stream off: it has ended."""
        with self._lock:
            self._streams.discard(stream)

    def sweep(self) -> None:
        """End the streams whose server may no longer answer."""
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            refusal = self._served_by.refusal(stream.method)
            if refusal is not None:
                self.discard(stream)
                stream.end(refusal)
