"""Which way gRPC takes to the server: straight, or through the HTTP proxy of the environment."""

from __future__ import annotations

from pki.diagnosis.observe.tls_handshake import Handshake, HandshakeEnd
from pki.diagnosis.report import Finding, failed, ok, warning
from pki.errors import quote_untrusted
from pki.tls.proxy import ProxyChoice
from pki.tls.target import Target

PROXY = "proxy"


def examine_proxy(
    target: Target, choice: ProxyChoice, handshake: Handshake, direct: Handshake | None
) -> list[Finding]:
    """Examine the way to the server; no finding where no proxy is set.

    Args:
        target: where the server is.
        choice: the proxy that gRPC uses, and why.
        handshake: the handshake by the way that gRPC takes.
        direct: a handshake without the proxy, where the proxy made no connection; None if none
            was made.
    """
    if not choice.variable:
        return []
    where = quote_untrusted(target.text)
    if choice.is_unusable:
        message = (
            f"{choice.variable} names no proxy that gRPC can use, so it connects directly: write "
            "http://host:port"
        )
        return [
            warning(PROXY, "proxy-refused", message, remedy=f"Correct or unset {choice.variable}")
        ]
    if choice.proxy is None:
        message = f"{choice.variable} is set, and {choice.exception} excepts {where} from it"
        return [ok(PROXY, f"{message}: gRPC connects directly")]
    way = f"gRPC goes through {choice.proxy}, by {choice.variable}"
    no_connection = handshake.error is not None and handshake.end in {
        HandshakeEnd.NOT_CONNECTED,
        HandshakeEnd.TIMED_OUT,
    }
    if not no_connection:
        return [ok(PROXY, f"{way}; grpc.enable_http_proxy=0 or no_proxy makes it go directly")]
    message = f"{way}, and gets no connection to {where}: {handshake.message or 'no answer'}"
    if direct is not None:
        answers = direct.completed or bool(direct.chain)
        message += (
            "; without the proxy the server answers"
            if answers
            else f"; nor is it reached without the proxy: {direct.message}"
        )
    return [failed(PROXY, "proxy-refused", message, handshake_result="PEER_CONNECTION_CLOSED")]
