"""Observes a server from a client's end: handshakes with and without a certificate, then calls."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from cryptography import x509

from pki.diagnosis.checks.certificates.trust_path import Trust
from pki.diagnosis.checks.key_proof import move_leaf_to_front
from pki.diagnosis.checks.own_credential import OwnCredential
from pki.diagnosis.checks.server_name import ExpectedName, name_to_pin, sni_name
from pki.diagnosis.observe.grpc_call import CallResult, call
from pki.diagnosis.observe.http_date import request_http_date
from pki.diagnosis.observe.tls_handshake import CertifiedKey, Handshake, make_handshake
from pki.errors import CertificateError
from pki.identity import DnsName
from pki.tls.proxy import NO_PROXY, ProxyChoice
from pki.tls.starttls import StartTls
from pki.tls.target import Target
from pki.x509.readers import decode_certificate

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
        sni: the name to ask for by TLS's server name indication; None asks for the expected one.
        starttls: the protocol in which to ask for TLS first; None for gRPC.
        proxy: the proxy that gRPC uses for the target, and why.
        is_dialled: whether nobody named the expected name, and it is the host that is dialled.
    """

    target: Target
    expected: ExpectedName | None
    own: OwnCredential | None
    roots: tuple[x509.Certificate, ...]
    seconds: float = 5.0
    calls: bool = True
    sni: DnsName | None = None
    starttls: StartTls | None = None
    proxy: ProxyChoice = NO_PROXY
    is_dialled: bool = False

    @property
    def server_name(self) -> str:
        """The DNS name for TLS's server name indication; empty if there is none."""
        return self.sni.name if self.sni is not None else sni_name(self.expected)

    @property
    def makes_calls(self) -> bool:
        """Whether gRPC calls are made: not in other protocols, nor for a name of its own."""
        return self.calls and self.starttls is None and not self.asks_another_name

    @property
    def asks_another_name(self) -> bool:
        """Whether another name is asked for than is expected, which gRPC can't do."""
        return self.sni is not None and self.sni.name != sni_name(self.expected)

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
        narrowed: the handshake with gRPC's cipher suites alone, where the server prefers another;
            None if none was made.
        direct: the handshake without the proxy, where the proxy made no connection; None if none
            was made.
    """

    anonymous: Handshake
    with_certificate: Handshake | None
    call: CallResult | None
    anonymous_call: CallResult | None = None
    narrowed: Handshake | None = None
    direct: Handshake | None = None

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

    def decode_chain(self) -> tuple[x509.Certificate, ...]:
        """Return the certificates that the server presented.

        Raises:
            CertificateError: if one of them can't be decoded.
        """
        return tuple(decode_certificate(item, what="the chain") for item in self.chain)


def observe_server(examination: ServerExamination) -> Observations:
    """Make the handshakes, and then the calls.

    Both handshakes run at once, and then both calls, so that a server that hangs costs one wait.
    The calls wait for the handshakes: a server that serves one connection at a time, as ``openssl
    s_server`` does, would be busy with the calls, and that would look like a refusal.
    """
    target, name, seconds = examination.target, examination.server_name, examination.seconds
    certified_key = examination.own.certified_key if examination.own is not None else None

    def handshake(presented: CertifiedKey | None) -> Handshake:
        return make_handshake(
            target, name, presented, seconds=seconds, starttls=examination.starttls
        )

    with ThreadPoolExecutor(max_workers=2) as pool:
        second = pool.submit(handshake, certified_key) if certified_key is not None else None
        observations = Observations(handshake(None), second.result() if second else None, None)
        if target.proxy is not None and observations.anonymous.error is not None:
            direct = make_handshake(replace(target, proxy=None), name, None, seconds=seconds)
            observations = replace(observations, direct=direct)
        if not examination.makes_calls:
            return observations
        if not observations.anonymous.agrees_with_grpc:
            # That the server prefers a suite of OpenSSL's does not mean that it has none of gRPC's.
            narrowed = make_handshake(target, name, None, seconds=seconds, only_grpc_ciphers=True)
            observations = replace(observations, narrowed=narrowed)
        if not any(item.http2 for item in observations.handshakes):
            # The call can only confirm that there is no HTTP/2; a distant server gets more time.
            shortest = min(
                (item.seconds for item in observations.handshakes if item.completed), default=0.0
            )
            seconds = min(seconds, _CONFIRMING_SECONDS + 3 * shortest)

        try:
            chain = observations.decode_chain()
        except CertificateError:
            chain = ()
        pin = name_to_pin(_leaf_of(chain), examination.expected)
        trust = examination.trust
        # Without roots at hand, the call is to show what comes after the server's verification.
        roots = trust.roots if trust else chain[-1:]

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


def _leaf_of(chain: tuple[x509.Certificate, ...]) -> x509.Certificate | None:
    return move_leaf_to_front(chain)[0] if chain else None
