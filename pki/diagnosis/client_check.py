"""Runs the checks on what ``server_observations`` observed of a server, from a client's end.

They run in the order in which a connection comes about, and stop where the rest can't be checked.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from cryptography import x509

from pki.diagnosis.checks.call_result import CALL, REFUSED_BY_HTTP, examine_call, examine_clocks
from pki.diagnosis.checks.certificates.certificate import examine_certificate
from pki.diagnosis.checks.certificates.chain import examine_chain
from pki.diagnosis.checks.client_acceptance import (
    REQUESTS,
    adjust_request,
    examine_acceptance,
    examine_request,
)
from pki.diagnosis.checks.connection import LISTENS, TLS, examine_connection
from pki.diagnosis.checks.key_proof import examine_key_proof, move_leaf_to_front
from pki.diagnosis.checks.own_credential import OwnCredential, adjust_to_acceptance, examine_own
from pki.diagnosis.checks.proxy import PROXY, examine_proxy
from pki.diagnosis.checks.refusal_causes import ACCEPTS, rank_causes
from pki.diagnosis.checks.server_name import examine_names
from pki.diagnosis.observe.tls_handshake import (
    HandshakeEnd,
)
from pki.diagnosis.report import (
    Finding,
    Status,
    failed,
    merge_repeated_causes,
    ok,
    symptom,
    unknown,
    warning,
)
from pki.diagnosis.server_observations import Observations, ServerExamination
from pki.errors import CertificateError
from pki.tls.starttls import StartTls
from pki.x509 import Fault, Purpose

_SERVER = "server certificate"
SERVER_TRUST = f"{_SERVER}: trust"


def check_observations(
    examination: ServerExamination, observations: Observations, now: datetime
) -> list[Finding]:
    """Run all checks on what was observed.

    Args:
        examination: what was examined.
        observations: what was observed.
        now: the time, aware.
    """
    own = examination.own
    chain, unreadable = _decode_chain(observations)
    ours = examine_own(own, Purpose.CLIENT, now, chain[1:]) if own is not None else []
    way = examine_proxy(
        examination.target, examination.proxy, observations.anonymous, observations.direct
    )
    if any(_fails(item) for item in way):
        # Whatever came, came from the proxy.
        findings = [*adjust_to_acceptance(ours, accepted=False), *way]
        return [*findings, *_examine_call(examination, observations, findings)]
    theirs = way + examine_connection(
        examination.target,
        observations.anonymous,
        examination.server_name,
        examination.starttls,
        observations.narrowed,
    )
    if any(item.check in {LISTENS, TLS} and _fails(item) for item in theirs):
        findings = [*adjust_to_acceptance(ours, accepted=False), *theirs]
        return [*findings, *_examine_call(examination, observations, findings)]
    theirs += unreadable
    proof = [] if observations.anonymous.completed else _examine_key_proof(observations, chain)
    if chain:
        if any(item.failure == "chain-order" for item in proof):
            # What else is wrong, the certificate that was meant shows.
            chain = move_leaf_to_front(chain)
        theirs += examine_certificate(_SERVER, chain[0], Purpose.SERVER, now)
        theirs += examine_chain(_SERVER, chain, examination.trust, Purpose.SERVER, now)
        theirs += examine_names(chain[0], examination.expected, is_dialled=examination.is_dialled)
    if proof:
        replaced = {item.check for item in proof}
        theirs = [item for item in theirs if item.check not in replaced or item.failure] + proof
    request = examine_request(observations.anonymous, own)
    acceptance = examine_acceptance(
        observations.anonymous,
        observations.with_certificate,
        own=own,
        ours=ours,
        request=request,
        server_chain=chain,
        now=now,
    )
    if proof:
        acceptance = [unknown(ACCEPTS, "the handshake ended before it was presented")]
    call_findings: list[Finding] | None = None
    if observations.call is not None and observations.call.http_status in REFUSED_BY_HTTP:
        call_findings = _refused_by_http(own, observations, [*ours, *request], chain, now)
        if observations.anonymous.certificate_requested:
            # The handshake accepted our certificate, and the answer in HTTP then refused it.
            acceptance = []
    accepted = bool(acceptance) and all(item.status is Status.OK for item in acceptance)
    findings = merge_repeated_causes(
        [
            *adjust_to_acceptance(ours, accepted=accepted),
            *theirs,
            *adjust_request(request, acceptance or call_findings or []),
            *acceptance,
        ]
    )
    findings += _examine_anonymous_access(observations)
    if examination.starttls is not None:
        findings = [_as_before_login(item, examination.starttls) for item in findings]
    findings += examine_clocks(observations.call, now)
    if call_findings is None:
        call_findings = _examine_call(examination, observations, findings)
    return [*findings, *call_findings]


def _as_before_login(item: Finding, starttls: StartTls) -> Finding:
    """Return a finding on callers without a certificate as open: a login follows after TLS."""
    if item.failure != "no-client-auth" or item.check == REQUESTS:
        return item
    return unknown(
        item.check,
        f"TLS is completed without one too; {starttls.label} may still require one at its login",
    )


def _fails(item: Finding) -> bool:
    return item.status is Status.FAILED and item.failure is not None


def _examine_key_proof(
    observations: Observations, chain: tuple[x509.Certificate, ...]
) -> list[Finding]:
    if observations.anonymous.end is not HandshakeEnd.FAILED:
        return []
    return examine_key_proof(_SERVER, chain, observations.anonymous.message)


def _decode_chain(
    observations: Observations,
) -> tuple[tuple[x509.Certificate, ...], list[Finding]]:
    """Return the server's chain; where there is none, it is empty, and a finding says why."""
    try:
        chain = observations.decode_chain()
    except CertificateError as error:
        return (), [
            failed(
                _SERVER, "malformed", error.message, handshake_result=Fault.PROFILE.handshake_result
            )
        ]
    if not chain:
        return (), [unknown(_SERVER, "the server presented none before the connection ended")]
    return chain, []


