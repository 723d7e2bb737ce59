"""What of a workload is to be seen at one moment, gathered for whoever shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cryptography import x509

from pki.access.counters import Counters, ReloadStats
from pki.credentials.policy_file import PolicyFile
from pki.x509 import Credential
from pki.x509.revocation import IssuerId


@dataclass(frozen=True, slots=True)
class OnDisk:
    """What a source gave last, accepted or not.

    Args:
        leaf: the workload's certificate.
        crls: whose revocation lists came with it.
    """

    leaf: x509.Certificate
    crls: frozenset[IssuerId]

    @classmethod
    def of(cls, credential: Credential) -> OnDisk:
        """Note what a credential holds."""
        crls = credential.crls
        return cls(credential.leaf, frozenset(crls.crls) if crls else frozenset())


@dataclass(frozen=True, slots=True)
class WorkloadSnapshot:
    """One moment of a workload.

    Args:
        credential: what is in force.
        on_disk: what its source gave last.
        reloads: how reading the credential again went.
        crl_reloads: how reading the revocation lists alone went.
        port_changes: how bringing a new certificate to the ports went.
        policies: the policy files, and how reading each again went.
        problems: how many things make the workload unready.
        streams: how many streams run in its servers.
        connections: how many connections its channels have, by state.
        counts: what it has counted.
    """

    credential: Credential
    on_disk: OnDisk
    reloads: ReloadStats
    crl_reloads: ReloadStats
    port_changes: ReloadStats
    policies: tuple[tuple[PolicyFile, ReloadStats], ...]
    problems: int
    streams: int
    connections: Mapping[str, int]
    counts: Counters
