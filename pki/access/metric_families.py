"""The names, help texts and labels of a workload's metrics."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily


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
LOST_LINES = MetricFamily(
    "handfast_decision_lines_lost_total",
    "Lines of a decision log file for which there was no room.",
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
    LOST_LINES,
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
