"""Thousands of TLS connections with gRPC calls, and timers, in one thread without asyncio."""

from __future__ import annotations

import heapq
import selectors
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TypeVar

from tests.bench.ca.lean.http2 import Event, Http2Calls

_CHUNK = 16 * 1024
Step = Callable[[], object]
_Result = TypeVar("_Result")


class Loop:
    """Runs connections and timers, in a thread of its own from :meth:`start` on."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Step]] = []
        self._order = count()
        self._soon: deque[Step] = deque()
        self._waking, self._woken = socket.socketpair()
        self._waking.setblocking(False)
        self._woken.setblocking(False)
        self.selector.register(self._woken, selectors.EVENT_READ, self._drain)
        self.failed: BaseException | None = None
        """What ended the loop."""
        self.lateness = 0.0
        """How late a timer ran at most, in seconds: more than some tenths, and what is measured is
        this loop."""

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="lean-loop", daemon=True).start()

    def soon(self, step: Step) -> None:
        """Run a step in the loop's thread; callable from any thread."""
        self._soon.append(step)
        with suppress(BlockingIOError):
            self._waking.send(b"x")

    def do(self, step: Callable[[], _Result]) -> _Result:
        """Run a step in the loop's thread, and return its result; from another thread alone."""
        future: Future[_Result] = Future()

        def run() -> None:
            try:
                future.set_result(step())
            except BaseException as error:
                future.set_exception(error)

        self.soon(run)
        return future.result()

    def later(self, seconds: float, step: Step) -> None:
        """Run a step after some seconds; callable in the loop's thread alone."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), step))

    def _drain(self, _: int) -> None:
        with suppress(BlockingIOError):
            self._woken.recv(_CHUNK)

    def _run(self) -> None:
        try:
            while True:
                self._turn()
        except BaseException as error:
            self.failed = error
            raise

    def _turn(self) -> None:
        wait = None
        if self._timers:
            wait = max(0.0, self._timers[0][0] - time.monotonic())
        for key, mask in self.selector.select(wait):
            key.data(mask)
        while self._soon:
            self._soon.popleft()()
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            due, _, step = heapq.heappop(self._timers)
            self.lateness = max(self.lateness, now - due)
            step()


class Connection:
    """A connection with mutual TLS, opened at once; use it in the loop's thread alone.

    Args:
        loop: runs it.
        address: the server's host and port.
        context: with the client's certificate and the root to trust.
        name: the DNS name that the server must have.
    """

    def __init__(
        self, loop: Loop, address: tuple[str, int], context: ssl.SSLContext, name: str
    ) -> None:
        self._loop, self._context, self._name = loop, context, name
        self._calls = Http2Calls(name)
        self._events: dict[int, Callable[[Event], object]] = {}
        self._tls: ssl.SSLSocket | None = None
        self._listened = selectors.EVENT_READ
        self.is_open, self.is_closed = False, False
        self.why_closed = ""
        """Why it was closed; empty if we closed it."""
        self._plain = socket.socket()
        self._plain.setblocking(False)
        self._plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._plain.connect_ex(address)
        loop.selector.register(self._plain, selectors.EVENT_WRITE, self._connected)

    @property
    def takes_calls(self) -> bool:
        """Whether a call can begin on it; the server may end it in time."""
        return not self.is_closed and not self._calls.is_ending

    def call(
        self,
        method: str,
        message: bytes,
        event: Callable[[Event], object],
        seconds: float | None = None,
    ) -> int:
        """Begin a call on an open connection, or one that opens; return the number of its stream.

        Args:
            method: its path.
            message: the request.
            event: is told of its messages and its end.
            seconds: what the server is told of how long the caller waits; None for no end.
        """
        assert not self.is_closed
        stream = self._calls.call(method, message, seconds)
        self._events[stream] = event
        if self.is_open:
            self._send()
        return stream

    def cancel(self, stream: int) -> None:
        """Give a call up; nothing more is told of it."""
        self._events.pop(stream, None)
        self._calls.cancel(stream)
        if self.is_open and not self.is_closed:
            self._send()

    def close(self, why: str = "") -> None:
        """Close it; calls that run end."""
        if self.is_closed:
            return
        self.is_closed, self.why_closed = True, why
        held = self._plain if self._tls is None else self._tls
        with suppress(KeyError, ValueError):
            self._loop.selector.unregister(held)
        held.close()
        for event in list(self._calls.end_all()):
            self._tell(event)

    def _connected(self, _: int) -> None:
        error = self._plain.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self.close(f"not connected: {error}")
            return
        self._loop.selector.unregister(self._plain)
        self._tls = self._context.wrap_socket(
            self._plain, server_hostname=self._name, do_handshake_on_connect=False
        )
        self._loop.selector.register(self._tls, selectors.EVENT_READ, self._ready)
        self._ready(0)

    def _ready(self, mask: int) -> None:
        tls = self._tls
        assert tls is not None
        try:
            if not self.is_open:
                tls.do_handshake()
                self.is_open = True
                self._send()
            elif mask & selectors.EVENT_WRITE:
                self._send()
            while not self.is_closed:
                data = tls.recv(_CHUNK)
                if not data:
                    self.close("the server closed it")
                    return
                for event in self._calls.receive(data):
                    self._tell(event)
                if self._calls.out:
                    self._send()
        except ssl.SSLWantReadError:
            self._listen()
        except ssl.SSLWantWriteError:
            self._listen(is_blocked=True)
        except OSError as error:
            self.close(f"{type(error).__name__}: {error}")

    def _send(self) -> None:
        assert self._tls is not None
        out = self._calls.out
        try:
            while out:
                del out[: self._tls.send(out)]
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            self._listen()
        except OSError as error:
            self.close(f"{type(error).__name__}: {error}")

    def _listen(self, *, is_blocked: bool = False) -> None:
        """Wait until there is something to read, or room for what is to be sent."""
        if self.is_closed or self._tls is None:
            return
        waits_for_room = is_blocked or (self.is_open and bool(self._calls.out))
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if waits_for_room else 0)
        if events != self._listened:
            self._listened = events
            self._loop.selector.modify(self._tls, events, self._ready)

    def _tell(self, event: Event) -> None:
        told = self._events.get(event.stream)
        if event.message is None:
            self._events.pop(event.stream, None)
        if told is not None:
            told(event)


def context_of(root: Path, certificate: Path, key: Path | None = None) -> ssl.SSLContext:
    """Return what a connection needs.

    Args:
        root: a file with the root to trust.
        certificate: a file with our chain.
        key: a file with our key; None if it is in the same.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(root)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["h2"])
    return context
