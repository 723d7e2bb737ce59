"""Subjects as text: complete, escaped, deterministic, and never a host name by accident."""

from __future__ import annotations

import pytest
from cryptography import x509

from pki.errors import NameRefusedError
from pki.identity import SpiffeId, Subject, TrustDomain, derive_names

SHOP = TrustDomain("shop.internal")
CN = x509.NameOID.COMMON_NAME.dotted_string
OU = x509.NameOID.ORGANIZATIONAL_UNIT_NAME.dotted_string
COUNTRY = x509.NameOID.COUNTRY_NAME.dotted_string


def subject(*rdns: dict[str, str]) -> Subject:
    return Subject(tuple(frozenset(rdn.items()) for rdn in rdns))


@pytest.mark.parametrize(
    "text", [r"CN=a\00b", r"CN=a\0ab", r"CN=a\1b[31m", r"CN=a\e2\80\aeb", r"CN=a,O=\c2\80"]
)
def test_an_escape_that_stands_for_an_unprintable_character_is_refused(text: str) -> None:
    assert text.isprintable()
    with pytest.raises(NameRefusedError, match="unprintable"):
        Subject.parse(text)


def test_an_escape_that_stands_for_a_printable_character_is_read() -> None:
    assert Subject.parse(r"CN=a\2cb").common_name == "a,b"
    assert Subject.parse(r"CN=\c3\b6rders").common_name == "örders"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a,O=b", r"CN=a\,O=b"),
        ("a+b", r"CN=a\+b"),
        ('a"b', r"CN=a\"b"),
        ("a;b<c>d", r"CN=a\;b\<c\>d"),
        ("a\\b", r"CN=a\\b"),
        ("#a", r"CN=\#a"),
        (" a ", r"CN=\ a\ "),
        (" ", r"CN=\ "),
        ("a=b#c d", "CN=a=b#c d"),
        ("a\0b", r"CN=a\00b"),
    ],
)
def test_a_value_is_escaped_so_that_it_forges_no_other_attribute(value: str, text: str) -> None:
    assert str(subject({CN: value})) == text


@pytest.mark.parametrize("text", ["CN=#0403020101", "CN=#"])
def test_a_value_that_is_no_text_is_refused(text: str) -> None:
    with pytest.raises(NameRefusedError):
        Subject.parse(text)


def test_the_parts_of_one_rdn_are_written_in_one_order() -> None:
    # In the order of a frozenset, the text would differ between processes.
    assert str(subject({OU: "b", CN: "a"}, {"1.2.3": "c"})) == "1.2.3=c,OU=b+CN=a"
    assert Subject.parse("CN=a+OU=b") == Subject.parse("OU=b+CN=a")


@pytest.mark.parametrize("rdn", [{CN: "a" * 65}, {COUNTRY: "DEU"}, {CN: ""}])
def test_what_another_ca_wrote_is_shown_and_not_signed(rdn: dict[str, str]) -> None:
    theirs = subject(rdn)
    assert str(theirs).endswith(next(iter(rdn.values())))
    with pytest.raises(NameRefusedError, match="can't be written in a certificate"):
        theirs.to_name()


def test_a_name_with_a_value_that_is_no_text_is_refused() -> None:
    odd = x509.Name(
        [
            x509.NameAttribute(
                x509.NameOID.X500_UNIQUE_IDENTIFIER, b"\x01", x509.name._ASN1Type.BitString
            )
        ]
    )
    with pytest.raises(NameRefusedError, match="is not text"):
        Subject.of_name(odd)


@pytest.mark.parametrize("path", ["orders.v1", "orders.shop.internal", "a.b.c", "10.0.0.1"])
def test_a_path_that_reads_as_a_host_name_is_left_out_of_the_cn(path: str) -> None:
    derived = derive_names(SpiffeId.of_path(SHOP, path))
    assert derived.subject == Subject(())
    assert derived.dns is None


@pytest.mark.parametrize("path", ["orders", "prod/orders.v1", "Orders", "a_b"])
def test_a_path_that_reads_as_no_host_name_is_whole_in_the_cn(path: str) -> None:
    assert derive_names(SpiffeId.of_path(SHOP, path)).subject.common_name == path
