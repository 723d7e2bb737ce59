"""A policy's decisions on calls and servers: deny by default, and always with a reason."""

from __future__ import annotations

import sys
from types import FrameType

import pytest

from pki.authz import Decision, Principal, Reason, read_policy
from pki.identity import SpiffeId, TrustDomain, derive_names

SHOP = TrustDomain("shop.internal")
POLICY = read_policy(
    b"""\
trust_domain = "shop.internal"

[roles]
clerk = ["spiffe://shop.internal/gateway"]
reader = ["spiffe://shop.internal/gateway", "spiffe://shop.internal/audit"]
idle = ["spiffe://shop.internal/idle"]
payments = ["spiffe://shop.internal/payments"]

[[grant]]
role = "reader"
methods = ["/shop.v1.Orders/Get", "/shop.v1.Orders/List"]
scopes = ["read"]

[[grant]]
role = "clerk"
methods = ["/shop.v1.Orders/*"]
scopes = ["write"]

[[grant]]
role = "clerk"
methods = ["/shop.v1.Orders/Get"]
scopes = ["audit"]

[[served_by]]
service = "shop.v1.Payments"
role = "payments"
""",
    source="shop.toml",
)


def workload(path: str) -> Principal:
    spiffe_id = SpiffeId.of_path(SHOP, path)
    derived = derive_names(spiffe_id)
    return Principal(spiffe_id, frozenset({derived.dns} if derived.dns else ()), derived.subject)


GATEWAY, AUDIT, IDLE, STRANGER = (
    workload(path) for path in ("gateway", "audit", "idle", "stranger")
)


def test_a_granted_method_is_allowed_and_the_rule_is_named() -> None:
    assert POLICY.decide(AUDIT, "/shop.v1.Orders/List") == Decision(
        allowed=True,
        reason=Reason.ALLOWED,
        roles=("reader",),
        role="reader",
        rule="grant at shop.toml:9",
        line=9,
        scopes=frozenset({"read"}),
    )


def test_a_wildcard_grants_every_method_of_its_service() -> None:
    decision = POLICY.decide(GATEWAY, "/shop.v1.Orders/Anything")
    assert (decision.allowed, decision.role, decision.line) == (True, "clerk", 14)


def test_scopes_are_those_of_every_grant_that_allows_the_call() -> None:
    decision = POLICY.decide(GATEWAY, "/shop.v1.Orders/Get")
    assert decision.scopes == {"read", "write", "audit"}
    assert decision.roles == ("clerk", "reader")
    assert decision.line == 9
    assert POLICY.decide(GATEWAY, "/shop.v1.Orders/Other").scopes == {"write"}


def test_a_peer_without_a_role_is_refused() -> None:
    assert POLICY.decide(STRANGER, "/shop.v1.Orders/Get") == Decision(
        allowed=False, reason=Reason.NO_ROLE, roles=()
    )


def test_a_peer_without_any_name_is_refused() -> None:
    nobody = Principal(None)
    assert POLICY.decide(nobody, "/shop.v1.Orders/Get").reason is Reason.NO_ROLE
    assert not POLICY.decide_served_by(nobody, "shop.v1.Payments").allowed


def test_a_role_without_a_grant_is_refused() -> None:
    assert POLICY.decide(IDLE, "/shop.v1.Orders/Get") == Decision(
        allowed=False, reason=Reason.METHOD_NOT_GRANTED, roles=("idle",)
    )


def test_a_role_with_a_grant_for_another_method_is_refused() -> None:
    decision = POLICY.decide(AUDIT, "/shop.v1.Orders/Place")
    assert (decision.allowed, decision.reason) == (False, Reason.METHOD_NOT_GRANTED)
    assert (decision.roles, decision.role, decision.rule) == (("reader",), None, "")
    assert decision.scopes == frozenset()


@pytest.mark.parametrize(
    "method",
    [
        "",
        "/",
        "//",
        "///",
        "*",
        "/*",
        "/shop.v1.Orders/*",
        "/shop.v1.Orders/",
        "/shop.v1.Orders",
        "shop.v1.Orders/Get",
        "//shop.v1.Orders/Get",
        "/shop.v1.Orders//Get",
        "/shop.v1.Orders/Get/",
        "/shop.v1.Orders/Get//",
        "/shop.v1.Orders/Get/More",
        "/x/shop.v1.Orders/Get",
        "/shop.v1.Orders/../Orders/Get",
        "/shop.v1.Orders/..",
        "/shop.v1.Orders/.",
        "/./shop.v1.Orders/Get",
        "/shop.v1.Orders/%47et",
        "/shop.v1.Orders%2fGet",
        "/shop.v1.Orders/Get%00",
        "/shop.v1.Orders/Get\0",
        "/shop.v1.Orders/Get\n",
        "/shop.v1.Orders/Get ",
        " /shop.v1.Orders/Get",
        "/shop.v1.Orders/Get?x=1",
        "/shop.v1.Orders/Get;x",
        "/SHOP.V1.ORDERS/Get",
        "/shop.v1.orders/Get",
        "/shop.v1/Orders/Get",
        "/shop.v1.OrdersX/Get",
        "/shop.v1.Orders/Gét",
        "/shop.v1.Orders/\uff11",
        "/shop.v1.Orders/-",
        "\\shop.v1.Orders\\Get",
        "https://shop.v1.Orders/Get",
        "/shop.v1.Orders/Get\ud800",
    ],
)
def test_a_path_that_is_not_exactly_a_granted_method_is_refused(method: str) -> None:
    decision = POLICY.decide(GATEWAY, method)
    assert (decision.allowed, decision.reason) == (False, Reason.METHOD_NOT_GRANTED)


