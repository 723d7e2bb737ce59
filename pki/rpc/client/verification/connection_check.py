"""Judges the connections that gRPC has made, by the certificate that each was shown.

A look meets the process that is behind an address at that moment. gRPC connects by itself, before
and after, and another process may have taken the address. So each connection that is new is judged
too, off the calls' way; what it was shown is held against each change as what was seen is.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Iterable
from typing import Any

from cryptography import x509

from pki.access.refusal import Refusal, server_refusal
from pki.rpc.client.rotation import Connection
from pki.rpc.client.verification.address_checks import AddressChecks
from pki.rpc.client.verification.channelz import GrpcConnection
from pki.x509 import Fault
from pki.x509.peer_chain import PeerChain

log = logging.getLogger("handfast.rpc")

# Of a connection to one address gRPC tells that it was dropped; of several it does not.
_SECONDS_BETWEEN, _SECONDS_BETWEEN_FOR_ONE = 0.2, 2.0
_SHARE = 20  # all channels of a process together take one part in so many of a processor


_WATCHED: weakref.WeakSet[Connection[Any]] = weakref.WeakSet()


def is_due(generation: Connection[Any]) -> bool:
    """Return whether a channel of gRPC's may have a new connection, or it is time to look."""
    if generation.connections is None or not generation.is_ready(False):
        return False
    return generation.has_new_connection or time.monotonic() >= generation.next_judged_at


def judge(generation: Connection[Any], replicas: AddressChecks) -> None:
    """Judge the connections of a channel of gRPC's; those that were judged before cost little.

    Args:
        generation: the channel.
        replicas: what looks have seen of its server.
    """
    assert generation.connections is not None
    begun = time.thread_time()
    found = generation.connections.now()
    if found is not None:
        shown = {}
        for item in found:
            standing = _judged(item, generation, replicas)
            if standing is not None:
                shown[item.number] = standing
        generation.shown_on = shown
        generation.has_new_connection = not all(item.leaf for item in found)
    _WATCHED.add(generation)
    # Processor time: on a busy machine it takes longer, and matters no less.
    spent = time.thread_time() - begun
    alone = len(generation.addresses) == 1
    between = _SECONDS_BETWEEN_FOR_ONE if alone else _SECONDS_BETWEEN
    pause = max(between, spent * _SHARE * len(_WATCHED))
    generation.next_judged_at = time.monotonic() + pause


def _judged(
    item: GrpcConnection, generation: Connection[Any], replicas: AddressChecks
) -> PeerChain | None:
    """Return what is held of a connection from now on; None where nothing is known yet."""
    known = generation.shown_on.get(item.number)
    address = generation.address_named(item.address)
    if known is not None or not item.leaf:
        return known
    refusal: Refusal | None
    try:
        standing = replicas.standing_of(address, x509.load_pem_x509_certificate(item.leaf))
    except ValueError:
        # gRPC read it, and we can't.
        standing, refusal = None, server_refusal(str(replicas.server), Fault.INVALID)
    else:
        refusal = replicas.refusal_of(standing) if standing is not None else None
        if standing is None and address is not None:
            # Its issuing CA is not known: a look may bring it.
            replicas.look_now(address)
    if refusal is not None:
        log.error("a connection to %s is ended: %s", item.address, refusal.message)
        generation.condemn(refusal)
        if address is not None:
            replicas.refuse(address, refusal)
    return standing


def standings(generation: Connection[Any]) -> Iterable[PeerChain]:
    """Return all that is held against each change: what looks saw, and what gRPC was shown."""
    return [*generation.seen.values(), *generation.shown_on.values()]
