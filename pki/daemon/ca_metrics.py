"""Prometheus metrics of a CA that is served; see docs/metrics.md.

They come beside those of the CA's own workload, which tell its certificate, roots and lists. No
caller chooses the value of a label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from pki.access.metric_families import MetricFamily
from pki.access.prometheus import Sample, or_never
from pki.background import defer
from pki.daemon.parts import CaParts, log
from pki.errors import PkiError

_ISSUER = ("kind", "key_id", "status")

REQUESTS = MetricFamily(
    "handfast_ca_requests_total",
    "Requests to the CA that have ended, by operation and result.",
    ("operation", "result"),
)
BUDGETS = MetricFamily(
    "handfast_ca_budget_refusals_total",
    "Requests that found no place in a budget.",
    ("budget",),
)
FOLLOWERS = MetricFamily("handfast_ca_followers", "Streams that follow the CA now.")
WORKERS = MetricFamily("handfast_ca_workers", "Processes of this machine that serve the CA now.")
ISSUED = MetricFamily(
    "handfast_ca_certificates_issued_total",
    "Certificates that the CA has issued over the network.",
)
LAST_ISSUE = MetricFamily(
    "handfast_ca_last_issue_timestamp_seconds",
    "When the last certificate was issued over the network; 0 for never.",
)
UNLISTED = MetricFamily(
    "handfast_ca_revocations_unlisted",
    "Revocations that followers know, and that are on no signed list yet.",
)
PENDING = MetricFamily(
    "handfast_ca_revocations_pending",
    "Certificates that are revoked, and that the ledger could not record as such yet.",
)
RESERVE = MetricFamily(
    "handfast_ca_reserve_bytes",
    "Space beside the ledger that a revocation may take on a full disk; 0 if it was taken.",
)
LISTS_SUCCESS = MetricFamily(
    "handfast_ca_list_signing_last_success_timestamp_seconds",
    "The last time that all due revocation lists were signed; 0 for never.",
)
LISTS_FAILURE = MetricFamily(
    "handfast_ca_list_signing_last_failure_timestamp_seconds",
    "The last time that revocation lists could not be signed; 0 for never.",
)
SEQUENCE = MetricFamily(
    "handfast_ca_ledger_sequence", "The number of commits that have changed the ledger."
)
LEDGER_READABLE = MetricFamily(
    "handfast_ca_ledger_readable",
    "1 if the ledger could be read for these numbers, else 0.",
)
ISSUER_NOT_BEFORE = MetricFamily(
    "handfast_ca_issuer_not_before_timestamp_seconds",
    "When a certificate of the CA itself becomes valid.",
    _ISSUER,
)
ISSUER_NOT_AFTER = MetricFamily(
    "handfast_ca_issuer_not_after_timestamp_seconds",
    "When a certificate of the CA itself expires.",
    _ISSUER,
)
EVENTS = MetricFamily(
    "handfast_ca_events_total",
    "Events that a person should look at, since the CA was made.",
    ("kind",),
)
LOG_WITNESSES = MetricFamily(
    "handfast_ca_audit_log_witnesses",
    "Witnesses of the audit log whose cosignatures are handed out.",
)
LOG_DISPUTED = MetricFamily(
    "handfast_ca_audit_log_disputed_total",
    "Checkpoints that witnesses accepted and that are not on the audit log's history.",
)
CA_FAMILIES = (
    REQUESTS,
    BUDGETS,
    FOLLOWERS,
    WORKERS,
    ISSUED,
    LAST_ISSUE,
    UNLISTED,
    PENDING,
    RESERVE,
    LISTS_SUCCESS,
    LISTS_FAILURE,
    SEQUENCE,
    LEDGER_READABLE,
    ISSUER_NOT_BEFORE,
    ISSUER_NOT_AFTER,
    EVENTS,
    LOG_WITNESSES,
    LOG_DISPUTED,
)


class CaCollector(Collector):
    """Collects the metrics of a CA for a Prometheus registry; ``CaService.collectors`` makes it.

    Args:
        name: the CA's SPIFFE ID.
        parts: returns the parts of the CA.
        has_ledger: whether to read the ledger too.
    """

    def __init__(self, name: str, parts: Callable[[], CaParts], *, has_ledger: bool = True) -> None:
        self._has_ledger = has_ledger
        self._name = name
        self._parts = parts

    def describe(self) -> Iterable[Metric]:
        """Return each family without a value, so that a registry refuses a second collector."""
        return [family.empty() for family in CA_FAMILIES]

    def collect(self) -> Iterable[Metric]:
        """Return each family with its present values."""
        filled = {family: family.empty() for family in CA_FAMILIES}
        parts = self._parts()
        recorded = _recorded(parts) if self._has_ledger else ()
        for family, labels, value in (*_counted(parts), *recorded):
            filled[family].add_metric((self._name, *labels), value)
        return filled.values()


def _counted(parts: CaParts) -> Iterator[Sample]:
    counters, state = parts.counters, parts.feed.state
    for labels, count in counters.requests().items():
        yield REQUESTS, labels, count
    for budget, count in parts.budgets.refused.items():
        yield BUDGETS, (budget.name.lower(),), count
    yield FOLLOWERS, (), counters.followers
    yield WORKERS, (), 1
    yield ISSUED, (), counters.issued
    yield LAST_ISSUE, (), or_never(counters.last_issue)
    yield UNLISTED, (), len(state.unlisted)
    yield PENDING, (), len(state.pending)
    yield RESERVE, (), parts.context.reserve.held()
    yield LISTS_SUCCESS, (), or_never(counters.lists_signed)
    yield LISTS_FAILURE, (), or_never(counters.lists_failed)
    yield LOG_WITNESSES, (), len(parts.witnesses)
    yield LOG_DISPUTED, (), parts.witnesses.disputed


def _recorded(parts: CaParts) -> list[Sample]:
    """Return what is read from the ledger: all of it, or only that it can't be read."""
    try:
        with parts.context.ledger.snapshot() as transaction:
            state, issuers, events = (
                transaction.state(),
                transaction.issuers(),
                transaction.events(),
            )
    except PkiError as error:
        defer(log.error, "the ledger could not be read for metrics: %s", error)
        return [(LEDGER_READABLE, (), 0)]
    samples: list[Sample] = [(LEDGER_READABLE, (), 1), (SEQUENCE, (), state.sequence)]
    for item in issuers:
        labels = (item.kind.value, item.key_id, item.status.value)
        leaf = item.certificate
        samples += [
            (ISSUER_NOT_BEFORE, labels, leaf.not_valid_before_utc.timestamp()),
            (ISSUER_NOT_AFTER, labels, leaf.not_valid_after_utc.timestamp()),
        ]
    kinds = Counter(kind for _, kind, _ in events)
    return samples + [(EVENTS, (kind,), count) for kind, count in kinds.items()]
