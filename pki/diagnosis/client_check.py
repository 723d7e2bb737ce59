"""Examines a server from a client's end: handshakes with and without our certificate, and a call.

Each question is answered by a module of its own; this one asks them in the order in which a
connection comes about, and stops where the rest can't be asked.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime

from cryptography import x509

from pki.clock import Clock
from pki.diagnosis.checks.call_result import CALL, REFUSED_BY_HTTP, examine_call, examine_clocks
from pki.diagnosis.checks.certificate import examine_certificate
from pki.diagnosis.checks.chain import examine_chain
from pki.diagnosis.checks.client_acceptance import examine_acceptance, examine_asking, likely_causes
from pki.diagnosis.checks.connection import examine_connection
from pki.diagnosis.checks.credential_files import OwnCredential, examine_own, with_their_answer
from pki.diagnosis.checks.server_name import (
    ExpectedName,
    examine_names,
    name_to_ask_for,
    name_to_pin,
)
from pki.diagnosis.checks.trust_path import Trust
from pki.diagnosis.observe import grpc_call
from pki.diagnosis.observe.http_date import told_time
from pki.diagnosis.observe.tls_handshake import End, Handshake, Shown, shake_hands
from pki.diagnosis.report import (
    Finding,
    Report,
    Status,
    each_once,
    failed,
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
class Examination:
    """What is examined, and from where.

    Args:
        target: where the server is.
        expected: whom to expect there; None where nobody said.
        own: our credential; None where there is none.
        roots: the roots to believe where there is no credential, or instead of its own.
        clock: gives the time.
        seconds: how long each handshake and call may take.
        calls: whether gRPC is asked too.
    """

    target: Target
    expected: ExpectedName | None
    own: OwnCredential | None
    roots: tuple[x509.Certificate, ...]
    clock: Clock
    seconds: float = 5.0
    calls: bool = True

    @property
    def server_name(self) -> str:
        """The DNS name for the name indication; empty if there is none."""
        return name_to_ask_for(self.expected)

    @property
    def trust(self) -> Trust | None:
        """What the server's chain is held against."""
        if self.own is not None and not self.roots:
            return self.own.trust()
        return Trust(self.roots, whose="the bundle") if self.roots else None


@dataclass(frozen=True, slots=True)
class Observations:
    """What the handshakes and the calls showed.

    Args:
        bare: the handshake in which we showed nothing.
        showing: the one in which we showed our certificate; None if there is none to show.
        answer: of the call with our certificate, or without where there is none; None if none
            was made.
        bare_answer: of the call without our certificate, where we have one; None if none was made.
    """

    bare: Handshake
    showing: Handshake | None
    answer: grpc_call.Answer | None
    bare_answer: grpc_call.Answer | None = None

    @property
    def handshakes(self) -> tuple[Handshake, ...]:
        """Those that were made."""
        return (self.bare, self.showing) if self.showing is not None else (self.bare,)

    @property
    def chain(self) -> tuple[bytes, ...]:
        """The certificates that the server showed, in DER."""
        return self.bare.chain or (self.showing.chain if self.showing else ())


def examine(examination: Examination) -> Report:
    """Examine a server. What goes wrong on the way is part of the report."""
    seen = see(examination)
    return Report(examination.target.text, tuple(judge(examination, seen)))


def see(examination: Examination) -> Observations:
    """Make the handshakes, and then the calls.

    Those of a kind go side by side, so that a server that stands still costs one wait; the calls
    wait for the handshakes, or they would keep a server busy that serves one connection at a time
    (``openssl s_server`` does), and that would look like a refusal.
    """
    own = examination.own
    showing = own.shown if own is not None else None
    name, seconds = examination.server_name, examination.seconds

    def shake(shown_to_it: Shown | None) -> Handshake:
        return shake_hands(examination.target, name, shown_to_it, seconds=seconds)

    with ThreadPoolExecutor(max_workers=2) as pool:
        second = pool.submit(shake, showing) if showing is not None else None
        seen = Observations(shake(None), second.result() if second else None, None)
        if not examination.calls:
            return seen
        trust = examination.trust
        roots = trust.roots if trust else ()
        if not any(item.http2 for item in seen.handshakes):
            # The call can but confirm it; a server far away gets the longer.
            shortest = min((item.seconds for item in seen.handshakes if item.done), default=0.0)
            seconds = min(seconds, _CONFIRMING_SECONDS + 3 * shortest)

        chain, _ = _chain(seen)
        pin = name_to_pin(chain[0] if chain else None, examination.expected)

        def ask(shown_to_it: Shown | None) -> grpc_call.Answer:
            target = examination.target.text
            return grpc_call.call(target, pin, shown_to_it, roots, seconds=seconds)

        without = pool.submit(ask, None) if showing is not None else None
        answer = ask(showing)
        if answer.http_status is not None and answer.date is None:
            told = told_time(examination.target, name, seconds=min(seconds, _CONFIRMING_SECONDS))
            answer = replace(answer, date=told)
        return replace(seen, answer=answer, bare_answer=without.result() if without else None)


