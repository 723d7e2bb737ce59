"""The metrics of several workers as those of one CA.

What a worker has counted is added up. Of what each of them says about the same thing, such as the
end of a certificate of its own, the value is shown that needs attention first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from pki.access import metric_families as of_workload
from pki.daemon import ca_metrics as of_ca
from pki.daemon.workers.messages import OthersNumbers, WorkerSamples

ADDED = frozenset(
    family.name
    for family in (
        of_ca.FOLLOWERS,
        of_ca.WORKERS,
        of_workload.STREAMS,
        of_workload.CONNECTIONS,
        of_workload.UNREADY,
    )
)
"""What is added up besides the counters: each of the workers has its own."""
LEAST = frozenset(
    family.name
    for family in (
        of_ca.RESERVE,
        of_workload.NOT_AFTER,
        of_workload.ROOT_NOT_AFTER,
        of_workload.CRL_NUMBER,
        of_workload.THIS_UPDATE,
        of_workload.NEXT_UPDATE,
        of_workload.CREDENTIAL_SUCCESS,
        of_workload.CRL_SUCCESS,
        of_workload.PORT_SUCCESS,
        of_workload.POLICY_SUCCESS,
        of_workload.POLICY_GRACE,
    )
)
"""Of what the least value is shown; of all else it is the greatest."""


def samples_of(collectors: Iterable[Collector]) -> WorkerSamples:
    """Return what collectors collect now, as another process can be told."""
    return tuple(
        (item.name, tuple(sorted(item.labels.items())), float(item.value))
        for collector in collectors
        for metric in collector.collect()
        for item in metric.samples
    )


class SummedCollector(Collector):
    """Collects the metrics of all workers, in the one that shows them.

    Args:
        collectors: of this worker.
        others: returns what the others have counted.
    """

    def __init__(
        self, collectors: Sequence[Collector], others: Callable[[], OthersNumbers]
    ) -> None:
        self._collectors = tuple(collectors)
        self._others = others

    def describe(self) -> Iterable[Metric]:
        """Return nothing: a registry that asks for it would ask the others too."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Return each family with the values of all workers."""
        others = self._others()
        families = [family for item in self._collectors for family in item.collect()]
        # The names of samples: a counter's ends as that of its family does not.
        by_name = {name: family for family in families for name in _sample_names(family)}
        values = {
            (item.name, tuple(sorted(item.labels.items()))): float(item.value)
            for family in families
            for item in family.samples
        }
        for samples in others.samples:
            for name, labels, value in samples:
                if name in by_name:
                    before = values.get((name, labels))
                    values[name, labels] = value if before is None else _joined(name, before, value)
        for family in families:
            family.samples = []
        for (name, labels), value in values.items():
            by_name[name].add_sample(name, dict(labels), value)
        return families


def _sample_names(family: Metric) -> tuple[str, ...]:
    return (f"{family.name}_total",) if family.type == "counter" else (family.name,)


def _joined(name: str, one: float, other: float) -> float:
    if name.endswith("_total") or name in ADDED:
        return one + other
    return min(one, other) if name in LEAST else max(one, other)
