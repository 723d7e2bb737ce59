"""The policy: its decisions, and the errors of invalid files with their lines."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest

from pki.authz import MAX_POLICY_BYTES, Policy, Principal, Reason, explain, read_policy
from pki.durations import parse_duration
from pki.errors import InputError, PolicyError
from pki.identity import DnsName, SpiffeId, Subject, derive_names

TEXT = """\
trust_domain = "shop.internal"
policy_grace = "30s"
revocation_grace = "5m"

[roles]
storefront = ["spiffe://shop.internal/gateway"]
payments   = ["spiffe://shop.internal/payments"]
auditor    = ["dns:audit.shop.internal", "subject:CN=audit,O=shop.internal"]
prod       = ["spiffe://shop.internal/prod/*", "spiffe://shop.internal/*/main"]
anyone     = ["dns:*.shop.internal"]
partner    = ["spiffe://other.test/broker"]

[[grant]]
role = "storefront"
methods = ["/shop.v1.Orders/*"]
scopes = ["read", "write"]

[[grant]]
role = "auditor"
methods = [
  "/shop.v1.Orders/GetOrder",   # a comment
  "/shop.v1.Inventory/GetStock",
]
scopes = ["audit"]

[[grant]]
role = "partner"
methods = ["/shop.v1.Orders/GetOrder"]