def judge(examination: Examination, seen: Observations) -> list[Finding]:
    """Answer the questions from what was seen."""
    now = examination.clock()
    own = examination.own
    chain, unreadable = _chain(seen)
    ours = examine_own(own, Purpose.CLIENT, now, chain[1:]) if own is not None else []
    theirs = examine_connection(examination.target, seen.bare)
    if any(item.question in {"listens", "TLS"} and item.failure for item in theirs):
        found = [*with_their_answer(ours, taken=False), *theirs]
        return [*found, *_of_the_call(examination, seen, found)]
    theirs += unreadable
    if chain:
        theirs += examine_certificate(_SERVER, chain[0], Purpose.SERVER, now)
        theirs += examine_chain(_SERVER, chain, examination.trust, now)
        theirs += examine_names(chain[0], examination.expected)
    asking = examine_asking(seen.bare, own)
    taking = examine_acceptance(
        seen.bare, seen.showing, own=own, ours=ours, server_chain=chain, now=now
    )
    call: list[Finding] | None = None
    if seen.answer is not None and seen.answer.http_status in REFUSED_BY_HTTP:
        call = _refused_by_http(own, seen, ours, chain, now)
        if seen.bare.asked:
            # The handshake said that ours is taken, and the answer says otherwise.
            taking = []
    taken = bool(taking) and all(item.status is Status.OK for item in taking)
    found = each_once([*with_their_answer(ours, taken=taken), *theirs, *asking, *taking])
    found += _needs_a_certificate(seen)
    found += examine_clocks(seen.answer, now)
    return [*found, *(_of_the_call(examination, seen, found) if call is None else call)]


def _chain(seen: Observations) -> tuple[tuple[x509.Certificate, ...], list[Finding]]:
    try:
        chain = tuple(decode_certificate(item, what="the chain") for item in seen.chain)
    except CertificateError as error:
        return (), [failed(_SERVER, "malformed", error.message, verdict=Fault.PROFILE.verdict)]
    if not chain:
        return (), [unknown(_SERVER, "the server showed none before the connection ended")]
    return chain, []


def _needs_a_certificate(seen: Observations) -> list[Finding]:
    """Return whether a server that asks for a certificate goes on without one."""
    question = "needs a certificate"
    showing, answer = seen.showing, seen.bare_answer
    if showing is None or not showing.asked or End.ACCEPTED is not seen.bare.end:
        return []
    if answer is not None and answer.http_status in REFUSED_BY_HTTP:
        words = f"it shakes hands without one, and answers such a call by HTTP {answer.http_status}"
        return [ok(question, words)]
    words = "it takes callers without a certificate too: nothing is proved by TLS alone"
    if answer is not None and answer.reached:
        words += f" (a call of gRPC is answered {answer.code})"
    return [warning(question, "client-not-asked", words)]


def _refused_by_http(
    own: OwnCredential | None,
    seen: Observations,
    ours: list[Finding],
    chain: tuple[x509.Certificate, ...],
    now: datetime,
) -> list[Finding]:
    status = seen.answer.http_status if seen.answer is not None else None
    words = f"the server shakes hands with anybody, and answers our call by HTTP {status}"
    if not seen.bare.asked:
        return [unknown(CALL, words)]
    words += ", as nginx does where a certificate does not please it"
    if seen.showing is None:
        return [failed(CALL, "no-client-certificate", f"{words}; we showed none", likely=80)]
    apart = next((item.words for item in examine_clocks(seen.answer, now) if item.failure), "")
    return likely_causes(own, ours, chain, now, words, apart=apart)


def _speaks_no_http2(seen: Observations) -> bool:
    shook = [item for item in seen.handshakes if item.done]
    gone_on = any(item.end in {End.ACCEPTED, End.SILENT} for item in shook)
    return gone_on and all(item.alpn == "h2" and not item.http2 for item in shook)


def _of_the_call(
    examination: Examination, seen: Observations, found: list[Finding]
) -> list[Finding]:
    if seen.answer is None:
        return []
    return examine_call(
        seen.answer,
        found,
        has_trust=examination.trust is not None,
        shows=seen.showing is not None,
        silent=_speaks_no_http2(seen),
    )
