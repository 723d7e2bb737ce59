"""Explains, in one sentence, why the handshakes of a channel fail."""

from __future__ import annotations

from pki.clock import Clock
from pki.diagnosis.checks.own_credential import OwnCredential
from pki.diagnosis.checks.server_name import EXPECTED_NAME
from pki.diagnosis.client_check import check_observations
from pki.diagnosis.observe.tls_handshake import make_handshake
from pki.diagnosis.report import Report
from pki.diagnosis.server_observations import Observations, ServerExamination
from pki.failures import FAILURES
from pki.identity import SpiffeId
from pki.tls.proxy import NO_PROXY, ProxyChoice
from pki.tls.target import Target
from pki.x509 import Credential

_HANDSHAKE_SECONDS = 1.0
_ROOT, _CLOCK = "unknown-ca", "clock-skew"


def explain_failed_handshake(
    target: Target, server: SpiffeId, credential: Credential, clock: Clock
) -> str:
    """Make one handshake with a server, and explain what is wrong with it.

    Args:
        target: where the server is.
        server: the SPIFFE ID that it must have.
        credential: our credential, and what we trust.
        clock: returns the time.

    Returns:
        The cause and the remedy in a sentence; empty if nothing is wrong.
    """
    own = OwnCredential(
        credential.chain,
        credential.key,
        credential.bundle.roots_of(server.trust_domain),
        credential.crls,
    )
    proxy = ProxyChoice(target.proxy, target.proxy.variable) if target.proxy else NO_PROXY
    examination = ServerExamination(target, server, own, (), calls=False, proxy=proxy)
    handshake = make_handshake(
        target,
        examination.server_name,
        own.certified_key,
        seconds=_HANDSHAKE_SECONDS,
        # As in a probe: a stranger at the address is not presented our certificate.
        roots=own.roots,
    )
    observations = Observations(handshake, handshake, None)
    findings = check_observations(examination, observations, clock())
    report = Report(target.text, tuple(findings))
    if report.causes:
        first = report.causes[0]
        assert first.failure is not None
        remedy = first.remedy or FAILURES[first.failure].remedy
        return f"{first.check}: {first.message}. {remedy}"
    if report.likely_causes:
        first = report.likely_causes[0]
        assert first.failure is not None
        remedy = first.remedy or FAILURES[first.failure].remedy
        clocks = next((item for item in report.likely_causes if item.failure == _CLOCK), None)
        if clocks is None or first.failure != _ROOT:
            return f"likely: {first.message}. {remedy}"
        # For us the two look alike: a server refuses both without a reason.
        also = clocks.message.rpartition("; ")[2]
        return f"likely: {first.message}; or {also}. {remedy} {FAILURES[_CLOCK].remedy}"
    # Others may accept the server by its SPIFFE ID; our channels pin a DNS name.
    unpinned = (item for item in report.findings if item.check == EXPECTED_NAME and item.failure)
    return next((f"{item.check}: {item.message}. {item.remedy}" for item in unpinned), "")
