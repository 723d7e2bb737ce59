"""What a CA that is served and an agent show to Prometheus, as a scraper reads it."""

from __future__ import annotations

import shutil
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as read_text

from pki.access.metric_families import FAMILIES
from pki.authority import Authority
from pki.ca_client import CaIdentity
from pki.ca_client.identity_metrics import IDENTITY_FAMILIES
from pki.daemon.ca_metrics import CA_FAMILIES
from pki.errors import LedgerError
from pki.files import load_credential
from pki.proofs import EnrollmentToken
from tests.ca_service import Served
from tests.interop.shop import SECONDS, eventually
from tests.served_process import Running, handfast, running

CA = "spiffe://shop.internal/handfast/ca"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(page: str) -> Samples:
    with urllib.request.urlopen(page, timeout=SECONDS) as answer:
        text = answer.read().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in read_text(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float | None:
    wanted = frozenset(labels.items())
    found = [number for (given, has), number in samples.items() if given == name and wanted <= has]
    assert len(found) < 2, (name, labels)
    return found[0] if found else None


def page_of(process: Running) -> str:
    return process.line("Metrics at ").removeprefix("Metrics at ")


def test_a_live_ca_and_an_agent_tell_what_they_did(tmp_path: Path) -> None:
    handfast(tmp_path, "ca", "init", "--trust-domain", "shop.internal")
    served = [
        *("ca", "serve", "--listen=127.0.0.1:0", "--enroll-listen=127.0.0.1:0"),
        *("--heartbeat=1s", "--metrics=127.0.0.1:0"),
    ]
    with running(tmp_path, *served) as ca:
        page = page_of(ca)
        assert ca.line("Serving")
        handfast(tmp_path, "registration", "create", "orders")
        token = handfast(tmp_path, "token", "create", "orders").stdout.strip()
        for folder in ("orders", "thief"):
            handfast(tmp_path, "enroll", "-", "--out", str(tmp_path / folder), given=token)
        first = scrape(page)
        assert value(first, "handfast_ca_requests_total", operation="Enroll", result="OK") == 1
        refused = {"operation": "Enroll", "result": "PROOF_REFUSED"}
        assert value(first, "handfast_ca_requests_total", **refused) == 1
        assert value(first, "handfast_ca_certificates_issued_total", workload=CA) == 1
        assert value(first, "handfast_ca_followers", workload=CA) == 0
        assert value(first, "handfast_ca_ledger_readable", workload=CA) == 1
        assert value(first, "handfast_ca_budget_refusals_total", budget="strangers") == 0

        kept = [str(tmp_path / "orders"), str(tmp_path / "missing")]
        with running(tmp_path, "agent", "--metrics=127.0.0.1:0", *kept) as agent:
            assert agent.line("Keeping 1 of 2")
            agent_page = page_of(agent)
            assert eventually(
                lambda: value(scrape(page), "handfast_ca_followers", workload=CA) == 1, SECONDS
            )
            leaf = load_credential(tmp_path / "orders").credential.leaf
            with Authority.open(tmp_path / "ca") as authority:
                state = authority.context.ledger
                with state.transaction() as transaction:
                    sequence = transaction.state().sequence
                    issuers = transaction.issuers()
            told, agents = scrape(page), scrape(agent_page)
            assert value(told, "handfast_ca_ledger_sequence", workload=CA) == sequence
            for item in issuers:
                until = value(
                    told, "handfast_ca_issuer_not_after_timestamp_seconds", key_id=item.key_id
                )
                assert until == item.certificate.not_valid_after_utc.timestamp()
            lists = [
                name for name, _ in told if name == "handfast_crl_next_update_timestamp_seconds"
            ]
            assert len(lists) == len(issuers), "the list of each"
            own = value(
                told,
                "handfast_certificate_not_after_timestamp_seconds",
                workload=CA,
                source="in_use",
            )
            assert own

            directory = {"directory": str(tmp_path / "orders")}
            until = value(agents, "handfast_identity_not_after_timestamp_seconds", **directory)
            assert until == leaf.not_valid_after_utc.timestamp()
            serial = f"{leaf.serial_number:x}"
            assert value(agents, "handfast_identity_info", serial=serial, **directory) == 1
            assert value(agents, "handfast_identity_ca_silent", **directory) == 0
            assert value(agents, "handfast_agent_directories", state="waiting") == 1
            names = {name for name, _ in agents}
            assert names <= {family.name for family in IDENTITY_FAMILIES}

            # A CA that is gone: its silence is told.
            assert ca.stop() == 0
            assert eventually(
                lambda: value(scrape(agent_page), "handfast_identity_ca_silent", **directory) == 1,
                SECONDS,
            )
            assert agent.stop() == 0
    names = {name for name, _ in told}
    assert names <= {family.name for family in (*FAMILIES, *CA_FAMILIES)}
    # What every CA has from the beginning.
    assert {family.name for family in CA_FAMILIES} - names <= {"handfast_ca_events_total"}


@pytest.mark.parametrize("command", [["ca", "serve"], ["agent", "orders"]])
def test_an_address_that_is_none_is_refused_before_anything_is_served(
    tmp_path: Path, command: list[str]
) -> None:
    handfast(tmp_path, "ca", "init", "--trust-domain", "shop.internal")
    done = handfast(tmp_path, *command, "--metrics", "ca.internal:9464")
    assert done.returncode == 1
    assert "is no IP address" in done.stderr
    assert not done.stdout


def collected(ca: Served) -> Samples:
    collector, _ = ca.service.collectors()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in collector.collect()
        for sample in family.samples
    }


def test_events_and_exhausted_budgets_are_counted(ca: Served, tmp_path: Path) -> None:
    token = EnrollmentToken.parse(ca.token("orders"))
    with CaIdentity(tmp_path / "orders", token=token) as owner:
        shutil.copytree(tmp_path / "orders", tmp_path / "stolen")
        with CaIdentity(tmp_path / "stolen") as thief:
            thief.renew_now()
            owner.renew_now()
            for _ in range(20):
                owner.renew_now()
            assert "too many requests" in owner.problem
    told = collected(ca)
    assert value(told, "handfast_ca_events_total", kind="second-renewal") == 1
    assert (value(told, "handfast_ca_budget_refusals_total", budget="renewal") or 0) > 0
    blocked = {"operation": "Renew", "result": "NOT_RENEWABLE"}
    assert (value(told, "handfast_ca_requests_total", **blocked) or 0) >= 1
    exhausted = {"operation": "Renew", "result": "BUDGET_EXHAUSTED"}
    assert (value(told, "handfast_ca_requests_total", **exhausted) or 0) >= 1


def test_a_ledger_that_can_not_be_read_is_told(ca: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    assert value(collected(ca), "handfast_ca_ledger_readable", workload=CA) == 1

    def broken(*_: object, **__: object) -> None:
        raise LedgerError("the disk is gone")

    monkeypatch.setattr(ca.service.parts.context.ledger, "snapshot", broken)
    told = collected(ca)
    assert value(told, "handfast_ca_ledger_readable", workload=CA) == 0
    assert value(told, "handfast_ca_ledger_sequence", workload=CA) is None
    # What needs no ledger is told all the same.
    assert value(told, "handfast_ca_followers", workload=CA) == 0
