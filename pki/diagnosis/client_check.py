"""Examines a server from a client's end: handshakes with and without our certificate, then calls.

``observe_server`` makes the handshakes and the calls. ``check_observations`` then runs the checks,
in the order in which a connection comes about, and stops where the rest can't be checked.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime

from cryptography import x509

from pki.diagnosis.checks.call_result import CALL, REFUSED_BY_HTTP, examine_call, examine_clocks
from pki.diagnosis.checks.certificate import examine_certificate
from pki.diagnosis.checks.chain import examine_chain
from pki.diagnosis.checks.client_acceptance import examine_acceptance, examine_request
from pki.diagnosis.checks.connection import LISTENS, TLS, examine_connection
from pki.diagnosis.checks.own_credential import OwnCredential, adjust_to_acceptance, examine_own
from pki.diagnosis.checks.refusal_causes import rank_causes
from pki.diagnosis.checks.server_name import ExpectedName, examine_names, name_to_pin, sni_name
from pki.diagnosis.checks.trust_path import Trust
from pki.diagnosis.observe.grpc_call import CallResult, call
from pki.diagnosis.observe.http_date import request_http_date
from pki.diagnosis.observe.tls_handshake import (
    CertifiedKey,
    Handshake,
    HandshakeEnd,
    make_handshake,
)
from pki.diagnosis.report import (
    Finding,
    Status,
    failed,
    merge_repeated_causes,
    ok,
    unknown,
    warning,
)
from pki.errors import CertificateError
from pki.tls.target import Target
from pki.x509 import Fault, Purpose
from pki.x509.readers import decode_certificate

_SERVER = "server certificate"
_CONFIRMING_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ServerExamination:
    """What to examine, and from where.

    Args:
        target: where the server is.
        expected: the name to expect in its certificate; None where nobody named one.
        own: our credential; None where there is none.
        roots: the roots to trust where there is no credential, or instead of the credential's.
        seconds: how long each handshake and call may take.
        calls: whether to make gRPC calls too.
    """

    target: Target
    expected: ExpectedName | None
    own: OwnCredential | None
    roots: tuple[x509.Certificate, ...]
    seconds: float = 5.0
    calls: bool = True

    @property
    def server_name(self) -> str:
        """The DNS name for TLS's server name indication; empty if there is none."""
        return sni_name(self.expected)

    @property
    def trust(self) -> Trust | None:
        """What the server's chain is checked against; None where no roots are at hand."""
        if self.own is not None and not self.roots:
            return self.own.trust()
        return Trust(self.roots, whose="the bundle") if self.roots else None


@dataclass(frozen=True, slots=True)
class Observations:
    """What the handshakes and the calls showed.

    Args:
        anonymous: the handshake without a client certificate.
        with_certificate: the handshake with our certificate; None if we have none to present.
        call: the call with our certificate, or without one if we have none; None if none was made.
        anonymous_call: the call without our certificate, where we have one; None if none was made.
    """

    anonymous: Handshake
    with_certificate: Handshake | None
    call: CallResult | None
    anonymous_call: CallResult | None = None

    @property
    def handshakes(self) -> tuple[Handshake, ...]:
        """The handshakes that were made."""
        if self.with_certificate is None:
            return (self.anonymous,)
        return (self.anonymous, self.with_certificate)

    @property
    def chain(self) -> tuple[bytes, ...]:
        """The certificates that the server presented, in DER."""
        if self.anonymous.chain or self.with_certificate is None:
            return self.anonymous.chain
        return self.with_certificate.chain


