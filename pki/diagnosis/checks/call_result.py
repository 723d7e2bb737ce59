"""What a call by gRPC says of the connection under it, and what the server said in its answer.

gRPC's own words for a connection that failed are what this end saw, and believed; an answer's words
are the other side's, and only what a handfast server says of our certificate is taken from them.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from pki.diagnosis.checks.server_name import QUESTION as NAME
from pki.diagnosis.checks.spans import span
from pki.diagnosis.observe.grpc_call import Answer
from pki.diagnosis.report import Finding, Status, failed, ok, symptom, unknown, warning
from pki.failures import Match, recognise
from pki.failures.signs.ours import HANDFAST

CALL = "a call by gRPC"
# nginx refuses a certificate by one of these behind a handshake that it let come about
# (https://nginx.org/en/docs/http/ngx_http_ssl_module.html#errors).
REFUSED_BY_HTTP = frozenset({400, 495, 496})
_NOBODY_BEHIND = {502, 503, 504}
_APART = timedelta(seconds=30)
# A method that no server has is refused to everybody; and a role is asked for by the policy.
_EXPECTED = {"not-granted", "unknown-method"}
_ANSWERS = {"OK", "UNIMPLEMENTED", "NOT_FOUND", "PERMISSION_DENIED"}
_PIN = (
    "Say whom to expect: --name NAME; and have the client pin it, by Workload.channel(..., "
    "peer=NAME) or the option grpc.ssl_target_name_override"
)
_WELL = "the connection is well, and the server"
_FIRST_LIKELY, _NEXT = 60, 10


def examine_clocks(answer: Answer | None, now: datetime) -> list[Finding]:
    """Compare our clock with the time that the server tells, if it tells any."""
    question = "clocks"
    if answer is None:
        return []
    if answer.date is None:
        return [unknown(question, "the server tells no time (gRPC does not); its certificate does")]
    apart = abs(now - answer.date)
    words = f"{span(apart)} apart by the time that the server tells"
    if apart > _APART:
        return [warning(question, "clock-differs", words)]
    return [ok(question, words)]


def examine_call(
    answer: Answer, found: list[Finding], *, has_trust: bool, shows: bool, silent: bool
) -> list[Finding]:
    """Examine what a call came to.

    Args:
        answer: that.
        found: the answers to the questions before.
        has_trust: whether it was made with roots of ours.
        shows: whether it showed a certificate of ours.
        silent: whether the handshakes agreed on HTTP/2 and heard none.
    """
    if answer.http_status is not None:
        return [_by_http(answer.http_status)]
    if answer.reached:
        return _answered(answer, found)
    if answer.code == "DEADLINE_EXCEEDED" and silent:
        words = "HTTP/2 is agreed on, and the server says nothing in it: no settings, no answer"
        return [failed(CALL, "not-http2", words, likely=80)]
    words = f"{answer.code}: {answer.words}"
    if any(item.status is Status.FAILED for item in found):
        return [symptom(CALL, f"fails, as the rest explains: {words}")]
    if not has_trust:
        return [unknown(CALL, f"fails without roots of ours: {words}", "Name them: --bundle FILE")]
    return _not_reached(answer, found, shows=shows)


def _by_http(status: int) -> Finding:
    if 200 <= status < 300:
        return unknown(CALL, f"{_WELL} answers it by HTTP {status}: it is no gRPC server")
    if status in _NOBODY_BEHIND:
        return warning(
            CALL,
            "unreachable",
            f"{_WELL} answers it by HTTP {status}, as a proxy does that can't reach the server "
            "behind it",
            remedy="Start the server behind the proxy, or correct the proxy's way to it; the "
            "proxy's log says what failed",
        )
    return warning(
        CALL, "unknown-method", f"{_WELL} answers it by HTTP {status}: no gRPC server has it there"
    )


def _answered(answer: Answer, found: list[Finding]) -> list[Finding]:
    words = f"{answer.code}: {answer.words}" if answer.details else answer.code
    said = _said_by_handfast(answer)
    slugs = {item.failure.slug for item in said}
    if "no-role" in slugs:
        # A service that only serves needs none, and may well ask about itself.
        return [warning(CALL, "no-role", f"the server gives our certificate no role ({words})")]
    if any(item.status is Status.FAILED and item.failure in slugs for item in found):
        return [symptom(CALL, f"the server says so too ({words})")]
    if slugs and not slugs & _EXPECTED:
        why = f"the server says so ({words})"
        return [
            failed(
                CALL,
                item.failure.slug,
                why,
                # A reason that stands for one failure is as good as an alert.
                likely=0 if item.sure else _FIRST_LIKELY - _NEXT * rank,
                verdict=item.failure.verdict,
            )
            for rank, item in enumerate(said)
        ]
    if answer.code in _ANSWERS:
        # The probe calls a method that hardly any policy grants.
        word = answer.code
        if word == "PERMISSION_DENIED":
            word += ": the connection works; only the probe's own method is refused, as expected"
        return [ok(CALL, f"is answered ({word})")]
    if answer.code == "UNAUTHENTICATED":
        return [unknown(CALL, f"{_WELL} wants to know more than our certificate ({words})")]
    if answer.code == "UNAVAILABLE":
        return [warning(CALL, "unreachable", f"{_WELL} can't serve it now ({words})")]
    return [unknown(CALL, f"{_WELL} answers it otherwise than gRPC does ({words})")]


def _said_by_handfast(answer: Answer) -> list[Match]:
    matches = recognise(answer.reason or answer.details)
    return [item for item in matches if item.sign.party == HANDFAST]


def _not_reached(answer: Answer, found: list[Finding], *, shows: bool) -> list[Finding]:
    words = f"fails: {answer.code}: {answer.words}"
    matches = [
        item
        for item in recognise(answer.details)
        # One was shown, so that is not it.
        if not (shows and item.failure.slug == "no-client-certificate")
    ]
    if len(matches) == 1 and answer.is_ours:
        slug = matches[0].failure.slug
        if slug == "wrong-name" and _pins_nothing(found):
            why = "gRPC of C and Python finds no DNS name or address to pin in its certificate"
            return [unknown(CALL, f"{why}; one that checks SPIFFE IDs does not need it")]
        verdict = matches[0].failure.verdict
        remedy = _PIN if slug == "wrong-name" else ""
        if matches[0].sure:
            return [failed(CALL, slug, words, remedy=remedy, verdict=verdict)]
        return [failed(CALL, slug, words, likely=_FIRST_LIKELY, verdict=verdict)]
    closed = any(item.failure.slug == "closed-without-a-word" for item in matches)
    if closed or not matches:
        # By OpenSSL all is well: what gRPC alone was refused for can't be seen.
        return [failed(CALL, "closed-without-a-word", words, likely=30)]
    return [
        failed(CALL, item.failure.slug, words, likely=max(_FIRST_LIKELY - _NEXT * rank, _NEXT))
        for rank, item in enumerate(matches)
    ]


def _pins_nothing(found: list[Finding]) -> bool:
    return any(item.question == NAME and item.status is Status.WARNING for item in found)
