"""The state of a workload at one moment, for metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pki.access.counters import Counters
from pki.credentials.loader import OnDisk
from pki.credentials.policy_file import PolicyFile
from pki.credentials.reload_stats import ReloadStats
from pki.x509 import Credential


@dataclass(frozen=True, slots=True)
class WorkloadMetrics:
    """The state of a workload at one moment.

    Args:
        credential: the credential in force.
        on_disk: what its source returned last.
        reloads: how reloads of the credential went.
        crl_reloads: how reloads of the revocation lists alone went.
        port_changes: how giving new certificates to open ports went.
        policies: the policy files, and how reloads of each went.
        problems: the number of problems.
        streams: the number of streams that run in its servers.
        connections: the number of connections of its channels, by state.
        counters: its counters.
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
    counters: Counters
