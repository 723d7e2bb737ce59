"""The explanation of a decision: every step with its line, for people and for scripts."""

from __future__ import annotations

import json

from pki.authz import Principal, explain, read_policy
from pki.identity import SpiffeId, TrustDomain, derive_names

POLICY = read_policy(
    b"""\
trust_domain = "shop.internal"
[roles]
clerk = ["spiffe://shop.internal/gateway", "dns:*.prod.shop.internal"]
reader = ["spiffe://shop.internal/audit"]
idle = ["spiffe://shop.internal/idle"]
[[grant]]
role = "clerk"
methods = ["/shop.v1.Orders/*"]
scopes = ["write"]
[[grant]]
role = "reader"
methods = ["/shop.v1.Orders/Get", "/shop.v1.Stock/Get"]
[[grant]]
role = "reader"
methods = ["/shop.v1.Stock/List"]
""",
    source="shop.toml",
)
PLACE = "/shop.v1.Orders/Place"


def workload(path: str, trust_domain: str = "shop.internal") -> Principal:
    spiffe_id = SpiffeId.of_path(TrustDomain(trust_domain), path)
    derived = derive_names(spiffe_id)
    return Principal(spiffe_id, frozenset({derived.dns} if derived.dns else ()), derived.subject)


def test_an_allowed_call_names_the_name_the_role_and_the_grant() -> None:
    assert explain(POLICY, workload("gateway"), PLACE).lines() == [
        "spiffe://shop.internal/gateway gives the role clerk (shop.toml:3)",
        "grant at shop.toml:6 lets clerk call /shop.v1.Orders/Place",
        "allowed: ALLOWED",
    ]


def test_a_call_that_no_role_of_the_peer_may_make_names_what_they_may_and_who_may() -> None:
    assert explain(POLICY, workload("audit"), PLACE).lines() == [
        "spiffe://shop.internal/audit gives the role reader (shop.toml:4)",
        "reader may call /shop.v1.Orders/Get, /shop.v1.Stock/Get (shop.toml:10)",
        "reader may call /shop.v1.Stock/List (shop.toml:13)",
        "/shop.v1.Orders/Place is granted to clerk (shop.toml:6)",
        "refused: METHOD_NOT_GRANTED",
    ]


def test_a_role_without_any_grant_is_said_to_have_none() -> None:
    said = explain(POLICY, workload("idle"), "/shop.v1.Stock/Get").lines()
    assert said == [
        "spiffe://shop.internal/idle gives the role idle (shop.toml:5)",
        "no grant names any of these roles",
        "/shop.v1.Stock/Get is granted to reader (shop.toml:10)",
        "refused: METHOD_NOT_GRANTED",
    ]


def test_a_peer_without_a_role_is_told_which_names_were_tried() -> None:
    assert explain(POLICY, workload("stranger"), PLACE).lines() == [
        "no name of this peer is listed under any role",
        "tried spiffe://shop.internal/stranger",
        "tried dns:stranger.shop.internal",
        "tried subject:CN=stranger,O=shop.internal",
        "/shop.v1.Orders/Place is granted to clerk (shop.toml:6)",
        "refused: NO_ROLE",
    ]


def test_a_peer_of_another_trust_domain_is_told_which_names_do_not_count() -> None:
    said = explain(POLICY, workload("x", "prod.shop.internal"), PLACE).lines()
    assert said[1:4] == [
        "tried spiffe://prod.shop.internal/x",
        "not tried: dns:x.prod.shop.internal, because the peer is not of the policy's trust domain",
        "not tried: subject:CN=x,O=prod.shop.internal, because the peer is not of the policy's "
        "trust domain",
    ]


def test_a_peer_without_names_is_told_so() -> None:
    assert explain(POLICY, Principal(None), "/shop.v1.None/Get").lines() == [
        "no name of this peer is listed under any role",
        "refused: NO_ROLE",
    ]


def test_a_malformed_path_is_granted_to_nobody_and_shown_escaped() -> None:
    for method in ("/shop.v1.Orders/Get/", "/shop.v1.Orders/\x1b[2J", "shop.v1.Orders/Get", ""):
        explained = explain(POLICY, workload("idle"), method)
        assert explained.others == ()
        assert "\x1b" not in "".join(explained.lines())
    allowed = explain(POLICY, workload("gateway"), "/shop.v1.Orders/\x1b")
    assert not allowed.decision.allowed


def test_the_same_is_had_for_scripts() -> None:
    found = explain(POLICY, workload("audit"), PLACE).to_json()
    assert json.loads(json.dumps(found)) == {
        "method": PLACE,
        "allowed": False,
        "reason": "METHOD_NOT_GRANTED",
        "audited": False,
        "roles": ["reader"],
        "role": None,
        "rule": "",
        "line": 0,
        "scopes": [],
        "names": [
            {"name": "spiffe://shop.internal/audit", "is_used": True},
            {"name": "dns:audit.shop.internal", "is_used": True},
            {"name": "subject:CN=audit,O=shop.internal", "is_used": True},
        ],
        "matches": [{"role": "reader", "pattern": "spiffe://shop.internal/audit", "line": 4}],
        "grants": [
            {
                "role": "reader",
                "methods": ["/shop.v1.Orders/Get", "/shop.v1.Stock/Get"],
                "scopes": [],
                "line": 10,
            },
            {"role": "reader", "methods": ["/shop.v1.Stock/List"], "scopes": [], "line": 13},
        ],
        "others": [
            {"role": "clerk", "methods": ["/shop.v1.Orders/*"], "scopes": ["write"], "line": 6}
        ],
        "suggestions": [],
    }
