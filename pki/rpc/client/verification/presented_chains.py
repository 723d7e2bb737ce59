"""The chains that gRPC was presented: gRPC reports the leaf, and probes received the rest."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from cryptography import x509

from pki.rpc.client.verification.server_check import CheckContext
from pki.x509 import Purpose
from pki.x509.peer_chain import PeerChain

_MOST_ISSUER_CHAINS = 16


class PresentedChains:
    """Completes the leaf of a server with the chain of its issuers.

    Args:
        context: who the server must be, and by what it is verified.
    """

    def __init__(self, context: CheckContext) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._issuer_chains: list[tuple[x509.Certificate, ...]] = []

    def chain_of(self, leaf: x509.Certificate, verified: Sequence[PeerChain]) -> PeerChain | None:
        """Return the chain of a leaf that gRPC was presented; None if its issuer is not known.

        Args:
            leaf: the leaf.
            verified: the chains that probes have verified, the most likely one first.
        """
        for chain in verified:
            if chain.leaf == leaf:
                return chain
        with self._lock:
            for chain in verified:
                issuers = chain.chain[1:]
                if issuers not in self._issuer_chains:
                    self._issuer_chains = [issuers, *self._issuer_chains][:_MOST_ISSUER_CHAINS]
            issuer_chains = list(self._issuer_chains)
        chains = [
            PeerChain((leaf, *issuers), Purpose.SERVER, self._context.server)
            for issuers in issuer_chains
            if issuers and issuers[0].subject == leaf.issuer
        ]
        accepted = (chain for chain in chains if self._context.check_chain(chain) is None)
        return next(accepted, None) or next(iter(chains), None)
