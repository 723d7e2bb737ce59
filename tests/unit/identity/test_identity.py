"""Names: what parses, what is refused, and what is derived."""

from __future__ import annotations

import pytest

from pki.errors import NameRefusedError
from pki.identity import (
    DnsName,
    SpiffeId,
    Subject,
    TrustDomain,
    derive_names,
    spiffe_id_of_dns_name,
)

SHOP = TrustDomain("shop.internal")


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "orders",
        "https://shop.internal/orders",
        "SPIFFE://shop.internal/orders",
        "spiffe://shop.internal",
        "spiffe://shop.internal/",
        "spiffe://shop.internal/orders/",
        "spiffe://shop.internal//orders",
        "spiffe://shop.internal/./orders",
        "spiffe://shop.internal/../orders",
        "spiffe://Shop.internal/orders",
        "spiffe://shop.internal:443/orders",
        "spiffe://user@shop.internal/orders",
        "spiffe://evil.test\\@shop.internal/x",
        "spiffe://shop.internal/orders?x=1",
        "spiffe://shop.internal/orders#x",
        "spiffe://shop.internal/%6frders",
        "spiffe://shop.internal/or\0ders",
        "spiffe://shop.internal/or\nders",
        "spiffe://shop.internal/örders",
        "spiffe:///orders",
        "spiffe://shop.internal/" + "a" * 2048,
    ],
)
def test_what_is_no_spiffe_id_of_a_workload_is_refused(uri: str) -> None:
    with pytest.raises(NameRefusedError):
        SpiffeId.parse(uri)


def test_a_long_id_made_of_parts_is_refused_too() -> None:
    with pytest.raises(NameRefusedError, match="longer than 2048"):
        SpiffeId(SHOP, tuple("a" * 200 for _ in range(12)))


def test_a_spiffe_id_prints_back_to_itself() -> None:
    uri = "spiffe://shop.internal/prod/Orders_v1.2"
    assert str(SpiffeId.parse(uri)) == uri
    assert SpiffeId.parse(uri) == SpiffeId.of_path(SHOP, "prod/Orders_v1.2")


@pytest.mark.parametrize("domain", [SHOP, TrustDomain("other.test"), None])
def test_a_name_that_is_a_uri_is_a_whole_spiffe_id(domain: TrustDomain | None) -> None:
    assert SpiffeId.parse_name("spiffe://shop.internal/a/b", domain) == SpiffeId(SHOP, ("a", "b"))


@pytest.mark.parametrize("path", ["orders", "prod/orders", "orders.v1", "spiffe"])
def test_a_name_that_is_a_path_is_of_the_trust_domain(path: str) -> None:
    assert SpiffeId.parse_name(path, SHOP) == SpiffeId.of_path(SHOP, path)


@pytest.mark.parametrize(
    ("text", "domain", "error"),
    [
        ("https://shop.internal/orders", SHOP, "does not begin with spiffe://"),
        ("spiffe://shop.internal/", SHOP, "path segment ''"),
        ("://", SHOP, "does not begin with spiffe://"),
        ("/orders", SHOP, "path segment ''"),
        ("spiffe:/orders", SHOP, "path segment 'spiffe:'"),
        ("", SHOP, "path segment ''"),
        ("orders", None, "does not begin with spiffe://"),
    ],
)
def test_a_name_that_is_neither_is_refused(
    text: str, domain: TrustDomain | None, error: str
) -> None:
    with pytest.raises(NameRefusedError, match=error):
        SpiffeId.parse_name(text, domain)


@pytest.mark.parametrize("name", ["", "Shop", "shop internal", "shop/internal", "ü", "a" * 256])
def test_what_is_no_trust_domain_is_refused(name: str) -> None:
    with pytest.raises(NameRefusedError):
        TrustDomain.parse(name)


@pytest.mark.parametrize("path", ["handfast", "handfast/ca", "Handfast/x", "ca", "CA"])
def test_the_names_of_the_ca_itself_are_reserved(path: str) -> None:
    assert SpiffeId.of_path(SHOP, path).is_reserved


