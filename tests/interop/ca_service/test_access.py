"""Who may ask the CA for what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import pki
from pki._proto.handfast.ca.v1 import (
    trust_pb2,
)
from pki.authority.registrations import Proof
from pki.ca_client import CaIdentity
from pki.identity import SpiffeId
from pki.proofs import EnrollmentToken
from tests.ca_service import Served
from tests.interop.asking import Asking, asking, refused
from tests.interop.shop import SECONDS, eventually

BATCH = frozenset({Proof.REGISTRAR, Proof.TOKEN, Proof.RENEWAL})


def test_an_admin_registers_makes_tokens_lists_and_revokes(ca: Served, tmp_path: Path) -> None:
    with asking(ca, tmp_path, "ops") as ops:
        made = ops.register("orders", dns_names=[], proofs=["token", "renewal", "registrar"])
        assert made.created_by == "spiffe://shop.internal/ops"
        with CaIdentity(
            tmp_path / "orders", token=EnrollmentToken.parse(ops.token("orders"))
        ) as it:
            serial = f"{it.credential.leaf.serial_number:x}"
        (one,) = ops.batch("orders")
        assert one.certificate.chain
        assert ops.listed().count("spiffe://shop.internal/orders") == 2
        assert ops.revoke(serial=serial, reason="superseded") == 1
        assert ops.revoke(spiffe_id="spiffe://shop.internal/orders") == 2, "both, now"
        assert "spiffe://shop.internal/orders" in ops.listed()


def test_a_workload_without_a_role_renews_and_revokes_its_own_alone(
    ca: Served, tmp_path: Path
) -> None:
    with (
        CaIdentity(tmp_path / "orders", token=EnrollmentToken.parse(ca.token("orders"))),
        pki.Workload.from_directory(tmp_path / "orders") as me,
        me.sync_channel(ca.address, peer=SpiffeId.of_ca(me.spiffe_id.trust_domain)) as channel,
    ):
        orders = Asking(channel)
        other = ca.authority.issue("payments").leaf.serial_number
        assert refused(lambda: orders.register("mine")) == "NO_ROLE"
        assert refused(lambda: orders.token("orders")) == "NO_ROLE"
        assert refused(lambda: orders.batch("orders")) == "NO_ROLE"
        assert refused(orders.listed) == "NO_ROLE"
        assert refused(lambda: orders.revoke(serial=f"{other:x}")) == "NAME_NOT_PERMITTED"
        assert (
            refused(lambda: orders.revoke(spiffe_id="spiffe://shop.internal/payments"))
            == "NAME_NOT_PERMITTED"
        )
        assert refused(lambda: orders.revoke(serial="zz")) == "NAME_NOT_PERMITTED"
        assert refused(orders.revoke) == "REQUEST_INVALID"
        assert orders.revoke(own=True) == 1
        assert eventually(lambda: refused(orders.listed) == "CERTIFICATE_REVOKED")


def test_a_registrar_is_bound_to_its_path_and_never_makes_an_admin(
    ca: Served, tmp_path: Path
) -> None:
    with asking(ca, tmp_path, "ci") as ci:
        ci.register("prod/orders", proofs=["registrar", "token"])
        ci.token("prod/orders")
        ca.register("ops-2", proofs=BATCH)
        ca.register("ops", proofs=BATCH)
        for path in ("orders", "ops", "production/orders"):
            assert refused(lambda p=path: ci.register(p)) == "NAME_NOT_PERMITTED"
        assert refused(lambda: ci.token("ops-2")) == "NAME_NOT_PERMITTED"
        good, foreign, admin, unknown, bad = ci.batch(
            "prod/orders", "ops-2", "ops", "prod/nobody", "prod//x"
        )
        assert good.certificate.chain, "one that is refused fails none of the others"
        assert [item.refused.reason for item in (foreign, admin, unknown, bad)] == [
            "NAME_NOT_PERMITTED",
            "NAME_NOT_PERMITTED",
            "NOT_FOUND",
            "REQUEST_INVALID",
        ]
        assert refused(lambda: ci.revoke(spiffe_id="spiffe://shop.internal/prod/orders")) == (
            "NAME_NOT_PERMITTED"
        )
        assert {*ci.listed()} == {"spiffe://shop.internal/prod/orders"}


def test_a_policy_that_makes_a_name_an_admin_takes_it_from_the_registrar(
    ca: Served, tmp_path: Path
) -> None:
    with asking(ca, tmp_path, "ci") as ci:
        ci.register("prod/boss", proofs=["registrar", "token"])
        assert ci.batch("prod/boss")[0].certificate.chain
        text = ca.policy.read_text()
        aside = ca.policy.with_suffix(".new")
        aside.write_text(text.replace('/ops"]', '/ops", "spiffe://shop.internal/prod/boss"]'))
        aside.replace(ca.policy)
        assert eventually(lambda: ci.batch("prod/boss")[0].refused.reason == "NAME_NOT_PERMITTED")
        assert refused(lambda: ci.token("prod/boss")) == "NAME_NOT_PERMITTED"
        aside.write_text("no policy")
        aside.replace(ca.policy)
        # A bad policy leaves the last good one in force.
        assert refused(lambda: ci.token("prod/boss")) == "NAME_NOT_PERMITTED"


@pytest.mark.parametrize("path", ["handfast/ca", "ca", "handfast/other"])
def test_nobody_obtains_a_reserved_name(ca: Served, tmp_path: Path, path: str) -> None:
    with asking(ca, tmp_path, "ops") as ops:
        assert refused(lambda: ops.register(path)) == "NAME_NOT_PERMITTED"
        (result,) = ops.batch(path)
        assert result.refused.reason in {"NOT_FOUND", "NAME_NOT_PERMITTED"}


@pytest.mark.parametrize(
    "fields",
    [
        {"dns_names": ["*.shop.internal"]},
        {"dns_names": ["payments.shop.internal"]},
        {"dns_names": ["a" * 300]},
        {"ip_addresses": ["10.0.0.1"]},
        {"ip_addresses": ["10.0.0.0/8"]},
        {"profile": "root"},
        {"proofs": ["operator"]},
        {"proofs": ["ca"]},
        {"proofs": ["oidc"]},
        {"lifetime": {"seconds": 86_401}},
        {"lifetime": {"seconds": -1}},
        {"lifetime": {"seconds": 3600, "nanos": 1}},
        {"recovery": {"times": 10_000}},
        {"oidc": {"issuer": "https://ci.example", "claims": {"sub": "a"}}},
    ],
)
def test_a_registration_that_breaks_a_rule_is_refused(
    ca: Served, tmp_path: Path, fields: dict[str, Any]
) -> None:
    with asking(ca, tmp_path, "ops") as ops:
        assert refused(lambda: ops.register("orders", **fields)) in {
            "REQUEST_INVALID",
            "NAME_NOT_PERMITTED",
        }
        assert refused(lambda: ops.token("orders")) == "NOT_FOUND"


@pytest.mark.parametrize(
    "path",
    ["*", "prod/*", "..", "a/", "a//b", "a b", "a?b", "a%2fb", "\u202eab", "a\nb", "x" * 3000],
)
def test_a_name_that_is_no_name_is_refused(ca: Served, tmp_path: Path, path: str) -> None:
    with asking(ca, tmp_path, "ops") as ops:
        assert refused(lambda: ops.register(path)) == "REQUEST_INVALID"


def test_who_follows_hears_at_once_and_then_regularly(ca: Served, tmp_path: Path) -> None:
    with asking(ca, tmp_path, "ops") as ops:
        stream = ops.trust.WatchTrust(trust_pb2.WatchTrustRequest(), timeout=SECONDS)
        seen: list[str | None] = []
        for update in stream:
            seen.append(update.WhichOneof("update"))
            if seen.count("heartbeat") == 3:
                break
        stream.cancel()
        assert seen[0] == "heartbeat"
        assert seen.count("crl") == 2, "the root's list, and the issuing CA's"
        assert "policy" in seen
        # Nobody is sent again what it has.
        request = trust_pb2.WatchTrustRequest(bundle_number=1)
        for crl in ca.service.parts.feed.state.crls.values():
            request.crls.add(issuer_key_id=crl.issuer.key_id, number=crl.number)
        again = ops.trust.WatchTrust(request, timeout=SECONDS)
        assert [next(again).WhichOneof("update") for _ in range(4)] == [
            "heartbeat",
            # One that it has: another one of that number would be a fork.
            "bundles",
            "policy",
            "heartbeat",
        ]
        again.cancel()
        report = trust_pb2.ReportTrustRequest(bundle_number=1, serial="ab")
        assert refused(lambda: ops.trust.ReportTrust(report, timeout=SECONDS)) == (
            "NAME_NOT_PERMITTED"
        )