@pytest.mark.parametrize("method", ["/shop.v1.Orders/get", "/shop.v1.Orders/GET"])
def test_a_method_in_another_case_is_another_method(method: str) -> None:
    assert not POLICY.decide(AUDIT, method).allowed


def test_a_server_in_the_demanded_role_may_answer() -> None:
    assert POLICY.decide_served_by(workload("payments"), "shop.v1.Payments") == Decision(
        allowed=True,
        reason=Reason.ALLOWED,
        roles=("payments",),
        role="payments",
        rule="served_by at shop.toml:24",
        line=24,
    )


@pytest.mark.parametrize("path", ["gateway", "stranger", "payments2", "prod/payments"])
def test_a_server_without_the_demanded_role_is_refused(path: str) -> None:
    decision = POLICY.decide_served_by(workload(path), "shop.v1.Payments")
    assert (decision.allowed, decision.reason) == (False, Reason.SERVER_ROLE_MISSING)
    assert (decision.role, decision.rule) == (None, "served_by at shop.toml:24")


@pytest.mark.parametrize(
    "service",
    ["shop.v1.Orders", "", "shop.v1.payments", "/shop.v1.Payments", "shop.v1.Payments/", "*"],
)
def test_a_service_that_is_not_listed_is_answered_by_nobody(service: str) -> None:
    decision = POLICY.decide_served_by(workload("payments"), service)
    assert (decision.allowed, decision.reason) == (False, Reason.SERVICE_NOT_LISTED)
    assert decision.roles == ("payments",)


def test_a_role_of_a_server_grants_nothing_to_it_as_a_caller() -> None:
    assert not POLICY.decide(workload("payments"), "/shop.v1.Payments/Settle").allowed


def test_a_grant_makes_nobody_a_server_of_the_service() -> None:
    assert not POLICY.decide_served_by(GATEWAY, "shop.v1.Orders").allowed


def test_a_policy_without_grants_refuses_everything() -> None:
    policy = read_policy(b'trust_domain = "shop.internal"\n[roles]\n')
    assert policy.decide(GATEWAY, "/shop.v1.Orders/Get").reason is Reason.NO_ROLE
    assert not policy.decide_served_by(GATEWAY, "shop.v1.Orders").allowed


def test_the_roles_that_may_call_a_method_are_told() -> None:
    assert POLICY.roles_of_method("/shop.v1.Orders/Get") == ("clerk", "reader")
    assert POLICY.roles_of_method("/shop.v1.Orders/Place") == ("clerk",)
    assert POLICY.roles_of_method("/shop.v1.Orders/Get/") == ()
    assert POLICY.roles_of_method("") == ()


def large_policy(size: int) -> bytes:
    """Make a policy that is large in every way: names, shapes of names, grants, scopes."""
    text = ['trust_domain = "shop.internal"', "[roles]"]
    for at in range(size):
        names = (f"/w{at}", f"/*/w{at}", f"/w{at}/*", f"/*/w{at}/*")
        listed = [f'"spiffe://shop.internal{name}"' for name in names]
        text.append(f'r{at} = [{", ".join(listed)}, "dns:w{at}.test", "dns:*.w{at}.test"]')
    for at in range(size):
        text.append('[[grant]]\nrole = "r1"\nmethods = ["/shop.v1.Orders/Get"]\nscopes = ["read"]')
        text.append(f'[[grant]]\nrole = "r{at}"\nmethods = ["/shop.v1.Orders/*"]')
    return "\n".join(text).encode()


def functions_called_to_decide(size: int) -> int:
    policy = read_policy(large_policy(size))
    peer = workload("w1/orders")
    calls = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        decision = policy.decide(peer, "/shop.v1.Orders/Get")
    finally:
        sys.setprofile(before)
    assert decision.allowed
    return calls


def test_a_decision_takes_the_same_steps_however_large_the_policy_is() -> None:
    assert functions_called_to_decide(1000) == functions_called_to_decide(10)


def test_two_grants_of_one_method_to_one_role_give_the_scopes_of_both() -> None:
    one = '[[grant]]\nrole = "a"\nmethods = ["/s.S/{0}"]\nscopes = ["one"]\n'
    other = '[[grant]]\nrole = "a"\nmethods = ["/s.S/{0}"]\nscopes = ["other"]\n'
    head = 'trust_domain = "shop.internal"\n[roles]\na = ["spiffe://shop.internal/audit"]\n'
    for pattern in ("*", "Get"):
        for text in (one + other, other + one):
            policy = read_policy((head + text.format(pattern)).encode())
            decision = policy.decide(AUDIT, "/s.S/Get")
            assert decision.scopes == {"one", "other"}
            assert decision.line == 4
