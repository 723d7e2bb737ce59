"""Enroll a directory: for the first time, or anew where its identity can't be used any more.

A lost answer is asked for again with the same proof and the same keys. Another proof gets new keys:
those of an identity that was revoked are never certified again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from pki.ca_client.bundles import Anchor
from pki.ca_client.calls import Keys
from pki.ca_client.received import Received
from pki.ca_client.storage.identity_store import IdentityStore
from pki.errors import PkiError, UnreadableError
from pki.x509 import ChainVerifier, Credential, CrlSet, Fault, Purpose
from pki.x509.peer_chain import PeerChain

_FOR_GOOD = frozenset({Fault.REVOKED, Fault.ISSUER_REVOKED})


def enroll_into(
    store: IdentityStore,
    proof: bytes,
    ask: Callable[[Keys, Anchor | None], Received],
    *,
    with_recovery: bool,
    trust_proof: bool = False,
) -> Received:
    """Enroll a directory; what it holds of the same workload is replaced.

    What the directory trusts is trusted on: a token of long ago, whose root was withdrawn, leads to
    no older trust.

    Args:
        store: the directory.
        proof: what tells this proof from others; it need not be secret.
        ask: asks the CA, with what is trusted; None if nothing is yet.
        with_recovery: whether the workload may come back by itself after its certificate ended.
        trust_proof: trust what the proof names, and not what the directory held.

    Raises:
        PkiError: if the CA can't be reached or refuses, or the directory holds another workload's
            credential; then what is there goes on as before.
    """
    keys = store.enrollment_keys(hashlib.sha256(proof).hexdigest(), with_recovery=with_recovery)
    received = ask(keys, None if trust_proof else _held_anchor(store))
    store.replace(received, keys)
    return received


def _held_anchor(store: IdentityStore) -> Anchor | None:
    """Return what a directory trusts; None if it trusts nothing yet, or is damaged.

    Raises:
        UnreadableError: if it can't be read now: then nobody knows whether it trusts something.
    """
    try:
        return store.load().anchor
    except UnreadableError:
        raise
    except PkiError:
        pass
    try:
        # What belongs to the credential is damaged, and the credential is not.
        credential = store.load_credential()
    except UnreadableError:
        raise
    except PkiError:
        return None
    if credential.spiffe_id is None:
        return None
    domain = credential.spiffe_id.trust_domain
    return Anchor(domain, roots=credential.bundle.roots_of(domain))


def why_unusable(store: IdentityStore, now: datetime) -> str:
    """Return why an enrolled identity can't be used any more, whatever its CA does; else "".

    It was revoked, or the CA that issued it, or what belongs to its credential is damaged.
    """
    try:
        store.load_credential()
    except PkiError:
        # Nobody can say whose it is.
        return ""
    try:
        stored = store.load()
    except UnreadableError:
        # A disk that fails, or no descriptor left, damages nothing.
        return ""
    except PkiError as error:
        return error.message
    lists = (stored.credential.crls or CrlSet.none()).announce(stored.announced)
    return why_revoked(replace(stored.credential, crls=lists), now)


def why_revoked(credential: Credential, now: datetime) -> str:
    """Return how a credential's own lists say that it, or its issuing CA, was revoked; else ""."""
    lists = credential.crls or CrlSet.none()
    chain = PeerChain(credential.chain, Purpose.CLIENT)
    refused = chain.error(ChainVerifier(credential.bundle, lists), now)
    return str(refused) if refused is not None and refused.fault in _FOR_GOOD else ""
