"""What a registry is shown of real servers and channels."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry, generate_latest

import pki
from pki.files import load_credential, save_credential
from services._proto.shop.v1 import inventory_pb2 as inv
from services._proto.shop.v1 import inventory_pb2_grpc
from tests.interop.shop import (
    POLICY,
    SECONDS,
    Shop,
    eventually,
    forked,
    get_stock,
    refused,
)

KINDS = pytest.mark.parametrize("kind", ["aio", "sync"])
GET = "/shop.v1.Inventory/GetStock"
SERVER = "spiffe://shop.internal/server"


class Page:
    """What is scraped of workloads."""

    def __init__(self, me: pki.Workload, *others: pki.Workload) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(me.collector(*others))
        self.me = me

    def value(self, name: str, **labels: str) -> float | None:
        """Return one value; None where there is none."""
        assert generate_latest(self.registry)
        own = {"workload": str(self.me.spiffe_id), **labels}
        return self.registry.get_sample_value(f"handfast_{name}", own)

    def labels(self, name: str) -> list[dict[str, str]]:
        """Return the labels of each of a metric's values."""
        found = []
        for metric in self.registry.collect():
            found += [
                {key: value for key, value in item.labels.items() if key != "workload"}
                for item in metric.samples
                if item.name == f"handfast_{name}"
            ]
        return found

    def decisions(self, method: str, verdict: str, role: str = "") -> float | None:
        return self.value(
            "decisions_total", side="server", method=method, role=role, verdict=verdict
        )


def in_order(page: Page, what: str, **labels: str) -> bool:
    success = page.value(f"{what}_reload_last_success_timestamp_seconds", **labels)
    failure = page.value(f"{what}_reload_last_failure_timestamp_seconds", **labels)
    assert success is not None
    assert failure is not None
    return success > failure


def soon(check: Callable[[], bool]) -> None:
    assert eventually(check)


def serial_of(shop: Shop, name: str) -> str:
    return f"{load_credential(shop.directory(name)).credential.leaf.serial_number:x}"


@KINDS
def test_allowed_and_refused_calls_are_counted_by_method_and_reason(shop: Shop, kind: str) -> None:
    with (
        shop.workload("server") as me,
        shop.server(kind, me) as target,
        shop.workload("caller") as caller,
        caller.sync_channel(target, peer="server") as channel,
        shop.workload("stranger") as stranger,
        stranger.sync_channel(target, peer="server") as other,
    ):
        page = Page(me)
        assert page.labels("decisions_total") == []
        for _ in range(3):
            assert get_stock(channel) > 0
        assert refused(lambda: get_stock(other)) == "NO_ROLE"
        assert page.decisions(GET, "ALLOWED", "caller") == 3
        assert page.decisions(GET, "NO_ROLE") == 1
        assert page.value("audited_total", side="server", method=GET, verdict="NO_ROLE") is None


@KINDS
def test_made_up_methods_count_together_whoever_calls_them(shop: Shop, kind: str) -> None:
    shop.write_policy(POLICY + '[[served_by]]\nservice = "shop.v1.Unknown"\nrole = "server"\n')
    with (
        shop.workload("server") as me,
        shop.server(kind, me) as target,
        shop.workload("caller") as caller,
        caller.sync_channel(target, peer="server") as channel,
        shop.workload("stranger", policy=None) as stranger,
        stranger.sync_channel(target, peer="server") as other,
    ):
        page = Page(me)
        for number in range(3):
            for calling in (channel, other):
                call: Any = calling.unary_unary(f"/shop.v1.Unknown/M{number}")
                refused(lambda call=call: call(b"", timeout=SECONDS))  # type: ignore[misc]
        assert page.decisions("other", "ALLOWED", "caller") == 3
        assert page.decisions("other", "NO_ROLE") == 3
        assert {item["method"] for item in page.labels("decisions_total")} == {"other"}


def test_calls_that_are_only_audited_are_counted_apart(shop: Shop) -> None:
    shop.write_policy('enforce = "audit"\n' + POLICY)
    with (
        shop.workload("server") as me,
        shop.sync_server(me) as target,
        shop.workload("stranger") as stranger,
        stranger.sync_channel(target, peer="server") as channel,
    ):
        page = Page(me)
        assert get_stock(channel) > 0
        assert page.value("audited_total", side="server", method=GET, verdict="NO_ROLE") == 1
        assert page.decisions(GET, "NO_ROLE") is None
        assert page.value("policy_audit", policy=str(shop.policy)) == 1