def observe_server(examination: ServerExamination) -> Observations:
    """Make the handshakes, and then the calls.

    Both handshakes run at once, and then both calls, so that a server that hangs costs one wait.
    The calls wait for the handshakes: a server that serves one connection at a time, as ``openssl
    s_server`` does, would be busy with the calls, and that would look like a refusal.
    """
    target, name, seconds = examination.target, examination.server_name, examination.seconds
    certified_key = examination.own.certified_key if examination.own is not None else None

    def handshake(presented: CertifiedKey | None) -> Handshake:
        return make_handshake(target, name, presented, seconds=seconds)

    with ThreadPoolExecutor(max_workers=2) as pool:
        second = pool.submit(handshake, certified_key) if certified_key is not None else None
        observations = Observations(handshake(None), second.result() if second else None, None)
        if not examination.calls:
            return observations
        trust = examination.trust
        roots = trust.roots if trust else ()
        if not any(item.http2 for item in observations.handshakes):
            # The call can only confirm that there is no HTTP/2; a distant server gets more time.
            shortest = min(
                (item.seconds for item in observations.handshakes if item.completed), default=0.0
            )
            seconds = min(seconds, _CONFIRMING_SECONDS + 3 * shortest)

        chain, _ = _decode_chain(observations)
        pin = name_to_pin(chain[0] if chain else None, examination.expected)

        def grpc_call(presented: CertifiedKey | None) -> CallResult:
            return call(target.text, pin, presented, roots, seconds=seconds)

        without = pool.submit(grpc_call, None) if certified_key is not None else None
        result = grpc_call(certified_key)
        if result.http_status is not None and result.date is None:
            date = request_http_date(target, name, seconds=min(seconds, _CONFIRMING_SECONDS))
            result = replace(result, date=date)
        return replace(
            observations, call=result, anonymous_call=without.result() if without else None
        )


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
    theirs = examine_connection(examination.target, observations.anonymous)
    if any(item.check in {LISTENS, TLS} and item.failure for item in theirs):
        findings = [*adjust_to_acceptance(ours, accepted=False), *theirs]
        return [*findings, *_examine_call(examination, observations, findings)]
    theirs += unreadable
    if chain:
        theirs += examine_certificate(_SERVER, chain[0], Purpose.SERVER, now)
        theirs += examine_chain(_SERVER, chain, examination.trust, now)
        theirs += examine_names(chain[0], examination.expected)
    request = examine_request(observations.anonymous, own)
    acceptance = examine_acceptance(
        observations.anonymous,
        observations.with_certificate,
        own=own,
        ours=ours,
        server_chain=chain,
        now=now,
    )
    call_findings: list[Finding] | None = None
    if observations.call is not None and observations.call.http_status in REFUSED_BY_HTTP:
        call_findings = _refused_by_http(own, observations, ours, chain, now)
        if observations.anonymous.certificate_requested:
            # The handshake accepted our certificate, and the answer in HTTP then refused it.
            acceptance = []
    accepted = bool(acceptance) and all(item.status is Status.OK for item in acceptance)
    findings = merge_repeated_causes(
        [*adjust_to_acceptance(ours, accepted=accepted), *theirs, *request, *acceptance]
    )
    findings += _examine_anonymous_access(observations)
    findings += examine_clocks(observations.call, now)
    if call_findings is None:
        call_findings = _examine_call(examination, observations, findings)
    return [*findings, *call_findings]


def _decode_chain(
    observations: Observations,
) -> tuple[tuple[x509.Certificate, ...], list[Finding]]:
    """Return the server's chain; where there is none, it is empty, and a finding says why."""
    try:
        chain = tuple(decode_certificate(item, what="the chain") for item in observations.chain)
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
    ours: list[Finding],
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
    clocks = examine_clocks(observations.call, now)
    clock_difference = next((item.message for item in clocks if item.failure), "")
    return rank_causes(own, ours, chain, now, message, clock_difference=clock_difference)


def _speaks_no_http2(observations: Observations) -> bool:
    completed = [item for item in observations.handshakes if item.completed]
    goes_on = any(item.end in {HandshakeEnd.ACCEPTED, HandshakeEnd.SILENT} for item in completed)
    return goes_on and all(item.alpn == "h2" and not item.http2 for item in completed)


def _examine_call(
    examination: ServerExamination, observations: Observations, findings: list[Finding]
) -> list[Finding]:
    if observations.call is None:
        return []
    return examine_call(
        observations.call,
        findings,
        has_trust=examination.trust is not None,
        with_certificate=observations.with_certificate is not None,
        silent=_speaks_no_http2(observations),
    )
