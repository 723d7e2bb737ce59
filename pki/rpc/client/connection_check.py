"""Checks the connections that gRPC has made, by the certificate that each was presented.

A probe meets the process that is behind an address at that moment. gRPC connects by itself, before
and after, and another process may have taken the address. So each new connection of gRPC is checked
too, in the background; the chain that it was presented is checked again at each change, as the
verified chains are.
"""

from __future__ import annotations

import logging
import time
import weakref
from typing import Any

from cryptography import x509

from pki.access.refusal import Refusal, server_refusal
from pki.rpc.client.connection import Connection
from pki.rpc.client.verification.address_checks import AddressChecks
from pki.rpc.client.verification.channelz import GrpcConnection
from pki.x509 import Fault
from pki.x509.peer_chain import PeerChain

log = logging.getLogger("handfast.rpc")

# gRPC reports when its only connection was dropped, but not when one of several was.
_SECONDS_BETWEEN, _SECONDS_BETWEEN_FOR_ONE = 0.2, 2.0
_SHARE = 20  # all channels of a process together use at most one twentieth of a processor

_CHECKED: weakref.WeakSet[Connection[Any]] = weakref.WeakSet()


def is_due(connection: Connection[Any]) -> bool:
    """Return whether gRPC may have connected again, or the time of the next check has come."""
    if connection.grpc_connections is None or not connection.check_ready(False):
        return False
    return connection.may_have_reconnected or time.monotonic() >= connection.next_check_at


def check_connection(connection: Connection[Any], checks: AddressChecks) -> None:
    """Check gRPC's own connections of a channel; those that were checked before cost little.

    Args:
        connection: the connection, one channel of gRPC.
        checks: the checks of its server.
    """
    assert connection.grpc_connections is not None
    began = time.thread_time()
    present = connection.grpc_connections.list_connections()
    if present is not None:
        presented = {}
        for item in present:
            chain = _check(item, connection, checks)
            if chain is not None:
                presented[item.number] = chain
        connection.presented = presented
        connection.may_have_reconnected = not all(item.leaf for item in present)
    _CHECKED.add(connection)
    # Measure processor time: on a busy machine a check takes longer, but is needed as often.
    spent = time.thread_time() - began
    has_one = len(connection.addresses) == 1
    between = _SECONDS_BETWEEN_FOR_ONE if has_one else _SECONDS_BETWEEN
    pause = max(between, spent * _SHARE * len(_CHECKED))
    connection.next_check_at = time.monotonic() + pause


def _check(
    item: GrpcConnection, connection: Connection[Any], checks: AddressChecks
) -> PeerChain | None:
    """Return the chain of one connection of gRPC; None while it is not known."""
    checked = connection.presented.get(item.number)
    address = connection.address_named(item.address)
    if checked is not None or not item.leaf:
        return checked
    refusal: Refusal | None
    try:
        chain = checks.presented_chain(address, x509.load_pem_x509_certificate(item.leaf))
    except ValueError:
        # gRPC parsed it, and we can't.
        chain, refusal = None, server_refusal(str(checks.server), Fault.INVALID)
    else:
        refusal = checks.check_chain(chain) if chain is not None else None
        if chain is None and address is not None:
            # Its issuing CA is not known: a probe may bring it.
            checks.schedule_probe_at(address)
    if refusal is not None:
        log.error("a connection to %s is ended: %s", item.address, refusal.message)
        connection.reject(refusal)
        if address is not None:
            checks.reject(address, refusal)
    return chain