@KINDS
def test_running_streams_are_shown_and_those_that_were_ended_by_reason(
    shop: Shop, kind: str
) -> None:
    with (
        shop.workload("server") as me,
        shop.server(kind, me) as target,
        shop.workload("caller") as caller,
        caller.sync_channel(target, peer="server") as channel,
    ):
        page = Page(me)
        stream = inventory_pb2_grpc.InventoryStub(channel).WatchStock(inv.WatchStockRequest())
        assert next(stream).quantity > 0
        assert page.value("streams_running") == 1
        shop.write_policy(
            POLICY.replace("spiffe://shop.internal/caller", "spiffe://shop.internal/x")
        )
        with pytest.raises(grpc.RpcError):
            next(stream)
        soon(lambda: page.value("streams_running") == 0)
        assert page.value("streams_ended_total", reason="NO_ROLE") == 1
        soon(lambda: page.decisions("/shop.v1.Inventory/WatchStock", "NO_ROLE") == 1)


def test_a_renewal_is_seen_on_disk_and_in_use(shop: Shop) -> None:
    with (
        shop.workload("server") as me,
        shop.sync_server(me) as target,
        shop.workload("caller") as caller,
        caller.sync_channel(target, peer="server") as channel,
    ):
        page, calling = Page(me), Page(caller)
        assert get_stock(channel) > 0
        before = serial_of(shop, "caller")
        for source in ("in_use", "on_disk"):
            assert calling.value("certificate_info", source=source, serial=before) == 1
        shop.ca.issue("caller").save(shop.directory("caller"))
        after = serial_of(shop, "caller")
        soon(lambda: calling.value("certificate_info", source="in_use", serial=after) == 1)
        assert calling.value("certificate_info", source="on_disk", serial=after) == 1
        assert calling.value("certificate_info", source="in_use", serial=before) is None
        leaf = caller.credential.leaf
        ends = calling.value("certificate_not_after_timestamp_seconds", source="in_use")
        begins = calling.value("certificate_not_before_timestamp_seconds", source="in_use")
        assert ends == leaf.not_valid_after_utc.timestamp()
        assert begins == leaf.not_valid_before_utc.timestamp()
        assert in_order(calling, "credential")
        changed = calling.value("credential_reloads_total", result="changed")
        assert changed is not None
        assert changed >= 1
        soon(lambda: calling.value("channel_rotations_total", peer=SERVER) == 1)
        assert calling.value("channel_connections", state="in_use") == 1
        verifications = calling.value("server_verifications_total", peer=SERVER, result="SUCCESS")
        assert verifications is not None
        assert verifications >= 1
        assert page.labels("server_verifications_total") == []
        assert calling.labels("channel_calls_refused_total") == []
        shop.write_policy(POLICY.replace('role = "server"', 'role = "caller"'))

        def is_refused() -> bool:
            with contextlib.suppress(grpc.RpcError):
                get_stock(channel)
            refused = {"peer": SERVER, "reason": "SERVER_ROLE_MISSING"}
            return bool(calling.value("channel_calls_refused_total", **refused))

        soon(is_refused)


def test_a_refused_certificate_is_seen_on_disk_and_not_in_use(shop: Shop) -> None:
    with shop.workload("server") as me:
        page = Page(me)
        assert page.value("credential_reload_last_failure_timestamp_seconds") == 0
        before = serial_of(shop, "server")
        other = load_credential(shop.directory("stranger")).credential
        save_credential(other, shop.directory("server"))
        foreign = f"{other.leaf.serial_number:x}"
        soon(lambda: page.value("certificate_info", source="on_disk", serial=foreign) == 1)
        soon(lambda: not in_order(page, "credential"))
        assert page.value("certificate_info", source="in_use", serial=before) == 1
        save_credential(shop.ca.issue("server").credential, shop.directory("server"))
        soon(lambda: in_order(page, "credential"))
        after = serial_of(shop, "server")
        soon(lambda: page.value("certificate_info", source="in_use", serial=after) == 1)


