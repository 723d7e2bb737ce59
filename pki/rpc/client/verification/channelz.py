"""The connections of a gRPC channel, and the certificate that each was presented.

gRPC reports them through channelz (https://grpc.io/docs/guides/channelz/); the package
``grpcio-channelz`` reads it through the same functions. If a later gRPC does not have them, or
answers differently, nothing is known here, and probes alone verify the server.
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
"""A channel's options: channelz is on, without a history, which would make answers expensive."""

_MOST_PAGES = 1000


@dataclass(frozen=True, slots=True)
class GrpcConnection:
    """One connection of a gRPC channel.

    Args:
        number: gRPC's number for it, never used again.
        address: its address, as gRPC writes it, e.g. ``ipv4:10.0.0.1:443``.
        leaf: the server's certificate, PEM; empty while it is not known.
    """

    number: int
    address: str
    leaf: bytes


class Names:
    """Makes unique targets, by which a channel is found among all channels of the process."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._newest = 0

    def newest(self) -> int:
        """Return a channel's number; channels that are made later have higher numbers."""
        return self._newest

    def note_number(self, number: int) -> None:
        """Record the number of a channel."""
        # Without a lock, which a fork might leave held: a lost number costs a longer search.
        self._newest = max(self._newest, number)

    def of(self, target: str) -> str:
        """Return a unique target for the same place: gRPC ignores the fragment."""
        return f"{target}#handfast-{next(self._numbers)}"


NAMES = Names()


class GrpcConnections:
    """The connections of one gRPC channel.

    Args:
        target: its target, made by :class:`Names`. Make this object before the channel.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._after = NAMES.newest()
        self._channel: int | None = None
        self._leaves: dict[int, bytes] = {}

    def list_connections(self) -> list[GrpcConnection] | None:
        """Return the present connections; None if gRPC can't tell, or has no such channel."""
        try:
            return list(self._read())
        except (LookupError, TypeError, ValueError, AttributeError, ImportError, RuntimeError):
            return None

    def _read(self) -> Iterator[GrpcConnection]:
        if self._channel is None:
            self._channel = self._find_channel()
        channel = _query("channelz_get_channel", self._channel)["channel"]
        leaves = {}
        for item in channel.get("subchannelRef", ()):
            subchannel = _query("channelz_get_subchannel", int(item["subchannelId"]))["subchannel"]
            for socket in subchannel.get("socketRef", ()):
                number = int(socket["socketId"])
                leaf = self._leaves.get(number) or _leaf_of(number)
                leaves[number] = leaf
                yield GrpcConnection(number, subchannel["data"]["target"], leaf)
        self._leaves = leaves

    def _find_channel(self) -> int:
        start = self._after + 1
        for _ in range(_MOST_PAGES):
            page = _query("channelz_get_top_channels", start)
            numbers = []
            for item in page.get("channel", ()):
                numbers.append(int(item["ref"]["channelId"]))
                if item["data"]["target"] == self._target:
                    NAMES.note_number(numbers[-1])
                    return numbers[-1]
            if page.get("end") or not numbers:
                break
            start = max(numbers) + 1
        raise LookupError(self._target)


def _leaf_of(number: int) -> bytes:
    socket = _query("channelz_get_socket", number)["socket"]
    tls = socket.get("security", {}).get("tls", {})
    # gRPC writes it by either name of the field, by its version; 1.76 by the second.
    encoded = tls.get("remoteCertificate") or tls.get("remote_certificate") or ""
    return base64.b64decode(encoded)


def _query(name: str, number: int) -> Any:
    ask: Callable[[int], str] = getattr(importlib.import_module("grpc._cython.cygrpc"), name)
    return json.loads(ask(number))