[[served_by]]
service = "shop.v1.Payments"
role = "payments"
"""
POLICY = read_policy(TEXT.encode())
GET = "/shop.v1.Orders/GetOrder"
PLACE = "/shop.v1.Orders/PlaceOrder"


def workload(uri: str) -> Principal:
    spiffe_id = SpiffeId.parse(uri if "://" in uri else f"spiffe://shop.internal/{uri}")
    derived = derive_names(spiffe_id)
    return Principal(spiffe_id, frozenset({derived.dns} if derived.dns else ()), derived.subject)


def roles(principal: Principal, policy: Policy = POLICY) -> set[str]:
    return {match.role for match in policy.roles_of(principal)}


def test_names_map_to_roles_by_type() -> None:
    assert roles(workload("gateway")) == {"storefront", "anyone"}
    assert roles(workload("audit")) == {"auditor", "anyone"}
    assert roles(workload("spiffe://other.test/broker")) == {"partner"}


def test_a_wildcard_stands_for_one_whole_segment_or_label() -> None:
    assert roles(workload("prod/orders")) == {"prod"}
    assert roles(workload("dev/main")) == {"prod"}
    assert roles(workload("prod/main")) == {"prod"}
    assert roles(workload("prod")) == {"anyone"}
    assert roles(workload("prod/a/b")) == set()
    assert roles(Principal(None, frozenset({DnsName("a.shop.internal")}))) == set()


def test_dns_and_subject_count_for_the_policys_own_trust_domain_alone() -> None:
    foreign = Principal(
        SpiffeId.parse("spiffe://other.test/x"),
        frozenset({DnsName("audit.shop.internal")}),
        Subject.parse("CN=audit,O=shop.internal"),
    )
    assert roles(foreign) == set()
    nameless = Principal(None, foreign.dns_names, foreign.subject)
    assert roles(nameless) == set()


def test_the_same_text_under_another_type_never_matches() -> None:
    by_dns = read_policy(
        b'trust_domain = "shop.internal"\n[roles]\nadmin = ["dns:gateway.shop.internal"]\n'
    )
    uri_only = Principal(SpiffeId.parse("spiffe://shop.internal/gateway"))
    assert roles(uri_only, by_dns) == set()
    cn_only = Principal(
        SpiffeId.parse("spiffe://shop.internal/x"),
        subject=Subject.parse("CN=gateway.shop.internal"),
    )
    assert roles(cn_only, by_dns) == set()
    single = Principal(uri_only.spiffe_id, frozenset({DnsName("gateway")}), Subject(()))
    assert roles(single, by_dns) == set()


def test_a_grant_lets_its_role_call_and_names_itself() -> None:
    decision = POLICY.decide(workload("gateway"), PLACE)
    assert decision.allowed
    assert decision.reason is Reason.ALLOWED
    assert (decision.role, decision.line) == ("storefront", 13)
    assert decision.rule == "grant at policy.toml:13"
    assert decision.scopes == {"read", "write"}
    assert decision.roles == ("anyone", "storefront")


@pytest.mark.parametrize(
    ("peer", "method", "reason"),
    [
        ("audit", PLACE, Reason.METHOD_NOT_GRANTED),
        ("payments", GET, Reason.METHOD_NOT_GRANTED),
        ("prod/a/b", GET, Reason.NO_ROLE),
        ("gateway", "/shop.v1.Unknown/GetOrder", Reason.METHOD_NOT_GRANTED),
    ],
)
def test_what_no_grant_names_is_refused(peer: str, method: str, reason: Reason) -> None:
    decision = POLICY.decide(workload(peer), method)
    assert not decision.allowed
    assert decision.reason is reason
    assert (decision.rule, decision.role, decision.scopes) == ("", None, frozenset())


@pytest.mark.parametrize(
    "method",
    [
        "shop.v1.Orders/GetOrder",
        "//shop.v1.Orders/GetOrder",
        "/shop.v1.Orders/GetOrder/",
        "/shop.v1.Orders//GetOrder",
        "/shop.v1.Orders/",
        "/shop.v1.Orders",
        "/shop.v1.Orders/../Orders/GetOrder",
        "/shop.v1.Orders/..",
        "/shop.v1.Orders/Get%4frder",
        "/shop.v1.Orders/*",
        "/SHOP.v1.Orders/GetOrder",
        "/",
        "",
        "/shop.v1.Orders/Gét",
        "/shop.v1.Orders/Get Order",
    ],
)
def test_a_method_path_is_looked_up_exactly_as_sent(method: str) -> None:
    assert not POLICY.decide(workload("gateway"), method).allowed


def test_a_server_must_have_the_role_that_serves_the_service() -> None:
    served = POLICY.decide_served_by(workload("payments"), "shop.v1.Payments")
    assert served.allowed
    assert served.rule == "served_by at policy.toml:30"
    missing = POLICY.decide_served_by(workload("gateway"), "shop.v1.Payments")
    assert missing.reason is Reason.SERVER_ROLE_MISSING
    unknown = POLICY.decide_served_by(workload("payments"), "shop.v1.Orders")
    assert unknown.reason is Reason.SERVICE_NOT_LISTED
    assert not unknown.allowed


def test_scopes_of_every_grant_that_allows_come_together_in_any_order() -> None:
    grants = [
        '[[grant]]\nrole = "a"\nmethods = ["/s.S/*"]\nscopes = ["x"]\n',
        '[[grant]]\nrole = "a"\nmethods = ["/s.S/M"]\nscopes = ["y"]\n',
        '[[grant]]\nrole = "a"\nmethods = ["/s.S/N"]\nscopes = ["z"]\n',
    ]
    head = 'trust_domain = "d.test"\n[roles]\na = ["spiffe://d.test/w"]\n'
    for order in itertools.permutations(grants):
        policy = read_policy((head + "".join(order)).encode())
        assert policy.decide(workload("spiffe://d.test/w"), "/s.S/M").scopes == {"x", "y"}


def test_the_settings_are_read() -> None:
    assert POLICY.policy_grace == timedelta(seconds=30)
    assert POLICY.revocation_grace == timedelta(minutes=5)
    assert POLICY.trust_domain.name == "shop.internal"
    assert len(POLICY.digest) == 64


def edit(old: str, new: str) -> bytes:
    assert old in TEXT
    return TEXT.replace(old, new, 1).encode()


@pytest.mark.parametrize(
    ("data", "line", "words"),
    [
        (edit("scopes = [", "scope = ["), 16, "no key that a policy has"),
        (edit('role = "auditor"', 'role = "nobody"'), 19, "not defined"),
        (edit('role = "payments"', 'role = "nobody"'), 32, "not defined"),
        (edit("payments   =", "storefront ="), 7, "not valid TOML"),
        (edit('methods = ["/shop.v1.Orders/*"]', "methods = []"), 15, "at least 1"),
        (edit('["spiffe://shop.internal/payments"]', "[]"), 7, "at least 1"),
        (edit('"/shop.v1.Inventory/GetStock"', '"shop.v1.Inventory/GetStock"'), 22, "method"),
        (edit("GetStock", "Get*"), 22, "method"),
        (edit("GetStock", ".."), 22, "method"),
        (edit("GetStock", "a/b"), 22, "method"),
        (edit("GetStock", "%41"), 22, "method"),
        (edit("spiffe://shop.internal/prod/*", "spiffe://shop.internal/prod*"), 9, "segment"),
        (edit("spiffe://shop.internal/prod/*", "spiffe://*/prod"), 9, "trust domain"),
        (edit("dns:*.shop", "dns:a*.shop"), 10, "DNS name"),
        (edit("dns:audit.shop.internal", "audit.shop.internal"), 8, "begins with none"),
        (edit("subject:CN=audit", "subject:CN"), 8, "distinguished name"),
        (edit("storefront =", "Storefront ="), 6, "pattern"),
        (edit('policy_grace = "30s"', 'policy_grace = "30"'), 2, "no duration"),
        (edit('policy_grace = "30s"', "policy_grace = 30"), 2, "string"),
        (edit('revocation_grace = "5m"', 'revocation_grace = "999999999d"'), 3, "too long"),
        (edit('trust_domain = "shop.internal"', 'trust_domain = "Shop"'), 1, "trust domain"),
        (edit('service = "shop.v1.Payments"', 'service = "shop/Payments"'), 31, "service"),
        (edit('service = "shop.v1.Payments"\n', ""), 30, "missing"),
        (edit('scopes = ["audit"]', 'scopes = ["a b"]'), 24, "pattern"),
        (edit("[[served_by]]", "[[served_by]"), 30, "not valid TOML"),
        (TEXT.encode().replace(b"a comment", b"\xff"), 21, "UTF-8"),
        (
            TEXT.encode() + b'[[served_by]]\nservice = "shop.v1.Payments"\nrole = "partner"\n',
            34,
            "again",
        ),
        (b"", 0, "trust_domain"),
        (b'trust_domain = "a.b"\n[roles]\n[roles.x]\n', 3, "list"),
        (b"x = " + b"[" * 5000, 0, "nested"),
    ],
)
def test_a_bad_policy_is_refused_with_file_line_and_reason(
    data: bytes, line: int, words: str
) -> None:
    with pytest.raises(PolicyError, match=words) as caught:
        read_policy(data, source="shop.toml")
    assert caught.value.line == line
    assert str(caught.value).startswith(f"shop.toml:{line}:" if line else "shop.toml")


def test_a_policy_of_50_mb_is_refused_before_it_is_read() -> None:
    with pytest.raises(PolicyError, match="is the most"):
        read_policy(b"#" * 50_000_000)
    assert MAX_POLICY_BYTES < 50_000_000


@pytest.mark.parametrize("text", ["", "5", "s", "-5s", "1.5h", "5 s", "5w", "\u0665s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_duration(text)


def test_lines_are_found_in_whatever_form_the_file_is_written() -> None:
    data = b'''\
trust_domain = "shop.internal"
roles = { a = ["spiffe://shop.internal/a"], "b" = [
  """spiffe://shop.internal/b""",
  'spiffe://shop.internal/Bad Name' ] }
'''
    with pytest.raises(PolicyError) as caught:
        read_policy(data)
    assert caught.value.line in {2, 4}
    dotted = b'trust_domain = "shop.internal"\nroles.a = [\n\n  """x\n]""",\n  "bad" ]\n'
    with pytest.raises(PolicyError) as caught:
        read_policy(dotted)
    assert caught.value.line in {2, 4}


def test_an_explanation_names_each_step() -> None:
    allowed = explain(POLICY, workload("gateway"), PLACE)
    assert allowed.lines()[-1] == "allowed: ALLOWED"
    assert "policy.toml:6" in "\n".join(allowed.lines())
    refused = explain(POLICY, workload("audit"), PLACE)
    said = "\n".join(refused.lines())
    assert "/shop.v1.Orders/PlaceOrder is granted to storefront (policy.toml:13)" in said
    assert "auditor may call /shop.v1.Orders/GetOrder" in said
    nobody = explain(POLICY, workload("prod/a/b"), PLACE)
    assert "no name of this peer" in nobody.lines()[0]
    lonely = explain(POLICY, workload("prod/x"), PLACE)
    assert "no grant names any of these roles" in "\n".join(lonely.lines())
    assert refused.to_json()["allowed"] is False
