"""The numbers of several workers, as those of one CA."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from pki.access.metric_families import FAMILIES
from pki.daemon.ca_metrics import CA_FAMILIES
from pki.daemon.workers.messages import OthersNumbers
from pki.daemon.workers.numbers import ADDED, LEAST, SummedCollector, samples_of


class One(Collector):
    """What one worker counts."""

    def __init__(self, issued: dict[str, float], followers: float, end: float) -> None:
        self.issued, self.followers, self.end = issued, followers, end

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        issued = CounterMetricFamily("handfast_ca_requests_total", "", labels=("operation",))
        for operation, number in self.issued.items():
            issued.add_metric((operation,), number)
        followers = GaugeMetricFamily("handfast_ca_followers", "", labels=("workload",))
        followers.add_metric(("ca",), self.followers)
        ends = GaugeMetricFamily(
            "handfast_certificate_not_after_timestamp_seconds", "", labels=("source",)
        )
        ends.add_metric(("in_use",), self.end)
        last = GaugeMetricFamily("handfast_ca_last_issue_timestamp_seconds", "", labels=())
        last.add_metric((), self.end)
        return [issued, followers, ends, last]


def shown(own: One, *others: One) -> str:
    registry = CollectorRegistry()
    samples = tuple(samples_of([item]) for item in others)
    registry.register(SummedCollector([own], lambda: OthersNumbers(samples)))
    return generate_latest(registry).decode()


def test_counts_are_added_and_of_the_rest_what_needs_attention_is_shown() -> None:
    text = shown(One({"Renew": 3}, 2, 700.0), One({"Renew": 4, "Enroll": 1}, 5, 500.0))
    assert 'handfast_ca_requests_total{operation="Renew"} 7.0' in text
    assert 'handfast_ca_requests_total{operation="Enroll"} 1.0' in text
    assert 'handfast_ca_followers{workload="ca"} 7.0' in text
    assert 'handfast_certificate_not_after_timestamp_seconds{source="in_use"} 500.0' in text
    assert "handfast_ca_last_issue_timestamp_seconds 700.0" in text


def test_alone_it_shows_its_own() -> None:
    assert 'handfast_ca_requests_total{operation="Renew"} 3.0' in shown(One({"Renew": 3}, 2, 7.0))


def test_a_metric_that_this_worker_does_not_know_is_left_out() -> None:
    registry = CollectorRegistry()
    others = OthersNumbers(((("handfast_other", (), 1.0),),))
    registry.register(SummedCollector([One({}, 1, 1.0)], lambda: others))
    assert "handfast_other" not in generate_latest(registry).decode()


def test_each_family_has_a_rule() -> None:
    names = {family.name for family in (*FAMILIES, *CA_FAMILIES)}
    assert names >= ADDED | LEAST
    assert not ADDED & LEAST
    assert not any(name.endswith("_total") for name in ADDED | LEAST)
