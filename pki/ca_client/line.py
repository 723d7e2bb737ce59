"""A line of certificates of one workload: how it is renewed, and recovered once it has ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from pki._proto.handfast.ca.v1 import authority_pb2_grpc
from pki.ca_client import calls
from pki.ca_client.bundles import Anchor
from pki.ca_client.received import Received
from pki.ca_client.storage.ca_state import CaState
from pki.ca_client.storage.identity_store import IdentityStore
from pki.errors import CaRefusedError
from pki.identity import SpiffeId
from pki.proofs import RecoveryId


@dataclass(frozen=True, slots=True)
class Line:
    """The line of the identity in a directory.

    Args:
        store: the directory.
        spiffe_id: the workload.
        anchor: what is trusted.
        state: what the workload knows of its CA.
    """

    store: IdentityStore
    spiffe_id: SpiffeId
    anchor: Anchor
    state: CaState

    def renew(
        self,
        authority: authority_pb2_grpc.AuthorityStub,
        leaf: x509.Certificate,
        *,
        now: datetime,
    ) -> Received:
        """Obtain the next certificate over a connection that shows the present one.

        Raises:
            PkiError: if the CA can't be reached or refuses, or its answer is not right.
        """
        key = self.store.renewal_key()
        present = calls.Presented(leaf, self.spiffe_id, self.anchor, self.state.enrollment)
        return calls.renew(authority, present, key, now=now)

    def recover(self, *, now: datetime) -> Received:
        """Obtain a certificate with the recovery key.

        Raises:
            EndedCertificateError: if an earlier recovery was granted, and what it gave has ended.
            PkiError: as :meth:`renew`.
        """
        recovery_key = self.store.recovery_key()
        if not self.state.recovery_id or recovery_key is None:
            raise CaRefusedError("it has no recovery key", reason="NOT_RECOVERABLE")
        line = calls.RecoveryProof(
            RecoveryId.parse(self.state.recovery_id), recovery_key, self.anchor, self.spiffe_id
        )
        keys = self.store.keys(with_recovery=True)
        return calls.recover(self.state.enrollment, line, keys, now=now)
