"""What a gRPC call says of the connection under it, and what the server's answer says.

What gRPC at this end says of a failed connection was observed here, and is believed. The answer
comes from the other side: only what a handfast server says of our certificate is taken from it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from pki.diagnosis.checks.durations import format_duration
from pki.diagnosis.checks.server_name import EXPECTED_NAME as NAME
from pki.diagnosis.observe.grpc_call import CallResult
from pki.diagnosis.report import Finding, Status, failed, ok, symptom, unknown, warning
from pki.failures import Match, recognise
from pki.failures.signs.handfast import HANDFAST

CALL = "a call by gRPC"
# nginx completes the handshake, and then refuses a certificate by one of these statuses
# (https://nginx.org/en/docs/http/ngx_http_ssl_module.html#errors).
REFUSED_BY_HTTP = frozenset({400, 495, 496})
_NOBODY_BEHIND = {502, 503, 504}
_APART = timedelta(seconds=30)
# The test method exists on no server, so every server refuses it.
_EXPECTED = {"not-granted", "unknown-method"}
_ANSWERS = {"OK", "UNIMPLEMENTED", "NOT_FOUND", "PERMISSION_DENIED"}
_PIN = (
    "Say whom to expect: --name NAME; and have the client pin it, by Workload.channel(..., "
    "peer=NAME) or the option grpc.ssl_target_name_override"
)
_WELL = "the connection works, and the server"
_FIRST_LIKELY, _NEXT = 60, 10


def examine_clocks(result: CallResult | None, now: datetime) -> list[Finding]:
    """Compare our clock with the time in the server's answer, if there is one."""
    check = "clocks"
    if result is None:
        return []
    if result.date is None:
        return [unknown(check, "the server sends no time (gRPC sends none)")]
    apart = abs(now - result.date)
    message = f"{format_duration(apart)} apart, by the time that the server sent"
    if apart > _APART:
        return [warning(check, "clock-skew", message)]
    return [ok(check, message)]


def examine_call(
    result: CallResult,
    findings: list[Finding],
    *,
    has_trust: bool,
    with_certificate: bool,
    silent: bool,
) -> list[Finding]:
    """Examine the result of a call.

    Args:
        result: the result.
        findings: the findings of the checks before.
        has_trust: whether the call was made with roots of ours, not with the server's own chain.
        with_certificate: whether the call presented our certificate.
        silent: whether the handshakes agreed on HTTP/2, and the server then sent none.
    """
    if result.http_status is not None:
        return [_by_http(result.http_status)]
    if result.reached:
        return _answered(result, findings)
    if result.code == "DEADLINE_EXCEEDED" and silent:
        message = "the server agreed on HTTP/2, and then sent nothing: no settings, no response"
        return [failed(CALL, "not-http2", message, likelihood=80)]
    message = f"{result.code}: {result.message}"
    if any(item.status is Status.FAILED for item in findings):
        return [symptom(CALL, f"fails, as the other checks explain: {message}")]
    if not has_trust and "CERTIFICATE_VERIFY_FAILED" in result.details:
        return [unknown(CALL, f"fails without our roots: {message}", "Name them: --bundle FILE")]
    return _not_reached(result, findings, with_certificate=with_certificate)


def _by_http(status: int) -> Finding:
    if 200 <= status < 300:
        return unknown(CALL, f"{_WELL} answers the call by HTTP {status}: it is not a gRPC server")
    if status in _NOBODY_BEHIND:
        return warning(
            CALL,
            "unreachable",
            f"{_WELL} answers the call by HTTP {status}, as a proxy does that can't reach the "
            "server behind it",
            remedy="Start the server behind the proxy, or correct its address in the proxy; the "
            "proxy's log says what failed",
        )
    return warning(
        CALL,
        "unknown-method",
        f"{_WELL} answers the call by HTTP {status}: no gRPC server has the method there",
    )


def _answered(result: CallResult, findings: list[Finding]) -> list[Finding]:
    message = f"{result.code}: {result.message}" if result.details else result.code
    matches = _handfast_failures(result)
    slugs = {item.failure.slug for item in matches}
    if "no-role" in slugs:
        # A service that calls nobody needs no role, so this is no failure.
        return [warning(CALL, "no-role", f"the server gives our certificate no role ({message})")]
    if any(item.status is Status.FAILED and item.failure in slugs for item in findings):
        return [symptom(CALL, f"the server says so too ({message})")]
    if slugs and not slugs & _EXPECTED:
        why = f"the server says so ({message})"
        return [
            failed(
                CALL,
                item.failure.slug,
                why,
                # A reason that stands for one failure is as sure as an alert.
                likelihood=0 if item.sure else _FIRST_LIKELY - _NEXT * rank,
                handshake_result=item.failure.handshake_result,
            )
            for rank, item in enumerate(matches)
        ]
    if result.code in _ANSWERS:
        # The test call is to a method that hardly any policy grants.
        word = result.code
        if word == "PERMISSION_DENIED":
            word += ": the connection works; only doctor's own test method is refused, as expected"
        return [ok(CALL, f"is answered ({word})")]
    if result.code == "UNAUTHENTICATED":
        return [unknown(CALL, f"{_WELL} requires more than our certificate ({message})")]
    if result.code == "UNAVAILABLE":
        return [warning(CALL, "unreachable", f"{_WELL} can't serve it now ({message})")]
    return [unknown(CALL, f"{_WELL} answers the call otherwise than gRPC does ({message})")]


def _handfast_failures(result: CallResult) -> list[Match]:
    matches = recognise(result.reason or result.details)
    return [item for item in matches if item.sign.party == HANDFAST]


def _not_reached(
    result: CallResult, findings: list[Finding], *, with_certificate: bool
) -> list[Finding]:
    message = f"fails: {result.code}: {result.message}"
    matches = [
        item
        for item in recognise(result.details)
        # A certificate was presented, so this is not the cause.
        if not (with_certificate and item.failure.slug == "no-client-certificate")
    ]
    if len(matches) == 1 and result.is_local:
        slug = matches[0].failure.slug
        if slug == "wrong-name" and _pins_nothing(findings):
            why = "gRPC of C and Python finds no DNS name or address to pin in its certificate"
            return [unknown(CALL, f"{why}; one that checks SPIFFE IDs does not need it")]
        handshake_result = matches[0].failure.handshake_result
        remedy = _PIN if slug == "wrong-name" else ""
        if matches[0].sure:
            return [failed(CALL, slug, message, remedy=remedy, handshake_result=handshake_result)]
        return [
            failed(CALL, slug, message, likelihood=_FIRST_LIKELY, handshake_result=handshake_result)
        ]
    closed = any(item.failure.slug == "closed-without-reason" for item in matches)
    if closed or not matches:
        # The handshake with OpenSSL succeeded: why only gRPC was refused can't be observed.
        return [failed(CALL, "closed-without-reason", message, likelihood=30)]
    return [
        failed(
            CALL, item.failure.slug, message, likelihood=max(_FIRST_LIKELY - _NEXT * rank, _NEXT)
        )
        for rank, item in enumerate(matches)
    ]


def _pins_nothing(findings: list[Finding]) -> bool:
    return any(item.check == NAME and item.status is Status.WARNING for item in findings)
