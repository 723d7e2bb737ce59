"""A real call with gRPC itself: what a user of it would see, and whether it would work for them.

The method is one that no server has, so nothing is done there; that it was answered at all, with
whatever status, says that the connection came about. A handfast server answers
``PERMISSION_DENIED`` and logs a refused call.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import grpc
from cryptography import x509
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from pki.diagnosis.observe.http_date import parsed_date
from pki.diagnosis.observe.tls_handshake import Shown
from pki.errors import quote_untrusted
from pki.keys import private_key_to_pem
from pki.x509.readers import to_pem

METHOD = "/handfast.doctor.v1.Doctor/Examine"
# What gRPC says of connections that failed begins with either; a server's own words may be any.
_NO_CONNECTION = ("failed to connect to all addresses", "dns resolution failed")
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
# gRPC's words for an answer in HTTP that is none of gRPC.
_HTTP_STATUS = re.compile(r"http2 header with status: (\d{3})")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call came to.

    Args:
        reached: whether the server answered it.
        code: the status code's name.
        details: the words, of this end's gRPC or of the server; untrusted.
        http_status: of an answer in HTTP that is none of gRPC; None for another.
        date: the time that the server, or a proxy before it, told; None where it told none.
        reason: why a handfast server refuses us, a value of ``handfast.v1.ErrorReason``; empty
            where it does not, or another answers.
    """

    reached: bool
    code: str
    details: str
    http_status: int | None = None
    date: datetime | None = None
    reason: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether the words are those of gRPC at this end, about the connection."""
        return self.details.lower().startswith(_NO_CONNECTION)

    @property
    def words(self) -> str:
        """The words, escaped, without where they were said of: what tells stands at their end."""
        return quote_untrusted(_WHERE.sub("", self.details))


def call(
    target: str,
    server_name: str,
    showing: Shown | None,
    roots: tuple[x509.Certificate, ...],
    *,
    seconds: float,
) -> Answer:
    """Call a server by gRPC.

    Args:
        target: as gRPC names it.
        server_name: the DNS name that its certificate must hold; empty leaves that to the target.
        showing: the certificate to show.
        roots: those to believe; empty takes gRPC's own.
        seconds: how long it may take.
    """
    options: list[tuple[str, Any]] = [
        # A pool of its own: a connection of somebody else's would prove nothing.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_http_proxy", 0),
        ("grpc.enable_retries", 0),
    ]
    if server_name:
        options.append(("grpc.ssl_target_name_override", server_name))
    credentials = grpc.ssl_channel_credentials(
        to_pem(roots) if roots else None,
        private_key_to_pem(showing.key) if showing else None,
        to_pem(showing.chain) if showing else None,
    )
    with grpc.secure_channel(target, credentials, options) as channel:
        try:
            send: Callable[..., Any] = channel.unary_unary(METHOD)
            send(b"", timeout=seconds)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            details = (error.details() or "")[:_MOST_DETAILS]
            status = _HTTP_STATUS.search(details)
            return Answer(
                status is not None or _is_an_answer(code, details),
                code.name,
                details,
                int(status[1]) if status else None,
                _date(error),
                _reason(error),
            )
    return Answer(True, grpc.StatusCode.OK.name, "")


def _is_an_answer(code: grpc.StatusCode, details: str) -> bool:
    if code is not grpc.StatusCode.UNAVAILABLE:
        return code not in _NOT_REACHED
    lower = details.lower()
    return not lower.startswith(_NO_CONNECTION) and not _LOST.search(lower)


def _date(error: Any) -> datetime | None:
    """Read the header ``date``: Envoy and nginx send it, gRPC does not."""
    for key, value in (*(error.initial_metadata() or ()), *(error.trailing_metadata() or ())):
        if key == "date" and isinstance(value, str):
            return parsed_date(value)
    return None


def _reason(error: Any) -> str:
    """Read the one ``google.rpc.ErrorInfo`` that a handfast server sends with a refusal."""
    info = error_details_pb2.ErrorInfo()
    for key, value in error.trailing_metadata() or ():
        if key != "grpc-status-details-bin" or not isinstance(value, bytes):
            continue
        try:
            details = status_pb2.Status.FromString(value).details
            if any(item.Unpack(info) and info.domain == "handfast" for item in details):
                return str(info.reason)
        except DecodeError:
            # Another server's own bytes under the same key.
            return ""
    return ""
