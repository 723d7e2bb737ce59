"""The chain of a leaf that gRPC was presented: found among what probes have seen."""

from __future__ import annotations

from pki.identity import SpiffeId
from pki.rpc.client.verification.presented_chains import PresentedChains
from pki.rpc.client.verification.server_check import CheckContext
from pki.x509 import ChainVerifier, Purpose
from pki.x509.peer_chain import PeerChain
from tests.support import SHOP, Clock, Hierarchy

H = Hierarchy()
ORDERS = SpiffeId.of_path(SHOP, "orders")


def presented() -> PresentedChains:
    verifier = ChainVerifier(H.bundle, H.crls())
    return PresentedChains(CheckContext(ORDERS, lambda: verifier, Clock(), lambda: None))


def verified() -> PeerChain:
    return PeerChain((H.leaf(), H.issuing), Purpose.SERVER, ORDERS)


def test_a_leaf_that_a_probe_verified_has_that_very_chain() -> None:
    chain = verified()
    assert presented().chain_of(chain.leaf, [verified(), chain]) is chain


def test_another_leaf_of_a_known_issuer_gets_the_issuers_that_a_probe_saw() -> None:
    leaf = H.leaf()
    chain = presented().chain_of(leaf, [verified()])
    assert chain is not None
    assert chain.chain == (leaf, H.issuing)


def test_issuers_are_remembered_when_no_address_is_verified_any_more() -> None:
    chains = presented()
    assert chains.chain_of(H.leaf(), [verified()]) is not None
    assert chains.chain_of(H.leaf(), []) is not None


def test_a_leaf_of_an_unknown_issuer_has_no_chain() -> None:
    assert presented().chain_of(Hierarchy().leaf(), [verified()]) is None


def test_a_leaf_for_another_workload_has_a_chain_that_is_refused() -> None:
    chains = presented()
    chain = chains.chain_of(H.leaf("payments"), [verified()])
    assert chain is not None
    assert chains._context.check_chain(chain) is not None
