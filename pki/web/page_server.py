"""One page over HTTPS, for callers with a client certificate and a role.

1. The certificate is verified as for a gRPC call, anew for each request: chain, profile, time,
   revocation, policy. There are no sessions to resume, and one request for each connection.
2. Nothing of the request is read before that.
3. A caller takes one of a few places. Where all are taken, the oldest one that has not finished its
   handshake, or was refused, makes room: who has not the role keeps nobody out.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from io import BytesIO

from OpenSSL import SSL, crypto

from pki.access.authorizer import CHAIN, LEAF, AuthContext
from pki.access.call_verdict import CallVerdict
from pki.background import defer
from pki.errors import quote_untrusted
from pki.tls.accepting import accepting_context, peer_chain
from pki.tls.connection import Deadline, TlsConnection, TooManyBytesError, ssl_error_message
from pki.x509 import Credential

log = logging.getLogger("handfast.web")

_SECONDS, _HANDSHAKE_SECONDS, _POLL_SECONDS = 10.0, 3.0, 0.25
_AT_ONCE = 16
_MOST_BYTES, _MOST_HEAD = 256 * 1024, 16 * 1024
_END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Page:
    """A page.

    Args:
        path: where it is, e.g. ``/metrics``.
        method: by which the policy grants it, e.g. ``/handfast.v1.Metrics/Read``.
        content_type: of the content.
        content: returns it.
    """

    path: str
    method: str
    content_type: str
    content: Callable[[], bytes]


class PageServer:
    """Serves a page from :meth:`start` until :meth:`stop`.

    Args:
        host: the address to listen on.
        port: the port; 0 takes a free one.
        credential: returns the server's present credential.
        authorize: returns the verdict on a caller, by its certificates as PEM and a method.
        page: the page.

    Raises:
        OSError: if the port can't be listened on.
    """

    def __init__(
        self,
        host: str,
        port: int,
        credential: Callable[[], Credential],
        authorize: Callable[[AuthContext, str], CallVerdict],
        page: Page,
    ) -> None:
        self._credential = credential
        self._authorize = authorize
        self._page = page
        self._ending = threading.Event()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listening = socket.create_server((host, port), family=family)
        self._listening.settimeout(_POLL_SECONDS)
        self.port: int = self._listening.getsockname()[1]
        self._context: tuple[Credential, SSL.Context] | None = None
        self._lock = threading.Lock()
        # The connections of callers that have not shown the role, the oldest first.
        self._shaking: dict[socket.socket, None] = {}
        self._thread = threading.Thread(target=self._serve, name="handfast-page", daemon=True)

    def start(self) -> None:
        """Accept callers from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Accept no callers any more; let running requests end."""
        self._ending.set()
        self._thread.join(_SECONDS)

    def _serve(self) -> None:
        free = threading.BoundedSemaphore(_AT_ONCE)
        with self._listening, ThreadPoolExecutor(_AT_ONCE, "handfast-page") as pool:
            while not self._ending.is_set():
                try:
                    plain, _ = self._listening.accept()
                except OSError:
                    # Nobody connected, the caller left already, or no descriptor is left.
                    self._ending.wait(0.01)
                    continue
                if not free.acquire(blocking=False):
                    self._drop_oldest_handshake()
                    if not free.acquire(timeout=_POLL_SECONDS):
                        plain.close()
                        continue
                with self._lock:
                    self._shaking[plain] = None
                accepted = pool.submit(self._answer, plain)
                accepted.add_done_callback(lambda _: free.release())

    def _drop_oldest_handshake(self) -> None:
        with self._lock:
            oldest = next(iter(self._shaking), None)
            if oldest is not None:
                del self._shaking[oldest]
                # Its thread notices, and closes it.
                with suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)

    def _answer(self, plain: socket.socket) -> None:
        deadline = Deadline(_SECONDS)
        try:
            with TlsConnection(plain, self._tls_context(), max_bytes=_MOST_BYTES) as connection:
                connection.tls.set_accept_state()
                connection.do_handshake(Deadline(_HANDSHAKE_SECONDS))
                verdict = self._authorize(_auth_context(connection.tls), self._page.method)
                if verdict.refusal is None:
                    # Who has the role is trusted with a place. Any certificate ends a handshake.
                    self._end_handshake(plain)
                head = _read_head(connection, deadline)
                connection.write(self._response(head, verdict), deadline)
                connection.end(deadline)
        except SSL.Error as error:
            defer(log.info, "a caller of %s: %s", self._page.path, ssl_error_message(error))
        except (OSError, TooManyBytesError, ValueError) as error:
            defer(log.info, "a caller of %s: %s", self._page.path, quote_untrusted(error))
        except Exception as error:
            defer(log.error, "%s could not be shown: %r", self._page.path, error)
        finally:
            self._end_handshake(plain)

    def _end_handshake(self, plain: socket.socket) -> None:
        with self._lock:
            self._shaking.pop(plain, None)

    def _response(self, head: bytes, verdict: CallVerdict) -> bytes:
        request = _Request(head)
        if verdict.refusal is not None:
            text = f"{verdict.refusal.name}: {verdict.refusal.message}\n"
            return _make_response(HTTPStatus.FORBIDDEN, "text/plain", text.encode())
        if request.error_code is not None or request.command not in {"GET", "HEAD"}:
            return _make_response(HTTPStatus.BAD_REQUEST, "text/plain", b"only GET\n")
        if request.path.partition("?")[0] != self._page.path:
            return _make_response(HTTPStatus.NOT_FOUND, "text/plain", b"not here\n")
        made = _make_response(HTTPStatus.OK, self._page.content_type, self._page.content())
        if request.command == "HEAD":
            made = made[: made.index(_END_OF_HEAD) + len(_END_OF_HEAD)]
        return made

    def _tls_context(self) -> SSL.Context:
        credential = self._credential()
        with self._lock:
            if self._context is None or self._context[0] is not credential:
                self._context = credential, _make_context(credential)
            return self._context[1]


class _Request(BaseHTTPRequestHandler):
    """The head of a request, parsed by the standard library without a connection."""

    def __init__(self, head: bytes) -> None:
        self.rfile = BytesIO(head)
        self.wfile = BytesIO()
        self.raw_requestline = self.rfile.readline(_MOST_HEAD)
        self.error_code: int | None = None
        self.command, self.path = "", ""
        self.parse_request()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        del message, explain
        self.error_code = code


def _make_context(credential: Credential) -> SSL.Context:
    context = accepting_context(credential.chain, credential.key, protocol=b"http/1.1")
    context.set_options(SSL.OP_NO_RENEGOTIATION)
    # The chain is verified afterwards, as for a call; without one there is nothing to verify.
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
    return context


def _auth_context(tls: SSL.Connection) -> AuthContext:
    """Return what gRPC says of a caller's certificates."""
    pems = [crypto.dump_certificate(crypto.FILETYPE_PEM, item) for item in peer_chain(tls)]
    return {LEAF: pems[:1], CHAIN: [b"".join(pems)]} if pems else {}


def _read_head(connection: TlsConnection, deadline: Deadline) -> bytes:
    head = b""
    while _END_OF_HEAD not in head:
        data = connection.read(deadline)
        head += data
        if not data or len(head) > _MOST_HEAD:
            raise ValueError("the head of the request does not end")
    return head


def _make_response(status: HTTPStatus, content_type: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n"
        "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\r\n"
    )
    return head.encode() + body