def test_files_that_cannot_be_read_are_a_failure_and_change_no_serial(shop: Shop) -> None:
    with shop.workload("server") as me:
        page = Page(me)
        chain = shop.directory("server") / "chain.pem"
        kept = chain.read_bytes()
        chain.write_bytes(b"nonsense")
        soon(lambda: not in_order(page, "credential"))
        serials = {item["serial"] for item in page.labels("certificate_info")}
        assert len(serials) == 1
        chain.write_bytes(kept)
        soon(lambda: in_order(page, "credential"))


def test_a_new_list_of_an_issuer_is_seen_by_its_number(shop: Shop) -> None:
    with shop.workload("server") as me:
        page = Page(me)
        crls = page.labels("crl_number")
        assert len(crls) == 2
        assert {item["source"] for item in crls} == {"on_disk"}

        def numbers() -> list[float | None]:
            return [page.value("crl_number", **item) for item in crls]

        before = numbers()
        leaf = load_credential(shop.directory("caller")).credential.leaf
        shop.ca.revoke(leaf.serial_number, reason="key-compromise")
        shop.bring_trust()
        soon(lambda: numbers() != before)
        for item in crls:
            begins = page.value("crl_this_update_timestamp_seconds", **item)
            ends = page.value("crl_next_update_timestamp_seconds", **item)
            assert begins is not None
            assert ends is not None
            assert begins < ends
        (root,) = page.labels("trust_root_not_after_timestamp_seconds")
        assert root["trust_domain"] == "shop.internal"


def test_a_policys_change_its_refusal_and_its_removal_are_seen(shop: Shop) -> None:
    with shop.workload("server") as me:
        page = Page(me)
        policy = {"policy": str(shop.policy)}
        (before,) = page.labels("policy_info")
        assert in_order(page, "policy", **policy)
        assert page.value("unready_problems") == 0

        shop.write_policy('policy_grace = "5m"\n' + POLICY)
        soon(lambda: page.labels("policy_info") != [before])
        (after,) = page.labels("policy_info")

        shop.write_policy("nonsense")
        soon(lambda: not in_order(page, "policy", **policy))
        assert page.labels("policy_info") == [after]
        assert page.value("unready_problems") == 1
        assert page.value("policy_grace_ends_timestamp_seconds", **policy) is None
        refused_reloads = page.value("policy_reloads_total", result="refused", **policy)
        assert refused_reloads is not None
        assert refused_reloads >= 1

        shop.policy.unlink()
        soon(lambda: page.value("policy_grace_ends_timestamp_seconds", **policy) is not None)
        shop.write_policy('policy_grace = "5m"\n' + POLICY)
        soon(lambda: in_order(page, "policy", **policy))
        assert page.value("unready_problems") == 0
        assert page.value("policy_grace_ends_timestamp_seconds", **policy) is None


def test_a_server_that_is_not_there_counts_as_a_failed_verification(shop: Shop) -> None:
    with (
        shop.workload("caller") as caller,
        caller.sync_channel("127.0.0.1:1", peer="server") as channel,
    ):
        page = Page(caller)
        refused(lambda: get_stock(channel))
        results = {item["result"] for item in page.labels("server_verifications_total")}
        assert results == {"PEER_CONNECTION_CLOSED"}


def test_two_workloads_of_one_process_are_on_one_page(shop: Shop) -> None:
    with shop.workload("server") as me, shop.workload("caller") as other:
        page = Page(me, other)
        text = generate_latest(page.registry).decode()
        for name in (SERVER, "spiffe://shop.internal/caller"):
            assert f'handfast_streams_running{{workload="{name}"}} 0.0' in text


def test_a_policy_at_a_path_that_is_no_text_does_not_spoil_the_page(shop: Shop) -> None:
    strange = Path(os.fsdecode(os.fsencode(shop.home) + b"/p\xff.toml"))
    strange.write_text(POLICY)
    with shop.workload("server", policy=strange) as me:
        page = Page(me)
        (policy,) = page.labels("policy_audit")
        assert policy["policy"].endswith("/p\\xff.toml")
        assert page.value("policy_audit", **policy) == 0


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_in_a_child_process_the_page_is_empty_and_does_not_hang(shop: Shop) -> None:
    with shop.workload("server") as me:
        page = Page(me)
        inside = me._provider
        reading, writing = os.pipe()
        # As another thread may, at the moment of the fork.
        with inside._lock:
            child = forked()
        if not child:
            try:
                os.write(writing, b"%d" % len(page.labels("streams_running")))
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert os.read(reading, 10) == b"0"
