"""What a new revocation list costs a server with ten thousand streams of ten thousand peers.

The streams are entries of the server's own table, with real chains, lists and verifiers. Only the
effect of a change on them is measured; the measure ``revocation`` has real streams.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from cryptography import x509

from pki.access.authorizer import CallAuthorizer
from pki.access.call_verdict import CallVerdict
from pki.access.refusal import Refusal
from pki.authz import read_policy
from pki.rpc.server.active_streams import ServerStream, ServerStreams
from pki.x509 import WORKLOAD, ChainVerifier, Purpose
from pki.x509.readers import to_pem
from tests.bench.environment import Environment
from tests.bench.rows import Row
from tests.support import NOW, Hierarchy

_REVOKED = 100
_VERIFIED = 500
_IDLE_SWEEPS = 100
_MOST_SECONDS = 1.0
_MOST_SHARE = 0.05
METHOD = "/shop.v1.Orders/Watch"
POLICY = b"""\
trust_domain = "shop.internal"
[roles]
clerk = ["spiffe://shop.internal/clerk/*"]
[[grant]]
role = "clerk"
methods = ["/shop.v1.Orders/*"]
"""


class Server:
    """A server's table of streams, each of another peer."""

    def __init__(self, streams: int) -> None:
        self._ca = Hierarchy()
        self.leaves = [self._ca.leaf(f"clerk/n{number}") for number in range(streams)]
        self.verifier = ChainVerifier(self._ca.bundle, self._ca.crls())
        policy = read_policy(POLICY)
        authorizer = CallAuthorizer(lambda: self.verifier, lambda: policy, lambda: NOW)
        self.ended: dict[int, float] = {}
        self.verdicts: list[CallVerdict] = []
        self.streams = ServerStreams(authorizer, self.verdicts.append)
        for number, leaf in enumerate(self.leaves):
            chain = [to_pem([leaf]), to_pem([leaf, self._ca.issuing])]
            auth = {"x509_pem_cert": chain[:1], "x509_pem_cert_chain": chain[1:]}
            assert authorizer.authorize(auth, METHOD).refusal is None
            self._add(authorizer, auth, number)
        self.streams.recheck()

    def _add(self, authorizer: CallAuthorizer, auth: dict[str, list[bytes]], number: int) -> None:
        def end(_: Refusal) -> None:
            self.ended.setdefault(number, time.monotonic())

        self.streams.add(ServerStream(authorizer.cached_peer(auth), METHOD, end))

    def revoke(self, leaves: list[x509.Certificate]) -> None:
        """Put a new revocation list in force."""
        self.verifier = ChainVerifier(self._ca.bundle, self._ca.crls(leaves, number=2))

    def seconds_to_verify(self, count: int) -> float:
        """Return the processor seconds for verifying one peer's chain from the beginning."""
        good = ChainVerifier(self._ca.bundle, self._ca.crls(number=2))
        begin = time.process_time()
        for leaf in self.leaves[-count:]:
            good.verify([leaf, self._ca.issuing], profile=WORKLOAD, purpose=Purpose.CLIENT, at=NOW)
        return (time.process_time() - begin) / count


def change(_: Environment, quick: bool) -> Iterator[Row]:
    """Measure it."""
    streams = 1000 if quick else 10_000
    server = Server(streams)
    # Very new streams are ended only after a pause, for gRPC's sake: wait until these are older.
    time.sleep(0.3)
    before = time.process_time()
    for _number in range(_IDLE_SWEEPS):
        server.streams.recheck()
    idle = (time.process_time() - before) / _IDLE_SWEEPS
    # Spread over all of them.
    server.revoke(server.leaves[:: streams // _REVOKED])
    begun, before = time.monotonic(), time.process_time()
    server.streams.recheck()
    took = time.process_time() - before
    assert len(server.ended) == _REVOKED
    longest = max(server.ended.values()) - begun
    whole = server.seconds_to_verify(min(_VERIFIED, streams)) * streams
    yield Row(
        f"seconds from a new list to the end of {_REVOKED} streams of {streams:,}",
        longest,
        None,
        None,
        _MOST_SECONDS,
        longest <= _MOST_SECONDS,
        f"each of another peer; {took / streams * 1e6:.1f} us a stream",
    )
    yield Row(
        f"processor seconds for a new list, {streams:,} peers, against verifying each again",
        took,
        whole,
        took / whole,
        _MOST_SHARE,
        took / whole <= _MOST_SHARE,
        f"a sweep without a change takes {idle * 1e6:.0f} us",
    )