def _examine_anonymous_access(observations: Observations) -> list[Finding]:
    """Examine whether a server that requests a certificate goes on without one."""
    check = "requires a certificate"
    handshake, result = observations.with_certificate, observations.anonymous_call
    if (
        handshake is None
        or not handshake.certificate_requested
        or observations.anonymous.end is not HandshakeEnd.ACCEPTED
    ):
        return []
    if result is not None and result.http_status in REFUSED_BY_HTTP:
        message = (
            "the server completes the handshake without one, and answers such a call by HTTP "
            f"{result.http_status}"
        )
        return [ok(check, message)]
    message = "the server accepts callers without a certificate too: TLS does not authenticate them"
    if result is not None and result.reached:
        message += f" (a gRPC call is answered {result.code})"
    return [warning(check, "no-client-auth", message)]


def _refused_by_http(
    own: OwnCredential | None,
    observations: Observations,
    before: list[Finding],
    chain: tuple[x509.Certificate, ...],
    now: datetime,
) -> list[Finding]:
    status = observations.call.http_status if observations.call is not None else None
    message = (
        f"the server completes the handshake with anybody, and answers our call by HTTP {status}"
    )
    if not observations.anonymous.certificate_requested:
        return [unknown(CALL, message)]
    message += ", as nginx does when it refuses a certificate"
    if observations.with_certificate is None:
        message += "; we presented none"
        return [failed(CALL, "no-client-certificate", message, likelihood=80)]
    if any(item.failure == "ca-not-requested" for item in before):
        return [symptom(CALL, f"{message}; it had requested one of another CA")]
    clocks = examine_clocks(observations.call, now)
    clock_difference = next((item.message for item in clocks if item.failure), "")
    return rank_causes(own, before, chain, now, message, clock_difference=clock_difference)


def _speaks_no_http2(observations: Observations) -> bool:
    completed = [item for item in observations.handshakes if item.completed]
    goes_on = any(item.end in {HandshakeEnd.ACCEPTED, HandshakeEnd.SILENT} for item in completed)
    return goes_on and all(item.alpn == "h2" and not item.http2 for item in completed)


def _examine_call(
    examination: ServerExamination, observations: Observations, findings: list[Finding]
) -> list[Finding]:
    result = observations.call
    if result is None and examination.asks_another_name and examination.starttls is None:
        message = "not made: gRPC asks for the name that it expects, and for no other (--sni)"
        return [unknown(CALL, message)]
    if result is None:
        return []
    if any(item.check in {LISTENS, PROXY} and _fails(item) for item in findings):
        # Where nobody was reached, nobody answered, whatever gRPC's text looks like.
        result = replace(result, reached=False)
    return examine_call(
        result,
        findings,
        has_trust=examination.trust is not None,
        with_certificate=observations.with_certificate is not None,
        silent=_speaks_no_http2(observations),
    )
