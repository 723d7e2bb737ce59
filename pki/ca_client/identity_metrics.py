"""Prometheus metrics of identities that a CA keeps fresh; see docs/metrics.md.

``handfast agent`` shows them. Every label comes from this machine: no CA and no peer chooses one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from pki.access.metric_families import MetricFamily
from pki.access.prometheus import Sample, or_never, path_label
from pki.ca_client.identity import CaIdentity

_DIRECTORY = ("directory",)

IDENTITY = MetricFamily(
    "handfast_identity_info", "The certificate in use; always 1.", ("directory", "serial")
)
NOT_BEFORE = MetricFamily(
    "handfast_identity_not_before_timestamp_seconds",
    "When the certificate in use becomes valid.",
    _DIRECTORY,
)
NOT_AFTER = MetricFamily(
    "handfast_identity_not_after_timestamp_seconds",
    "When the certificate in use expires.",
    _DIRECTORY,
)
RENEWAL_SUCCESS = MetricFamily(
    "handfast_identity_renewal_last_success_timestamp_seconds",
    "The last renewal or recovery by this process that succeeded; 0 for never.",
    _DIRECTORY,
)
RENEWAL_FAILURE = MetricFamily(
    "handfast_identity_renewal_last_failure_timestamp_seconds",
    "The last renewal or recovery by this process that failed or was refused; 0 for never.",
    _DIRECTORY,
)
LAST_HEARD = MetricFamily(
    "handfast_identity_ca_last_heard_timestamp_seconds",
    "When the CA last said that nothing is missing here; the start of this process before.",
    _DIRECTORY,
)
SILENT = MetricFamily(
    "handfast_identity_ca_silent",
    "1 if the CA has been silent for too long, so that new revocations are not known here, else 0.",
    _DIRECTORY,
)
REFUSED = MetricFamily(
    "handfast_identity_refused",
    "1 if the CA refuses the workload for good, because its certificate was revoked, else 0.",
    _DIRECTORY,
)
BUNDLE_NUMBER = MetricFamily(
    "handfast_identity_bundle_number",
    "The number of the signed trust bundle in force; 0 for none.",
    _DIRECTORY,
)
BUNDLE_REFUSED = MetricFamily(
    "handfast_identity_bundle_refused",
    "1 if the newest trust bundle of the CA was refused here, else 0.",
    _DIRECTORY,
)
LOG_SIZE = MetricFamily(
    "handfast_identity_audit_log_size",
    "How many entries the CA's audit log had when it was last found to extend what it was.",
    _DIRECTORY,
)
LOG_DISPUTED = MetricFamily(
    "handfast_identity_audit_log_disputed",
    "1 if the CA's audit log was rewritten, went back, or has another history elsewhere, else 0.",
    _DIRECTORY,
)
LOG_WITNESSES = MetricFamily(
    "handfast_identity_audit_log_witnesses",
    "How many other witnesses accepted the same history of the CA's audit log.",
    _DIRECTORY,
)
RECOVERIES = MetricFamily(
    "handfast_identity_recoveries_left",
    "How often the workload may recover by itself; absent until the CA has said it.",
    _DIRECTORY,
)
DIRECTORIES = MetricFamily(
    "handfast_agent_directories",
    "Directories by state: kept fresh, or waiting because that could not begin yet.",
    ("state",),
)
IDENTITY_FAMILIES = (
    IDENTITY,
    NOT_BEFORE,
    NOT_AFTER,
    RENEWAL_SUCCESS,
    RENEWAL_FAILURE,
    LAST_HEARD,
    SILENT,
    REFUSED,
    BUNDLE_NUMBER,
    BUNDLE_REFUSED,
    LOG_SIZE,
    LOG_DISPUTED,
    LOG_WITNESSES,
    RECOVERIES,
    DIRECTORIES,
)


class IdentityCollector(Collector):
    """Collects the metrics of the identities that one process keeps fresh.

    Args:
        identities: returns those that are kept now, each in a directory of its own.
        waiting: returns how many directories could not be kept fresh yet.
    """

    def __init__(
        self, identities: Callable[[], Sequence[CaIdentity]], waiting: Callable[[], int]
    ) -> None:
        self._identities = identities
        self._waiting = waiting

    def describe(self) -> Iterable[Metric]:
        """Return each family without a value, so that a registry refuses a second collector."""
        return [family.empty() for family in IDENTITY_FAMILIES]

    def collect(self) -> Iterable[Metric]:
        """Return each family with its present values."""
        filled = {family: family.empty() for family in IDENTITY_FAMILIES}
        identities = tuple(self._identities())
        for identity in identities:
            labels = (str(identity.spiffe_id), path_label(identity.directory))
            for family, more, value in _samples(identity):
                filled[family].add_metric((*labels, *more), value)
        # The agent is no workload: an empty label is none.
        filled[DIRECTORIES].add_metric(("", "kept"), len(identities))
        filled[DIRECTORIES].add_metric(("", "waiting"), self._waiting())
        return filled.values()


def _samples(identity: CaIdentity) -> Iterator[Sample]:
    leaf = identity.credential.leaf
    yield IDENTITY, (f"{leaf.serial_number:x}",), 1
    yield NOT_BEFORE, (), leaf.not_valid_before_utc.timestamp()
    yield NOT_AFTER, (), leaf.not_valid_after_utc.timestamp()
    yield RENEWAL_SUCCESS, (), or_never(identity.renewals.last_success)
    yield RENEWAL_FAILURE, (), or_never(identity.renewals.last_failure)
    yield LAST_HEARD, (), identity.last_heard.timestamp()
    yield SILENT, (), identity.cut_off_since is not None
    yield REFUSED, (), bool(identity.refused)
    yield BUNDLE_NUMBER, (), identity.bundle_number
    yield BUNDLE_REFUSED, (), bool(identity.bundle_refused)
    yield LOG_SIZE, (), identity.log_witness.size
    yield LOG_DISPUTED, (), bool(identity.log_witness.problem)
    yield LOG_WITNESSES, (), identity.log_witness.others
    if identity.recoveries_left is not None:
        yield RECOVERIES, (), identity.recoveries_left
