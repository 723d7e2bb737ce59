"""The streams that run on one channel: ended when the policy no longer lets their server answer."""

from __future__ import annotations

import threading
import weakref
from typing import Protocol

from pki.access.refusal import Refusal
from pki.rpc.client.served_by import ServedByCheck


class ClientStream(Protocol):
    """A running stream."""

    method: str | bytes

    def end(self, refusal: Refusal) -> None:
        """End the stream; its caller reads the refusal."""


class ClientStreams:
    """The running streams of one channel.

    Args:
        served_by: asks the policy in force.
    """

    def __init__(self, served_by: ServedByCheck) -> None:
        self._served_by = served_by
        # gRPC cancels a stream that nobody holds: do not hold it here.
        self._streams: weakref.WeakSet[ClientStream] = weakref.WeakSet()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return the number of streams that run."""
        return len(self._streams)

    def add(self, stream: ClientStream) -> None:
        """Add a stream."""
        with self._lock:
            self._streams.add(stream)

    def remove(self, stream: ClientStream) -> None:
        """Remove a stream that has ended."""
        with self._lock:
            self._streams.discard(stream)

    def recheck(self) -> None:
        """End the streams whose server may no longer answer."""
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            refusal = self._served_by.refusal(stream.method)
            if refusal is not None:
                self.remove(stream)
                stream.end(refusal)
