"""``enforce = "audit"``: which refusals are only logged, and that nothing else is relaxed."""

from __future__ import annotations

import pytest

from pki.authz import Decision, Policy, Principal, Reason, explain, read_policy
from pki.errors import PolicyError
from pki.identity import SpiffeId, TrustDomain, derive_names

BODY = """\
trust_domain = "shop.internal"
[roles]
clerk = ["spiffe://shop.internal/gateway"]
payments = ["spiffe://shop.internal/payments"]
[[grant]]
role = "clerk"
methods = ["/shop.v1.Orders/Get"]
scopes = ["read"]
[[served_by]]
service = "shop.v1.Payments"
role = "payments"
"""
SETTLE = "/shop.v1.Payments/Settle"


def policy(*tables: str, whole: str = "") -> Policy:
    text = (f'enforce = "{whole}"\n' if whole else "") + BODY + "".join(tables)
    return read_policy(text.encode(), source="shop.toml")


def table(enforce: str, *methods: str) -> str:
    named = ", ".join(f'"{method}"' for method in methods)
    return f'[[enforcement]]\nmethods = [{named}]\nenforce = "{enforce}"\n'


def workload(path: str) -> Principal:
    spiffe_id = SpiffeId.of_path(TrustDomain("shop.internal"), path)
    derived = derive_names(spiffe_id)
    return Principal(spiffe_id, frozenset({derived.dns} if derived.dns else ()), derived.subject)


GATEWAY, STRANGER = workload("gateway"), workload("stranger")


def refused(text: str) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        read_policy(text.encode(), source="shop.toml")
    assert caught.value.remedy
    return caught.value


def test_without_a_word_every_refusal_is_enforced() -> None:
    for peer in (GATEWAY, STRANGER):
        assert not policy().decide(peer, SETTLE).audited
    assert policy().enforcement.audited_summary() == ""
    assert policy(whole="deny").enforcement.audited_summary() == ""


def test_in_audit_the_answer_stays_no_with_its_reason_and_says_it_is_not_enforced() -> None:
    tried = policy(whole="audit")
    assert tried.decide(STRANGER, SETTLE) == Decision(
        allowed=False,
        reason=Reason.NO_ROLE,
        roles=(),
        rule="audit at shop.toml:1",
        line=1,
        audited=True,
    )
    decision = tried.decide(GATEWAY, SETTLE)
    assert (decision.allowed, decision.audited) == (False, True)
    assert decision.reason is Reason.METHOD_NOT_GRANTED
    assert decision.roles == ("clerk",)
    assert decision.scopes == frozenset()


def test_what_a_grant_allows_is_not_audited() -> None:
    decision = policy(whole="audit").decide(GATEWAY, "/shop.v1.Orders/Get")
    assert decision.allowed
    assert not decision.audited
    assert decision.rule == "grant at shop.toml:6"


def test_a_method_alone_may_be_tried() -> None:
    tried = policy(table("audit", SETTLE))
    assert tried.decide(STRANGER, SETTLE).audited
    assert tried.decide(STRANGER, SETTLE).rule == "audit at shop.toml:12"
    assert not tried.decide(STRANGER, "/shop.v1.Payments/GetSettlement").audited
    assert not tried.decide(STRANGER, "/shop.v1.Orders/Get").audited


def test_the_nearest_word_counts_method_before_service_before_policy() -> None:
    strict = policy(
        table("deny", "/shop.v1.Payments/*"),
        table("audit", "/shop.v1.Payments/GetSettlement"),
        whole="audit",
    )
    assert strict.decide(STRANGER, "/shop.v1.Payments/GetSettlement").audited
    assert not strict.decide(STRANGER, SETTLE).audited
    assert strict.decide(STRANGER, "/shop.v1.Orders/Get").audited
    loose = policy(table("deny", SETTLE), table("audit", "/shop.v1.Payments/*"))
    assert not loose.decide(STRANGER, SETTLE).audited
    assert loose.decide(STRANGER, "/shop.v1.Payments/GetSettlement").audited
    assert not loose.decide(STRANGER, "/shop.v1.Orders/Get").audited


