"""What is counted, under which names, and how a registry is shown it."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families as read_text

from pki.access.call_verdict import CallVerdict
from pki.access.counters import OTHER, Counters
from pki.access.metric_families import FAMILIES
from pki.access.prometheus import WorkloadCollector
from pki.access.refusal import CREDENTIAL_ENDED, NO_CERTIFICATE, Refusal, decision_refusal
from pki.access.workload_metrics import WorkloadMetrics
from pki.authz import Decision, Reason
from pki.credentials.loader import OnDisk
from pki.credentials.reload_stats import ReloadResult, ReloadStats
from pki.errors import InputError
from pki.x509 import Credential
from tests.support import NOW, Hierarchy

GET = "/shop.v1.Inventory/GetStock"
NAME = "spiffe://shop.internal/orders"
NO_ROLE = decision_refusal(Reason.NO_ROLE, who="caller", what=GET)


def judged(
    method: str = GET,
    *,
    role: str | None = None,
    refusal: Refusal | None = None,
    audited: Refusal | None = None,
) -> CallVerdict:
    reason = Reason.ALLOWED if role else Reason.NO_ROLE
    decision = Decision(allowed=bool(role), reason=reason, roles=(), role=role)
    return CallVerdict(method, None, refusal, decision, "", "", "", audited=audited)


def counts_that_know(*methods: str) -> Counters:
    counters = Counters()
    for method in methods:
        counters.register_method(method)
    return counters


def test_an_allowed_call_counts_under_its_method_and_the_role_that_decided() -> None:
    counters = counts_that_know(GET)
    counters.count_call(judged(role="storefront"))
    counters.count_call(judged(role="storefront"))
    counters.count_call(judged(role="auditor"))
    assert counters.decisions() == {
        (GET, "storefront", "ALLOWED"): 2,
        (GET, "auditor", "ALLOWED"): 1,
    }


def test_a_refused_call_counts_under_its_reason_and_no_role() -> None:
    counters = counts_that_know(GET)
    counters.count_call(judged(refusal=NO_ROLE))
    counters.count_call(CallVerdict(GET, None, NO_CERTIFICATE, None, "", "", ""))
    assert counters.decisions() == {(GET, "", "NO_ROLE"): 1, (GET, "", "CERTIFICATE_INVALID"): 1}


def test_an_audited_call_counts_apart() -> None:
    counters = counts_that_know(GET)
    counters.count_call(judged(audited=NO_ROLE))
    assert counters.decisions() == {}
    assert counters.audited() == {(GET, "NO_ROLE"): 1}


def test_paths_that_nobody_handles_count_together() -> None:
    counters = counts_that_know(GET)
    for number in range(1000):
        counters.count_call(judged(f"/shop.v1.Inventory/Made{number}Up", refusal=NO_ROLE))
    assert counters.decisions() == {(OTHER, "", "NO_ROLE"): 1000}


@pytest.mark.parametrize(
    "path", ["", "/", "GetStock", "//a.B/C", "/a.B/C/D", '/a.B/C"} 1\n# ', "/a.B/\udcff", "/a.B/ü"]
)
def test_a_path_that_is_no_plain_method_is_no_label_even_if_a_handler_takes_it(path: str) -> None:
    counters = counts_that_know(path)
    counters.count_call(judged(path, role="caller"))
    assert counters.decisions() == {(OTHER, "caller", "ALLOWED"): 1}


def test_a_handler_for_everything_fills_no_memory() -> None:
    counters = Counters()
    for number in range(2000):
        counters.register_method(f"/proxy.v1.Any/M{number}")
        counters.count_call(judged(f"/proxy.v1.Any/M{number}", role="caller"))
    found = counters.decisions()
    assert len(found) == 1025
    assert found[OTHER, "caller", "ALLOWED"] == 976


def test_peers_beyond_a_thousand_count_together() -> None:
    counters = Counters()
    for number in range(1500):
        counters.count_verification(f"spiffe://shop.internal/{number}", "SUCCESS")
        counters.count_rotation(f"spiffe://shop.internal/{number}")
    assert counters.verifications()[OTHER, "SUCCESS"] == counters.rotations()[OTHER] == 476
    assert len(counters.verifications()) == len(counters.rotations()) == 1025


def test_calls_that_channels_refuse_are_counted_by_peer_and_reason() -> None:
    counters = Counters()
    for number in range(1500):
        counters.count_refused_call(f"spiffe://shop.internal/{number}", CREDENTIAL_ENDED)
    counters.count_refused_call("spiffe://shop.internal/1", CREDENTIAL_ENDED)
    found = counters.refused_calls()
    assert found["spiffe://shop.internal/1", "CREDENTIAL_ENDED"] == 2
    assert found[OTHER, "CREDENTIAL_ENDED"] == 476
    assert len(found) == 1025


def test_threads_lose_no_call() -> None:
    counters = counts_that_know(GET)
    answer = judged(role="caller")

    def call() -> None:
        for _ in range(5000):
            counters.count_call(answer)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counters.decisions() == {(GET, "caller", "ALLOWED"): 20_000}


def test_reading_again_tells_its_last_success_from_its_last_failure() -> None:
    reloads = ReloadStats(NOW)
    assert (reloads.last_success, reloads.last_failure) == (NOW, None)
    later, last = NOW + timedelta(minutes=1), NOW + timedelta(minutes=2)
    reloads.record(ReloadResult.of("is torn", is_new=True), later)
    assert (reloads.last_success, reloads.last_failure) == (NOW, later)
    reloads.record(ReloadResult.of("", is_new=False), last)
    reloads.record(ReloadResult.of("", is_new=True), last)
    assert (reloads.last_success, reloads.last_failure) == (last, later)
    assert reloads.results() == {"changed": 1, "unchanged": 1, "refused": 1}


def seen(counters: Counters | None = None) -> WorkloadMetrics:
    them = Hierarchy()
    credential = Credential(them.key, (them.leaf(), them.issuing), them.bundle, them.crls())
    on_disk = OnDisk(them.leaf(), frozenset())
    three = (ReloadStats(NOW), ReloadStats(NOW), ReloadStats(NOW))
    return WorkloadMetrics(
        credential, on_disk, *three, (), 2, 3, {"draining": 4}, counters or Counters()
    )


def quote_untrusted(*moments: tuple[str, WorkloadMetrics | None]) -> str:
    registry = CollectorRegistry()
    registry.register(
        WorkloadCollector([(name, lambda moment=moment: moment) for name, moment in moments])  # type: ignore[misc]
    )
    return generate_latest(registry).decode()


def test_what_is_shown_can_be_read_in_both_formats() -> None:
    counters = counts_that_know(GET)
    counters.count_call(judged(role="caller"))
    counters.count_call(judged(audited=NO_ROLE))
    counters.count_stream_ended(CREDENTIAL_ENDED)
    counters.count_verification(NAME, "HANDSHAKE_TIMEOUT")
    counters.count_rotation(NAME)
    registry = CollectorRegistry()
    moment = seen(counters)
    registry.register(WorkloadCollector([(NAME, lambda: moment)]))
    plain = {item.name for item in read_text(generate_latest(registry).decode())}
    # Both are without types.
    write: Any = openmetrics.generate_latest
    read: Any = openmetrics_parser.text_string_to_metric_families
    modern = {item.name for item in read(write(registry).decode())}
    assert plain == modern == {item.name.removesuffix("_total") for item in FAMILIES}


def test_a_list_that_no_longer_comes_with_the_credential_is_shown_as_remembered() -> None:
    text = quote_untrusted((NAME, seen()))
    assert text.count('source="remembered"') == 6
    assert 'handfast_crl_number{issuer="CN=issuing' in text


def test_two_workloads_are_told_apart_by_their_names() -> None:
    text = quote_untrusted((NAME, seen()), ("spiffe://shop.internal/payments", seen()))
    assert f'handfast_unready_problems{{workload="{NAME}"}} 2.0' in text
    assert 'handfast_unready_problems{workload="spiffe://shop.internal/payments"} 2.0' in text
    assert text.count("# TYPE handfast_unready_problems ") == 1


def test_two_workloads_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match="one SPIFFE ID"):
        WorkloadCollector([(NAME, seen), (NAME, seen)])


def test_a_registry_takes_one_collector() -> None:
    registry = CollectorRegistry()
    registry.register(WorkloadCollector([(NAME, seen)]))
    with pytest.raises(ValueError, match="Duplicated"):
        registry.register(WorkloadCollector([("spiffe://shop.internal/payments", seen)]))


def test_a_workload_of_another_process_shows_nothing() -> None:
    assert NAME not in quote_untrusted((NAME, None))
