"""Prometheus metrics of workloads; see docs/metrics.md.

Nothing here runs during a call: numbers are counted elsewhere (``counters``), and read when a
registry collects them. No caller chooses the value of a label: methods are those that have a
handler, and everything else comes from our own files and settings.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pki.access.workload_metrics import WorkloadMetrics
from pki.credentials.reload_stats import ReloadStats
from pki.errors import InputError

Sample = tuple["MetricFamily", tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class MetricFamily:
    """A family of metrics.

    Args:
        name: as Prometheus shows it; ends with ``_total`` if it is a counter.
        help: its help text.
        labels: the names of its labels, without ``workload``, which each family has.
    """

    name: str
    help: str
    labels: tuple[str, ...] = ()

    def empty(self) -> CounterMetricFamily | GaugeMetricFamily:
        """Return the family without a value."""
        kind = CounterMetricFamily if self.name.endswith("_total") else GaugeMetricFamily
        return kind(self.name, self.help, labels=("workload", *self.labels))


_SOURCE = ("source",)
_CRL = ("issuer", "key_id", "source")
_POLICY = ("policy",)

DECISIONS = MetricFamily(
    "handfast_decisions_total",
    "Calls that were allowed or refused, and streams that were ended later.",
    ("side", "method", "role", "verdict"),
)
AUDITED = MetricFamily(
    "handfast_audited_total",
    "Calls that no grant allows and that went through: their policy is not enforced.",
    ("side", "method", "verdict"),
)
STREAMS = MetricFamily("handfast_streams_running", "Streams that are running in servers.")
STREAMS_ENDED = MetricFamily(
    "handfast_streams_ended_total",
    "Streams that servers ended because their peer may no longer call.",
    ("reason",),
)
CERTIFICATE = MetricFamily(
    "handfast_certificate_info", "The workload's own certificate; always 1.", ("source", "serial")
)
NOT_BEFORE = MetricFamily(
    "handfast_certificate_not_before_timestamp_seconds",
    "When the workload's own certificate becomes valid.",
    _SOURCE,
)
NOT_AFTER = MetricFamily(
    "handfast_certificate_not_after_timestamp_seconds",
    "When the workload's own certificate expires.",
    _SOURCE,
)
ROOT_NOT_AFTER = MetricFamily(
    "handfast_trust_root_not_after_timestamp_seconds",
    "When a root of the trust bundle expires.",
    ("trust_domain", "root"),
)
CRL_NUMBER = MetricFamily("handfast_crl_number", "The number of the revocation list in use.", _CRL)
THIS_UPDATE = MetricFamily(
    "handfast_crl_this_update_timestamp_seconds",
    "When the revocation list in use was issued.",
    _CRL,
)
NEXT_UPDATE = MetricFamily(
    "handfast_crl_next_update_timestamp_seconds",
    "When the revocation list in use becomes stale.",
    _CRL,
)
CREDENTIAL_RELOADS = MetricFamily(
    "handfast_credential_reloads_total", "Reads of the credential's source.", ("result",)
)
CREDENTIAL_SUCCESS = MetricFamily(
    "handfast_credential_reload_last_success_timestamp_seconds",
    "The last read of the credential's source that succeeded.",
)
CREDENTIAL_FAILURE = MetricFamily(
    "handfast_credential_reload_last_failure_timestamp_seconds",
    "The last read of the credential's source that failed or was refused; 0 for never.",
)
CRL_RELOADS = MetricFamily(
    "handfast_crl_reloads_total", "Reads of the source's revocation lists.", ("result",)
)
CRL_SUCCESS = MetricFamily(
    "handfast_crl_reload_last_success_timestamp_seconds",
    "The last read of the revocation lists that succeeded.",
)
CRL_FAILURE = MetricFamily(
    "handfast_crl_reload_last_failure_timestamp_seconds",
    "The last read of the revocation lists that failed or was refused; 0 for never.",
)
PORT_CHANGES = MetricFamily(
    "handfast_port_certificate_changes_total",
    "Changes of the certificate of an open server port.",
    ("result",),
)
PORT_SUCCESS = MetricFamily(
    "handfast_port_certificate_change_last_success_timestamp_seconds",
    "The last change of a port's certificate that succeeded.",
)
PORT_FAILURE = MetricFamily(
    "handfast_port_certificate_change_last_failure_timestamp_seconds",
    "The last change of a port's certificate that failed; 0 for never.",
)
POLICY_RELOADS = MetricFamily(
    "handfast_policy_reloads_total", "Reads of a policy file.", ("policy", "result")
)
POLICY_SUCCESS = MetricFamily(
    "handfast_policy_reload_last_success_timestamp_seconds",
    "The last read of the policy file that succeeded.",
    _POLICY,
)
POLICY_FAILURE = MetricFamily(
    "handfast_policy_reload_last_failure_timestamp_seconds",
    "The last read of the policy file that failed or was refused; 0 for never.",
    _POLICY,
)
POLICY = MetricFamily(
    "handfast_policy_info", "The policy in force, by its SHA-256; always 1.", ("policy", "digest")
)
POLICY_AUDIT = MetricFamily(
    "handfast_policy_audit",
    '1 if the policy only logs some of its refusals (enforce = "audit"), else 0.',
    _POLICY,
)
POLICY_GRACE = MetricFamily(
    "handfast_policy_grace_ends_timestamp_seconds",
    "When every call is refused because the policy file was removed; absent while it is there.",
    _POLICY,
)
UNREADY = MetricFamily(
    "handfast_unready_problems",
    "The number of problems in Workload.problems; 0 if the workload is ready.",
)
CONNECTIONS = MetricFamily(
    "handfast_channel_connections", "Connections of channels, by state.", ("state",)
)
ROTATIONS = MetricFamily(
    "handfast_channel_rotations_total",
    "How often new calls of a channel moved to another connection.",
    ("peer",),
)
VERIFICATIONS = MetricFamily(
    "handfast_server_verifications_total",
    "Verifications of servers' certificates by channels.",
    ("peer", "result"),
)
REFUSED_CALLS = MetricFamily(
    "handfast_channel_calls_refused_total",
    "Calls that a channel refused before anything was sent.",
    ("peer", "reason"),
)
FAMILIES = (
    DECISIONS,
    AUDITED,
    STREAMS,
    STREAMS_ENDED,
    CERTIFICATE,
    NOT_BEFORE,
    NOT_AFTER,
    ROOT_NOT_AFTER,
    CRL_NUMBER,
    THIS_UPDATE,
    NEXT_UPDATE,
    CREDENTIAL_RELOADS,
    CREDENTIAL_SUCCESS,
    CREDENTIAL_FAILURE,
    CRL_RELOADS,
    CRL_SUCCESS,
    CRL_FAILURE,
    PORT_CHANGES,
    PORT_SUCCESS,
    PORT_FAILURE,
    POLICY_RELOADS,
    POLICY_SUCCESS,
    POLICY_FAILURE,
    POLICY,
    POLICY_AUDIT,
    POLICY_GRACE,
    UNREADY,
    CONNECTIONS,
    ROTATIONS,
    VERIFICATIONS,
    REFUSED_CALLS,
)

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