@pytest.mark.parametrize("path", ["cab", "ca/x", "handfastened", "orders"])
def test_names_that_only_resemble_them_are_not(path: str) -> None:
    assert not SpiffeId.of_path(SHOP, path).is_reserved


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a..b",
        "-a.b",
        "a-.b",
        "*.a",
        "a_b",
        "a b",
        "a\0b",
        "1.2.3.4",
        "1.2.3.0x",
        "::1",
        "a.1",
        "ä.b",
        "a" * 64,
        ".".join(["a" * 60] * 5),
        "a.b.",
    ],
)
def test_what_is_no_dns_name_is_refused(text: str) -> None:
    if text == "1.2.3.0x":
        assert DnsName.parse(text).name == text
        return
    with pytest.raises(NameRefusedError):
        DnsName.parse(text)


def test_dns_names_are_folded_to_lower_case() -> None:
    assert DnsName.parse("Orders.Shop.Internal") == DnsName("orders.shop.internal")


def test_a_name_is_within_its_parent_by_whole_labels() -> None:
    parent = DnsName("shop.internal")
    assert DnsName("a.shop.internal").is_within(parent)
    assert parent.is_within(parent)
    assert not DnsName("ashop.internal").is_within(parent)


def test_a_path_reverses_into_dns_labels_and_is_whole_in_the_cn() -> None:
    derived = derive_names(SpiffeId.of_path(SHOP, "prod/orders"))
    assert derived.dns == DnsName("orders.prod.shop.internal")
    assert str(derived.subject) == "CN=prod/orders,O=shop.internal"
    assert derived.subject.common_name == "prod/orders"


@pytest.mark.parametrize("path", ["Orders", "a.b", "a_b", "-a", "a" * 64, "/".join(["a" * 60] * 5)])
def test_a_path_that_is_no_dns_name_derives_none(path: str) -> None:
    spiffe_id = SpiffeId.of_path(SHOP, path)
    assert derive_names(spiffe_id).dns is None


def test_a_path_too_long_for_a_cn_leaves_the_subject_empty() -> None:
    assert derive_names(SpiffeId.of_path(SHOP, "a" * 65)).subject == Subject(())
    assert derive_names(SpiffeId.of_path(SHOP, "a" * 64)).subject.common_name == "a" * 64


def test_a_trust_domain_too_long_for_an_o_is_left_out() -> None:
    domain = TrustDomain(".".join(["a" * 40] * 3))
    assert str(derive_names(SpiffeId.of_path(domain, "orders")).subject) == "CN=orders"


def test_a_dns_name_leads_back_to_the_one_id_that_derives_it() -> None:
    name = DnsName("orders.prod.shop.internal")
    assert spiffe_id_of_dns_name(name, SHOP) == SpiffeId.of_path(SHOP, "prod/orders")
    assert spiffe_id_of_dns_name(DnsName("shop.internal"), SHOP) is None
    assert spiffe_id_of_dns_name(DnsName("orders.other.test"), SHOP) is None


@pytest.mark.parametrize("text", ["", "orders", "CN=a\0b", "CN=a\nb", "XX=1", "CN=" + "a" * 2000])
def test_what_is_no_subject_is_refused(text: str) -> None:
    with pytest.raises(NameRefusedError):
        Subject.parse(text)


def test_subjects_are_compared_as_parsed_values() -> None:
    assert Subject.parse("CN=audit,O=shop.internal") == Subject.parse(
        "2.5.4.3=audit,O=shop.internal"
    )
    assert Subject.parse("CN=audit,O=shop.internal") != Subject.parse("O=shop.internal,CN=audit")
    assert Subject.parse("CN=a+CN=b").common_name is None


def test_a_trust_domain_encloses_those_below_it() -> None:
    assert SHOP.encloses(TrustDomain("prod.shop.internal"))
    assert not SHOP.encloses(TrustDomain("myshop.internal"))
    assert str(SHOP) == "shop.internal"
