"""Which names of a peer give which roles: by type, as a whole, never across types."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from pki.authz import Principal, RoleMatch, read_policy
from pki.errors import NameRefusedError
from pki.identity import DnsName, SpiffeId, Subject


def principal(
    uri: str | None, dns: Iterable[str] = (), subject: str | None = None, proof: str = "x509-svid"
) -> Principal:
    return Principal(
        SpiffeId.parse(uri) if uri else None,
        frozenset(DnsName.parse(name) for name in dns),
        Subject.parse(subject) if subject else None,
        proof,
    )


def has_role(name: str, peer: Principal) -> bool:
    text = f"trust_domain = 'shop.internal'\n[roles]\nadmin = ['{name}']\n"
    return bool(read_policy(text.encode()).roles_of(peer))


ORDERS = "spiffe://shop.internal/orders"


@pytest.mark.parametrize(
    ("name", "uri"),
    [
        (ORDERS, ORDERS),
        ("spiffe://shop.internal/*", ORDERS),
        ("spiffe://shop.internal/*/orders", "spiffe://shop.internal/prod/orders"),
        ("spiffe://shop.internal/prod/*", "spiffe://shop.internal/prod/orders"),
        ("spiffe://shop.internal/*/*", "spiffe://shop.internal/prod/orders"),
        ("spiffe://other.test/orders", "spiffe://other.test/orders"),
        ("spiffe://other.test/*", "spiffe://other.test/orders"),
        ("spiffe://shop.internal/Orders_v1.2", "spiffe://shop.internal/Orders_v1.2"),
    ],
)
def test_a_spiffe_id_matches(name: str, uri: str) -> None:
    assert has_role(name, principal(uri))


@pytest.mark.parametrize(
    ("name", "uri"),
    [
        (ORDERS, "spiffe://shop.internal/Orders"),
        (ORDERS, "spiffe://shop.internal/orders2"),
        (ORDERS, "spiffe://shop.internal/orders/x"),
        (ORDERS, "spiffe://shop.internal/x/orders"),
        (ORDERS, "spiffe://other.test/orders"),
        (ORDERS, "spiffe://shop.internal.evil.test/orders"),
        (ORDERS, "spiffe://prod.shop.internal/orders"),
        ("spiffe://shop.internal/*", "spiffe://other.test/orders"),
        ("spiffe://shop.internal/*", "spiffe://shop.internal/prod/orders"),
        ("spiffe://shop.internal/*/orders", ORDERS),
        ("spiffe://shop.internal/*/orders", "spiffe://shop.internal/a/b/orders"),
        ("spiffe://shop.internal/*/orders", "spiffe://shop.internal/prod/payments"),
        ("spiffe://shop.internal/prod/*", "spiffe://shop.internal/prod"),
        ("spiffe://shop.internal/prod/*", "spiffe://shop.internal/test/orders"),
        ("spiffe://shop.internal/wildcard", "spiffe://shop.internal/other"),
    ],
)
def test_another_spiffe_id_does_not_match(name: str, uri: str) -> None:
    assert not has_role(name, principal(uri))


def test_the_word_that_stands_in_for_a_star_is_no_star() -> None:
    assert has_role("spiffe://shop.internal/*", principal("spiffe://shop.internal/wildcard"))
    assert not has_role("spiffe://shop.internal/wildcard", principal(ORDERS))


@pytest.mark.parametrize(
    ("name", "dns"),
    [
        ("dns:orders.shop.internal", "orders.shop.internal"),
        ("dns:Orders.Shop.Internal", "orders.shop.internal"),
        ("dns:*.shop.internal", "orders.shop.internal"),
        ("dns:*.internal", "shop.internal"),
        ("dns:localhost", "localhost"),
        ("dns:elsewhere.test", "elsewhere.test"),
    ],
)
def test_a_dns_name_matches(name: str, dns: str) -> None:
    assert has_role(name, principal(ORDERS, [dns]))
    assert has_role(name, principal(ORDERS, ["first.test", dns, "last.test"]))


@pytest.mark.parametrize(
    ("name", "dns"),
    [
        ("dns:orders.shop.internal", "xorders.shop.internal"),
        ("dns:orders.shop.internal", "orders.shop.internal.evil.test"),
        ("dns:orders.shop.internal", "orders.shop"),
        ("dns:*.shop.internal", "shop.internal"),
        ("dns:*.shop.internal", "a.b.shop.internal"),
        ("dns:*.shop.internal", "ashop.internal"),
        ("dns:*.shop.internal", "orders.shop.internal.evil.test"),
        ("dns:shop.internal", "orders.shop.internal"),
        ("dns:*.localhost", "localhost"),
    ],
)
def test_another_dns_name_does_not_match(name: str, dns: str) -> None:
    assert not has_role(name, principal(ORDERS, [dns]))


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("subject:CN=orders,O=shop.internal", "CN=orders,O=shop.internal"),
        ("subject:2.5.4.3=orders,O=shop.internal", "CN=orders,O=shop.internal"),
        ("subject:O=shop.internal+CN=orders", "CN=orders+O=shop.internal"),
        (r"subject:CN=\2a", r"CN=\2a"),
    ],
)
def test_a_whole_subject_matches(name: str, subject: str) -> None:
    assert has_role(name, principal(ORDERS, subject=subject))


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("subject:CN=orders,O=shop.internal", "O=shop.internal,CN=orders"),
        ("subject:CN=orders,O=shop.internal", "CN=orders"),
        ("subject:CN=orders", "CN=orders,O=shop.internal"),
        ("subject:CN=orders,O=shop.internal", "CN=orders,O=shop.internal,C=CH"),
        ("subject:CN=orders,O=shop.internal", "CN=orders+O=shop.internal"),
        ("subject:CN=orders,O=shop.internal", "CN=Orders,O=shop.internal"),
        ("subject:CN=orders,O=shop.internal", r"CN=orders\,O\=shop.internal"),
        ("subject:CN=orders,O=shop.internal", "OU=orders,O=shop.internal"),
        (r"subject:CN=\2a", "CN=orders"),
        ("subject:CN=orders", "CN=orders+CN=admin"),
    ],
)
def test_another_subject_does_not_match(name: str, subject: str) -> None:
    assert not has_role(name, principal(ORDERS, subject=subject))


def test_a_cn_without_the_uri_san_matches_nothing() -> None:
    impostor = principal(None, ["orders.shop.internal"], "CN=orders,O=shop.internal")
    for name in (
        ORDERS,
        "spiffe://shop.internal/*",
        "dns:orders.shop.internal",
        "dns:*.shop.internal",
        "subject:CN=orders,O=shop.internal",
    ):
        assert not has_role(name, impostor)


@pytest.mark.parametrize(
    "name",
    ["dns:orders.shop.internal", "dns:*.shop.internal", "subject:CN=orders,O=shop.internal"],
)
def test_dns_names_and_subjects_of_another_trust_domain_do_not_count(name: str) -> None:
    names = (["orders.shop.internal"], "CN=orders,O=shop.internal")
    assert has_role(name, principal(ORDERS, *names))
    assert not has_role(name, principal("spiffe://other.test/orders", *names))
    assert not has_role(name, principal("spiffe://prod.shop.internal/orders", *names))


def test_the_same_text_as_another_type_of_name_does_not_match() -> None:
    as_subject = principal("spiffe://shop.internal/x", subject="CN=a.b")
    as_dns = principal("spiffe://shop.internal/x", ["a.b"])
    as_path = principal("spiffe://shop.internal/a.b")
    as_cn_of_an_id = principal(
        "spiffe://shop.internal/x", subject="CN=spiffe://shop.internal/admin"
    )
    assert has_role("subject:CN=a.b", as_subject)
    assert has_role("dns:a.b", as_dns)
    for name, peers in {
        "dns:a.b": (as_subject, as_path),
        "subject:CN=a.b": (as_dns, as_path),
        "spiffe://shop.internal/a.b": (as_dns, as_subject),
        "spiffe://shop.internal/admin": (as_cn_of_an_id,),
    }.items():
        for peer in peers:
            assert not has_role(name, peer)


@pytest.mark.parametrize(
    "text", ["spiffe://shop.internal/admin", "admin.shop.internal\0.evil.test", "a@b.c", "*.a.b"]
)
def test_a_principal_can_not_hold_such_a_dns_name_at_all(text: str) -> None:
    with pytest.raises(NameRefusedError):
        principal(ORDERS, [text])


def test_an_empty_subject_matches_nothing() -> None:
    peer = Principal(SpiffeId.parse(ORDERS), subject=Subject(()))
    text = "trust_domain = 'shop.internal'\n[roles]\nadmin = ['subject:CN=admin']\n"
    assert read_policy(text.encode()).roles_of(peer) == ()


def test_a_peer_has_every_role_that_its_names_give_and_each_says_why() -> None:
    policy = read_policy(
        b"""\
