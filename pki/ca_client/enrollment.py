"""Enroll a directory: for the first time, or anew where its identity can't be used any more.

A lost answer is asked for again with the same proof and the same keys. Another proof gets new keys:
those of an identity that was revoked are never certified again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime

from pki.ca_client.calls import Keys
from pki.ca_client.received import Received
from pki.ca_client.storage.identity_store import IdentityStore
from pki.errors import PkiError
from pki.x509 import ChainVerifier, CrlSet, Fault, Purpose
from pki.x509.peer_chain import PeerChain

_FOR_GOOD = frozenset({Fault.REVOKED, Fault.ISSUER_REVOKED})


def enroll_into(
    store: IdentityStore,
    proof: bytes,
    ask: Callable[[Keys], Received],
    *,
    with_recovery: bool,
) -> Received:
    """Enroll a directory; what it holds of the same workload is replaced.

    Args:
        store: the directory.
        proof: what tells this proof from others; it need not be secret.
        ask: asks the CA.
        with_recovery: whether the workload may come back by itself after its certificate ended.

    Raises:
        PkiError: if the CA can't be reached or refuses, or the directory holds another workload's
            credential; then the files there are as they were.
    """
    keys = store.enrollment_keys(hashlib.sha256(proof).hexdigest(), with_recovery=with_recovery)
    received = ask(keys)
    store.replace(received, with_recovery=with_recovery)
    return received


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
    except PkiError as error:
        return error.message
    lists = (stored.credential.crls or CrlSet.none()).announce(stored.announced)
    chain = PeerChain(stored.credential.chain, Purpose.CLIENT)
    refused = chain.error(ChainVerifier(stored.credential.bundle, lists), now)
    return str(refused) if refused is not None and refused.fault in _FOR_GOOD else ""
