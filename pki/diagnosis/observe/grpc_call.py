"""Makes a real gRPC call: what a user of gRPC would see, and whether a call works.

No server has the method, so the call changes nothing. Any status that the server answers says that
the connection works. A handfast server answers ``PERMISSION_DENIED``, and logs a refused call.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import grpc
from cryptography import x509

from pki.diagnosis.observe.http_date import parse_http_date
from pki.diagnosis.observe.tls_handshake import CertifiedKey
from pki.error_info import read_reason
from pki.errors import quote_untrusted
from pki.keys import private_key_to_pem
from pki.x509.readers import to_pem

METHOD = "/handfast.doctor.v1.Doctor/Examine"
# gRPC's text for a failed connection begins with one of these; a server's own text may be anything.
_NO_CONNECTION = (
    "failed to connect to all addresses",
    "dns resolution failed",
    "errors resolving",
    "http proxy returned",
)
_LOST = re.compile(r"socket closed|connection reset|recvmsg|endpoint closing|handshaker|goaway")
_WHERE = re.compile(
    r"^failed to connect to all addresses; last error: \w+: (?:(?:ipv[46]|unix|dns):\S+: )?"
)
_NOT_REACHED = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
}
_MOST_DETAILS = 4096
# gRPC's text for an HTTP answer that is not gRPC.
_HTTP_STATUS = re.compile(r"http2 header with status: (\d{3})")


@dataclass(frozen=True, slots=True)
class CallResult:
    """The result of a call.

    Args:
        reached: whether the server answered the call.
        code: the status code's name.
        details: the status message, of gRPC at this end or of the server; untrusted.
        http_status: the status of an HTTP answer that is not gRPC; None for any other.
        date: the time that the server, or a proxy before it, sent; None if none was sent.
        reason: why a handfast server refuses us, a value of ``handfast.v1.ErrorReason``; empty
            where it does not refuse, or another server answers.
    """

    reached: bool
    code: str
    details: str
    http_status: int | None = None
    date: datetime | None = None
    reason: str = ""

    @property
    def is_local(self) -> bool:
        """Whether the message is about the connection, from gRPC at this end."""
        return self.details.lower().startswith(_NO_CONNECTION)

    @property
    def message(self) -> str:
        """The status message, escaped, and without the address in front of the cause."""
        return quote_untrusted(_WHERE.sub("", self.details))


def call(
    target: str,
    server_name: str,
    certified_key: CertifiedKey | None,
    roots: tuple[x509.Certificate, ...],
    *,
    seconds: float,
) -> CallResult:
    """Call a server by gRPC, through the proxy that gRPC takes by the environment.

    Args:
        target: the target, as gRPC names it.
        server_name: the DNS name that its certificate must hold; empty leaves that to the target.
        certified_key: the certificate to present; None presents none.
        roots: the roots to trust; empty takes gRPC's own.
        seconds: how long the call may take.
    """
    options: list[tuple[str, Any]] = [
        # A pool of its own: a connection that another channel made would prove nothing.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_retries", 0),
    ]
    if server_name:
        options.append(("grpc.ssl_target_name_override", server_name))
    credentials = grpc.ssl_channel_credentials(
        to_pem(roots) if roots else None,
        private_key_to_pem(certified_key.key) if certified_key else None,
        to_pem(certified_key.chain) if certified_key else None,
    )
    with grpc.secure_channel(target, credentials, options) as channel:
        try:
            send: Callable[..., Any] = channel.unary_unary(METHOD)
            send(b"", timeout=seconds)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            details = (error.details() or "")[:_MOST_DETAILS]
            status = _HTTP_STATUS.search(details)
            return CallResult(
                status is not None or _is_from_server(code, details),
                code.name,
                details,
                int(status[1]) if status else None,
                _date(error),
                read_reason(error.trailing_metadata() or ()) or "",
            )
    return CallResult(True, grpc.StatusCode.OK.name, "")


def _is_from_server(code: grpc.StatusCode, details: str) -> bool:
    if code is not grpc.StatusCode.UNAVAILABLE:
        return code not in _NOT_REACHED
    lower = details.lower()
    return not lower.startswith(_NO_CONNECTION) and not _LOST.search(lower)


def _date(error: Any) -> datetime | None:
    """Return the header ``date``: Envoy and nginx send it, gRPC does not."""
    for key, value in (*(error.initial_metadata() or ()), *(error.trailing_metadata() or ())):
        if key == "date" and isinstance(value, str):
            return parse_http_date(value)
    return None