@pytest.mark.parametrize(
    "path",
    [
        "shop.v1.Payments/Settle",
        "//shop.v1.Payments/Settle",
        "/shop.v1.Payments/Settle/",
        "/shop.v1.Payments/*",
        "/shop.v1.Payments/%53ettle",
        "/shop.v1%2ePayments/Settle",
        "/shop.v1.Payments/../Settle",
        "/shop.v1.Payments/",
        "/shop.v1.Payments",
        "//Settle",
        "/shop.v1.Payments/S\u00e9ttle",
        "/shop.v1.Payments/Settle\n",
        "",
        "/",
    ],
)
def test_a_path_that_no_grant_could_name_is_refused_in_audit_too(path: str) -> None:
    decision = policy(whole="audit").decide(GATEWAY, path)
    assert not decision.allowed
    assert not decision.audited


@pytest.mark.parametrize("service", ["shop.v1.Payments", "shop.v1.Unknown"])
def test_who_may_answer_is_never_relaxed(service: str) -> None:
    tried = policy(table("audit", "/shop.v1.Payments/*"), whole="audit")
    decision = tried.decide_served_by(STRANGER, service)
    assert not decision.allowed
    assert not decision.audited


@pytest.mark.parametrize("word", ["Audit", "warn", "", "off", "audit "])
def test_a_word_that_is_neither_is_refused_with_its_line(word: str) -> None:
    error = refused(f'enforce = "{word}"\n{BODY}')
    assert (error.line, "neither deny nor audit" in error.message) == (1, True)
    error = refused(BODY + table(word, SETTLE))
    assert error.line == 14
    assert "enforcement.enforce: " in error.message


def test_a_word_of_another_type_is_refused() -> None:
    assert "should be a string, and is a boolean" in refused("enforce = true\n" + BODY).message


def test_methods_are_written_as_in_grants() -> None:
    error = refused(BODY + table("audit", "shop.v1.Payments/Settle"))
    assert error.line == 13
    assert "is not written /package.Service/Method" in error.message
    assert "is not written" in refused(BODY + table("audit", "/shop.v1.*/Get")).message
    assert "at least 1 element" in refused(BODY + table("audit")).message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f'[[enforcement]]\nmethods = ["{SETTLE}"]\n', "enforcement.enforce is missing"),
        ('[[enforcement]]\nenforce = "audit"\n', "enforcement.methods is missing"),
        (table("audit", SETTLE) + 'role = "clerk"\n', "enforcement.role is no key"),
        (f'[enforcement]\nmethods = ["{SETTLE}"]\nenforce = "audit"\n', "a list of tables"),
    ],
)
def test_a_table_that_is_not_by_the_schema_is_refused(text: str, words: str) -> None:
    assert words in refused(BODY + text).message


def test_a_method_named_twice_with_different_words_is_refused_with_its_line() -> None:
    error = refused(BODY + table("audit", SETTLE) + table("deny", "/shop.v1.Orders/Get", SETTLE))
    assert error.line == 16
    assert error.message == (
        f"shop.toml:16: enforcement says deny of '{SETTLE}', and line 13 says audit"
    )


def test_a_method_named_twice_with_the_same_word_is_taken() -> None:
    tried = policy(table("audit", SETTLE), table("audit", SETTLE))
    assert tried.decide(STRANGER, SETTLE).audited


def test_a_method_and_its_service_may_have_different_words() -> None:
    assert policy(table("audit", "/shop.v1.Payments/*"), table("deny", SETTLE))


def test_what_is_not_enforced_is_said_in_words() -> None:
    assert policy(whole="audit").enforcement.audited_summary() == "every method"
    assert (
        policy(table("deny", SETTLE), whole="audit").enforcement.audited_summary()
        == f"every method but {SETTLE}"
    )
    assert (
        policy(table("audit", SETTLE, "/s.S/*")).enforcement.audited_summary()
        == f"{SETTLE}, /s.S/*"
    )
    many = policy(table("audit", *(f"/s.S/M{number}" for number in range(12))))
    assert many.enforcement.audited_summary().endswith("/s.S/M9 and 2 more")


def test_a_table_that_only_denies_makes_no_policy_of_audit() -> None:
    assert not policy(table("deny", SETTLE)).enforcement.any_audit


def test_an_explanation_says_that_the_call_goes_through() -> None:
    explained = explain(policy(whole="audit"), GATEWAY, SETTLE)
    assert explained.lines()[-2:] == [
        'this is not enforced: enforce = "audit" (shop.toml:1)',
        "goes through, and is logged as one that would be refused: METHOD_NOT_GRANTED",
    ]
    said = explained.to_json()
    assert (said["allowed"], said["audited"]) == (False, True)