trust_domain = "shop.internal"
[roles]
one = ["spiffe://shop.internal/orders"]
two = ["dns:*.shop.internal", "spiffe://shop.internal/*"]
three = ["subject:CN=orders,O=shop.internal"]
four = ["spiffe://shop.internal/payments"]
"""
    )
    peer = principal(ORDERS, ["orders.shop.internal"], "CN=orders,O=shop.internal")
    assert policy.roles_of(peer) == (
        RoleMatch("one", "spiffe://shop.internal/orders", 3),
        RoleMatch("three", "subject:CN=orders,O=shop.internal", 5),
        RoleMatch("two", "dns:*.shop.internal", 4),
        RoleMatch("two", "spiffe://shop.internal/*", 4),
    )


def test_one_name_may_give_several_roles() -> None:
    text = f"trust_domain = 'a'\n[roles]\none = ['{ORDERS}']\ntwo = ['{ORDERS}', '{ORDERS}']\n"
    policy = read_policy(text.encode())
    assert [match.role for match in policy.roles_of(principal(ORDERS))] == ["one", "two"]


def test_principals_are_values() -> None:
    names = (ORDERS, ["orders.shop.internal"], "CN=orders,O=shop.internal")
    assert {principal(*names), principal(*names)} == {principal(*names)}
    assert principal(*names) != principal(*names, proof="oidc")
    with pytest.raises(AttributeError):
        principal(*names).proof = "forged"  # type: ignore[misc]
