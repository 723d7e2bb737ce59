"""Prometheus metrics of workloads; see docs/metrics.md.

Nothing here runs during a call: numbers are counted elsewhere (``counters``), and read when a
registry collects them. No caller chooses the value of a label: methods are those that have a
handler, and everything else comes from our own files and settings.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from pki.access.metric_families import (
    AUDITED,
    CERTIFICATE,
    CONNECTIONS,
    CREDENTIAL_FAILURE,
    CREDENTIAL_RELOADS,
    CREDENTIAL_SUCCESS,
    CRL_FAILURE,
    CRL_NUMBER,
    CRL_RELOADS,
    CRL_SUCCESS,
    DECISIONS,
    FAMILIES,
    LOST_LINES,
    NEXT_UPDATE,
    NOT_AFTER,
    NOT_BEFORE,
    POLICY,
    POLICY_AUDIT,
    POLICY_FAILURE,
    POLICY_GRACE,
    POLICY_RELOADS,
    POLICY_SUCCESS,
    PORT_CHANGES,
    PORT_FAILURE,
    PORT_SUCCESS,
    REFUSED_CALLS,
    ROOT_NOT_AFTER,
    ROTATIONS,
    STREAMS,
    STREAMS_ENDED,
    THIS_UPDATE,
    UNREADY,
    VERIFICATIONS,
    MetricFamily,
)
from pki.access.workload_metrics import WorkloadMetrics
from pki.credentials.reload_stats import ReloadStats
from pki.errors import InputError

Sample = tuple[MetricFamily, tuple[str, ...], float]

_CONNECTION_STATES = ("in_use", "next", "draining", "refused")


class WorkloadCollector(Collector):
    """Collects the metrics of workloads for a Prometheus registry; ``Workload.collector`` makes it.

    Args:
        workloads: for each, its SPIFFE ID and a function that returns its present state, or None
            in a process that the workload was not made in.

    Raises:
        InputError: if two have the same SPIFFE ID: their metrics could not be told apart.
    """

    def __init__(
        self, workloads: Sequence[tuple[str, Callable[[], WorkloadMetrics | None]]]
    ) -> None:
        self._workloads = tuple(workloads)
        if len({name for name, _ in workloads}) != len(workloads):
            raise InputError(
                "two workloads to collect metrics of have one SPIFFE ID",
                remedy="Pass only one of them to collector(), or make all servers and "
                "channels from one workload",
            )

    def describe(self) -> Iterable[Metric]:
        """Return each family without a value, so that a registry refuses a second collector."""
        return [family.empty() for family in FAMILIES]

    def collect(self) -> Iterable[Metric]:
        """Return each family with its present values."""
        filled = {family: family.empty() for family in FAMILIES}
        for name, state in self._workloads:
            now = state()
            if now is None:
                continue
            for family, labels, value in _samples(now):
                filled[family].add_metric((name, *labels), value)
        return filled.values()


def _samples(metrics: WorkloadMetrics) -> Iterator[Sample]:
    yield from _calls(metrics)
    yield from _certificates(metrics)
    yield from _crls(metrics)
    yield from _reloads(
        (CREDENTIAL_RELOADS, CREDENTIAL_SUCCESS, CREDENTIAL_FAILURE), (), metrics.reloads
    )
    yield from _reloads((CRL_RELOADS, CRL_SUCCESS, CRL_FAILURE), (), metrics.crl_reloads)
    yield from _reloads((PORT_CHANGES, PORT_SUCCESS, PORT_FAILURE), (), metrics.port_changes)
    yield from _policies(metrics)
    yield from _channels(metrics)
    yield UNREADY, (), metrics.problems


def _calls(metrics: WorkloadMetrics) -> Iterator[Sample]:
    for (method, role, verdict), count in metrics.counters.decisions().items():
        yield DECISIONS, ("server", method, role, verdict), count
    for (method, verdict), count in metrics.counters.audited().items():
        yield AUDITED, ("server", method, verdict), count
    yield STREAMS, (), metrics.streams
    for reason, count in metrics.counters.streams_ended().items():
        yield STREAMS_ENDED, (reason,), count
    yield LOST_LINES, (), metrics.counters.lost_lines


def _certificates(metrics: WorkloadMetrics) -> Iterator[Sample]:
    for source, leaf in (("in_use", metrics.credential.leaf), ("on_disk", metrics.on_disk.leaf)):
        yield CERTIFICATE, (source, f"{leaf.serial_number:x}"), 1
        yield NOT_BEFORE, (source,), leaf.not_valid_before_utc.timestamp()
        yield NOT_AFTER, (source,), leaf.not_valid_after_utc.timestamp()
    for domain, roots in metrics.credential.bundle.roots.items():
        for root in roots:
            labels = (str(domain), _fingerprint(root))
            yield ROOT_NOT_AFTER, labels, root.not_valid_after_utc.timestamp()


def _crls(metrics: WorkloadMetrics) -> Iterator[Sample]:
    crls = metrics.credential.crls
    for issuer, item in crls.crls.items() if crls else ():
        # The list of an issuer that is no longer used is remembered, and becomes stale without
        # harm.
        source = "on_disk" if issuer in metrics.on_disk.crls else "remembered"
        # Two CAs of other makers may share a name; the key identifier tells them apart.
        labels = (item.crl.issuer.rfc4514_string(), issuer.key_id.hex(), source)
        yield CRL_NUMBER, labels, item.number
        yield THIS_UPDATE, labels, item.this_update.timestamp()
        yield NEXT_UPDATE, labels, item.next_update.timestamp()


def _policies(metrics: WorkloadMetrics) -> Iterator[Sample]:
    for file, reloads in metrics.policies:
        label = (path_label(file.path),)
        yield from _reloads((POLICY_RELOADS, POLICY_SUCCESS, POLICY_FAILURE), label, reloads)
        policy = file.policy()
        if policy is not None:
            yield POLICY, (*label, policy.digest), 1
            yield POLICY_AUDIT, label, policy.enforcement.any_audit
        if (ends := file.grace_ends) is not None:
            yield POLICY_GRACE, label, ends.timestamp()


def _channels(metrics: WorkloadMetrics) -> Iterator[Sample]:
    for state in _CONNECTION_STATES:
        yield CONNECTIONS, (state,), metrics.connections.get(state, 0)
    for peer, count in metrics.counters.rotations().items():
        yield ROTATIONS, (peer,), count
    for (peer, result), count in metrics.counters.verifications().items():
        yield VERIFICATIONS, (peer, result), count
    for (peer, reason), count in metrics.counters.refused_calls().items():
        yield REFUSED_CALLS, (peer, reason), count


def _reloads(
    families: tuple[MetricFamily, MetricFamily, MetricFamily],
    labels: tuple[str, ...],
    reloads: ReloadStats,
) -> Iterator[Sample]:
    total, success, failure = families
    for result, count in reloads.results().items():
        yield total, (*labels, result.value), count
    yield success, labels, reloads.last_success.timestamp()
    # 0 for never, so that the two can always be compared.
    yield failure, labels, or_never(reloads.last_failure)


def or_never(moment: datetime | None) -> float:
    """Return a time as the value of a metric: seconds since 1970, or 0 for never."""
    return 0.0 if moment is None else moment.timestamp()


def _fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(SHA256()).hex()[:16]


def path_label(path: Path) -> str:
    """Return a path as a label: it may hold bytes that are no UTF-8; the exposition must be."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
