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
from email.utils import parsedate_to_datetime
from typing import Any

import grpc
from cryptography import x509

from pki.diagnosis.handshake import Shown
from pki.errors import shown
from pki.keys import private_key_to_pem
from pki.x509.readers import to_pem

METHOD = "/handfast.doctor.v1.Doctor/Examine"
_DONE = {
    grpc.StatusCode.OK,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.NOT_FOUND,
}
# gRPC's words for an answer in HTTP that is none of gRPC.
_HTTP_STATUS = re.compile(r"http2 header with status: (\d{3})")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call came to.

    Args:
        reached: whether the server answered it.
        code: the status code's name.
        details: gRPC's words, escaped.
        http_status: of an answer in HTTP that is none of gRPC; None for another.
        date: the time that the server, or a proxy before it, told; None where it told none.
    """

    reached: bool
    code: str
    details: str
    http_status: int | None = None
    date: datetime | None = None


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
            details = error.details() or ""
            status = _HTTP_STATUS.search(details)
            return Answer(
                code in _DONE or status is not None,
                code.name,
                shown(details),
                int(status[1]) if status else None,
                _date(error),
            )
    return Answer(True, grpc.StatusCode.OK.name, "")


def _date(error: Any) -> datetime | None:
    """Read the header ``date`` (RFC 9110 section 6.6.1): Envoy and nginx send it, gRPC does not."""
    for key, value in (*(error.initial_metadata() or ()), *(error.trailing_metadata() or ())):
        if key == "date" and isinstance(value, str):
            try:
                found = parsedate_to_datetime(value)
            except ValueError:
                return None
            return found if found.tzinfo is not None else None
    return None
