"""The connection to the CA with mutual TLS, by the same rules as every channel of a workload."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path

import grpc

from pki._proto.handfast.ca.v1 import audit_pb2_grpc, authority_pb2_grpc, trust_pb2_grpc
from pki.access.counters import Counters
from pki.clock import Clock
from pki.credentials.provider import CredentialProvider
from pki.identity import SpiffeId
from pki.rpc.client.factory import ChannelFactory, ChannelSettings
from pki.x509 import Credential, CrlSet, RevocationMode

_OPTIONS = [
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    # A connection whose other end is gone without a word is noticed.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Of several replicas, any: so they share the load.
    (
        "grpc.service_config",
        '{"loadBalancingConfig": [{"pick_first": {"shuffleAddressList": true}}]}',
    ),
]


class HeldCredential:
    """A source of a credential that is held in memory and replaced whole.

    Args:
        credential: the first one.
        name: in messages.
    """

    is_local = False

    def __init__(self, credential: Credential, name: str) -> None:
        self._credential = credential
        self._name = name
        self._changed: Callable[[], None] = lambda: None

    @property
    def name(self) -> str:
        """The name of the source in messages."""
        return self._name

    @property
    def revocation(self) -> RevocationMode:
        """The CA sends all its lists; before the first of them came, none is there to check."""
        return RevocationMode.WHEN_PRESENT

    def put(self, credential: Credential) -> None:
        """Use another credential."""
        self._credential = credential
        self._changed()

    def load(self) -> tuple[Credential, tuple[str, ...]]:
        """Return the credential."""
        return self._credential, ()

    def crls(self) -> CrlSet | None:
        """Return the lists."""
        return self._credential.crls

    def folders(self) -> Iterable[Path]:
        """Return no folders: there is nothing to watch."""
        return ()

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Register the function that is called after each change."""
        self._changed = changed

    def load_stored_crls(self) -> CrlSet | None:
        """Return None: the identity stores the lists."""
        return None

    def store_crls(self, crls: CrlSet) -> None:
        """Do nothing: the identity stores the lists."""


class CaConnection:
    """A channel to the CA that follows our credential.

    Args:
        address: where the CA is, as gRPC names it.
        credential: ours.
        spiffe_id: ours.
        clock: returns the time.
    """

    def __init__(
        self, address: str, credential: Credential, spiffe_id: SpiffeId, clock: Clock
    ) -> None:
        self._source = HeldCredential(credential, f"the connection to the CA at {address}")
        self._provider = CredentialProvider(self._source, clock)
        self._lock = threading.Lock()
        self._closed = False
        factory = ChannelFactory(
            spiffe_id, self._provider, clock, Counters(), self._provider.check_open
        )
        self._provider.start()
        try:
            self._channel: grpc.Channel = factory.sync_channel(
                ChannelSettings(
                    address,
                    SpiffeId.of_ca(spiffe_id.trust_domain),
                    lambda: None,
                    _OPTIONS,
                    None,
                    timedelta(seconds=30),
                    explain=False,
                )
            )
        except BaseException:
            self._provider.close()
            raise
        self.authority = authority_pb2_grpc.AuthorityStub(self._channel)
        self.audit = audit_pb2_grpc.AuditStub(self._channel)
        self.trust = trust_pb2_grpc.TrustStub(self._channel)

    def use(self, credential: Credential) -> None:
        """Use another credential from now on."""
        self._source.put(credential)

    def close(self) -> None:
        """Close the channel."""
        with self._lock:
            is_first, self._closed = not self._closed, True
        if is_first:
            self._channel.close()
            self._provider.close()
