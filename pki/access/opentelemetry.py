"""What OpenTelemetry's current span is told of a judged call; see docs/tracing.md.

Names of the semantic conventions are used as they stand. They know no SPIFFE ID and no roles: those
names are ours. Without a span that records, all of it is one look at the context.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from opentelemetry.trace import Span, get_current_span

from pki.access.authorizer import AuthContext
from pki.access.call_verdict import CallVerdict
from pki.access.refusal import Refusal
from pki.background import defer
from pki.errors import InputError
from pki.x509 import read_certificate
from pki.x509.decoding import UNREADABLE

log = logging.getLogger("handfast.rpc")

_MOST_LEAVES = 1024


def mark(judgement: CallVerdict, auth: AuthContext) -> None:
    """Tell the current span who called and what was answered; raise nothing."""
    try:
        span = get_current_span()
        if span.is_recording():
            span.set_attributes({**_of_call(judgement, auth), **_of_answer(judgement)})
    except Exception as error:
        defer(log.error, "a call's span could not be told of it: %r", error)


def recording_span() -> Span | None:
    """Return the current span if it records, for a stream that may be ended later."""
    try:
        span = get_current_span()
        return span if span.is_recording() else None
    except Exception as error:
        defer(log.error, "a stream's span could not be asked: %r", error)
        return None


def mark_ended(span: Span | None, refusal: Refusal | None) -> None:
    """Tell a stream's span why the stream was ended; raise nothing.

    Args:
        span: what :func:`recording_span` gave.
        refusal: why; None if it ended by itself.
    """
    try:
        if span is not None and refusal is not None:
            span.set_attribute("handfast.stream.ended", refusal.name)
    except Exception as error:
        defer(log.error, "a stream's span could not be told of its end: %r", error)


def _of_call(judgement: CallVerdict, auth: AuthContext) -> dict[str, str | bool]:
    found: dict[str, str | bool] = {}
    resumed = auth.get("ssl_session_reused")
    if resumed:
        found["tls.resumed"] = resumed[0] == b"true"
    leaf = auth.get("x509_pem_cert")
    if leaf:
        found.update(_of_leaf(leaf[0]))
    if judgement.spiffe_id:
        found["handfast.peer.spiffe_id"] = judgement.spiffe_id
    return found


def _of_answer(judgement: CallVerdict) -> dict[str, str | bool | tuple[str, ...]]:
    against, decision = judgement.refusal or judgement.audited, judgement.decision
    found: dict[str, str | bool | tuple[str, ...]] = {
        "handfast.decision": against.name if against is not None else "ALLOWED",
        "handfast.audited": judgement.audited is not None,
    }
    if decision is not None:
        found["handfast.peer.roles"] = decision.roles
        if decision.rule:
            found["handfast.rule"] = decision.rule
    return found


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
        "tls.client.not_before": _written(leaf.not_valid_before_utc),
        "tls.client.not_after": _written(leaf.not_valid_after_utc),
        "tls.client.hash.sha256": leaf.fingerprint(SHA256()).hex().upper(),
    }


def _written(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
