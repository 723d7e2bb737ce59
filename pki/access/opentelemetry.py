"""Attributes of OpenTelemetry's current span for an authorized call; see docs/tracing.md.

The names of the semantic conventions are used where there are any. There are none for SPIFFE IDs
and roles: those names are ours. Without a recording span, the cost is one lookup in the context.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from pki.access.authorizer import LEAF, AuthContext
from pki.access.call_verdict import CallVerdict
from pki.access.refusal import Refusal
from pki.background import defer
from pki.errors import InputError
from pki.x509 import read_certificate
from pki.x509.decoding import UNREADABLE

if TYPE_CHECKING:
    from opentelemetry.trace import Span

log = logging.getLogger("handfast.access")

TRACING, MODULES = "opentelemetry.trace", sys.modules
"""``TRACING in MODULES``: whether there may be a span at all. Most services never load this."""

_MOST_LEAVES = 1024


def annotate_call(verdict: CallVerdict, auth: AuthContext) -> None:
    """Set the attributes of the current span for a call and its verdict; raise nothing."""
    try:
        span = _current_span()
        if span is not None and span.is_recording():
            span.set_attributes({**_of_call(verdict, auth), **_of_verdict(verdict)})
    except Exception as error:
        defer(log.error, "the attributes of a call's span could not be set: %r", error)


def recording_span() -> Span | None:
    """Return the current span if it records, for a stream that may be ended later."""
    try:
        span = _current_span()
        return span if span is not None and span.is_recording() else None
    except Exception as error:
        defer(log.error, "a stream's span could not be read: %r", error)
        return None


def annotate_stream_end(span: Span | None, refusal: Refusal | None) -> None:
    """Set the attribute that says why a stream was ended; raise nothing.

    Args:
        span: the result of :func:`recording_span`.
        refusal: why the stream was ended; None if it ended by itself.
    """
    try:
        if span is not None and refusal is not None:
            span.set_attribute("handfast.stream.ended", refusal.name)
    except Exception as error:
        defer(log.error, "the attributes of a stream's span could not be set: %r", error)


def _current_span() -> Span | None:
    # An application that has not loaded OpenTelemetry has no span, and need not pay for loading it.
    trace = MODULES.get(TRACING)
    # While another thread loads the module, it is there without its functions.
    current_span: Callable[[], Span] | None = getattr(trace, "get_current_span", None)
    return None if current_span is None else current_span()


def _of_call(verdict: CallVerdict, auth: AuthContext) -> dict[str, str | bool]:
    attributes: dict[str, str | bool] = {}
    resumed = auth.get("ssl_session_reused")
    if resumed:
        attributes["tls.resumed"] = resumed[0] == b"true"
    leaf = auth.get(LEAF)
    if leaf:
        attributes.update(_of_leaf(leaf[0]))
    if verdict.spiffe_id:
        attributes["handfast.peer.spiffe_id"] = verdict.spiffe_id
    return attributes


def _of_verdict(verdict: CallVerdict) -> dict[str, str | bool | tuple[str, ...]]:
    refusal, decision = verdict.refusal or verdict.audited, verdict.decision
    attributes: dict[str, str | bool | tuple[str, ...]] = {
        "handfast.verdict": refusal.name if refusal is not None else "ALLOWED",
        "handfast.audited": verdict.audited is not None,
    }
    if decision is not None:
        attributes["handfast.peer.roles"] = decision.roles
        if decision.rule:
            attributes["handfast.rule"] = decision.rule
    return attributes


@lru_cache(maxsize=_MOST_LEAVES)
def _of_leaf(pem: bytes) -> Mapping[str, str]:
    try:
        return _read(read_certificate(pem))
    except (InputError, *UNREADABLE):
        return {}


def _read(leaf: x509.Certificate) -> Mapping[str, str]:
    return {
        "tls.client.subject": leaf.subject.rfc4514_string(),
        "tls.client.issuer": leaf.issuer.rfc4514_string(),
        "tls.client.not_before": _format_time(leaf.not_valid_before_utc),
        "tls.client.not_after": _format_time(leaf.not_valid_after_utc),
        "tls.client.hash.sha256": leaf.fingerprint(SHA256()).hex().upper(),
    }


def _format_time(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
