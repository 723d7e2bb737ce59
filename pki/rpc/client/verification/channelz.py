"""The connections that a channel of gRPC's has, and the certificate that each was shown.

gRPC tells it through channelz, its introspection (https://grpc.io/docs/guides/channelz/): the
package ``grpcio-channelz`` reads it from the same functions. Where a later gRPC has none, or says
something else, nothing is known: the channel's own looks stay.
"""

from __future__ import annotations

import base64
import importlib
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

OPTIONS = (("grpc.enable_channelz", 1), ("grpc.max_channel_trace_event_memory_per_node", 0))
"""A channel's options: it can be asked, and keeps no history, which would make answers dear."""

_MOST_PAGES = 1000


@dataclass(frozen=True, slots=True)
class GrpcConnection:
    """One connection of a channel.

    Args:
        number: gRPC's number for it, never used again.
        address: where it leads, as gRPC writes it, e.g. ``ipv4:10.0.0.1:443``.
        leaf: the server's certificate, PEM; empty while it is not known.
    """

    number: int
    address: str
    leaf: bytes


class Names:
    """Gives channels targets by which they are found, the same place under a name of its own."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._newest = 0

    def newest(self) -> int:
        """Return the number of a channel that was there already; later ones have higher numbers."""
        return self._newest

    def found(self, number: int) -> None:
        """Note the number of a channel that was found."""
        # No lock, which a fork might leave held: a number that is lost costs a longer search.
        self._newest = max(self._newest, number)

    def of(self, target: str) -> str:
        """Return a target that stands for the same: gRPC goes nowhere else for a fragment."""
        return f"{target}#handfast-{next(self._numbers)}"


NAMES = Names()


class GrpcConnections:
    """The connections of one channel of gRPC's.

    Args:
        target: its target, one of :class:`Names`; made before the channel is.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._after = NAMES.newest()
        self._channel: int | None = None
        self._leaves: dict[int, bytes] = {}

    def now(self) -> list[GrpcConnection] | None:
        """Return those that there are; None if gRPC can't be asked, or has no such channel."""
        try:
            return list(self._read())
        except (LookupError, TypeError, ValueError, AttributeError, ImportError, RuntimeError):
            return None

    def _read(self) -> Iterator[GrpcConnection]:
        if self._channel is None:
            self._channel = self._found()
        channel = _answer("channelz_get_channel", self._channel)["channel"]
        leaves = {}
        for item in channel.get("subchannelRef", ()):
            subchannel = _answer("channelz_get_subchannel", int(item["subchannelId"]))["subchannel"]
            for socket in subchannel.get("socketRef", ()):
                number = int(socket["socketId"])
                leaf = self._leaves.get(number) or _leaf_of(number)
                leaves[number] = leaf
                yield GrpcConnection(number, subchannel["data"]["target"], leaf)
        self._leaves = leaves

    def _found(self) -> int:
        start = self._after + 1
        for _ in range(_MOST_PAGES):
            page = _answer("channelz_get_top_channels", start)
            numbers = []
            for item in page.get("channel", ()):
                numbers.append(int(item["ref"]["channelId"]))
                if item["data"]["target"] == self._target:
                    NAMES.found(numbers[-1])
                    return numbers[-1]
            if page.get("end") or not numbers:
                break
            start = max(numbers) + 1
        raise LookupError(self._target)


def _leaf_of(number: int) -> bytes:
    socket = _answer("channelz_get_socket", number)["socket"]
    found = socket.get("security", {}).get("tls", {}).get("remoteCertificate", "")
    return base64.b64decode(found)


def _answer(name: str, number: int) -> Any:
    ask: Callable[[int], str] = getattr(importlib.import_module("grpc._cython.cygrpc"), name)
    return json.loads(ask(number))
