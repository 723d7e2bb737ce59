"""Which proxy gRPC takes: each case was seen with grpcio 1.85.1."""

from __future__ import annotations

import pytest

from pki.tls.proxy import choose_proxy

PROXY = "http://proxy.internal:3128"


def chosen(host: str = "payments.shop.internal", **environment: str) -> str | None:
    choice = choose_proxy(host, 8443, environment)
    return None if choice.proxy is None else f"{choice.proxy.host}:{choice.proxy.port}"


def test_without_a_variable_grpc_connects_directly() -> None:
    assert choose_proxy("payments", 8443, {"no_proxy": "*"}).variable == ""
    assert chosen(HTTP_PROXY=PROXY, ALL_PROXY=PROXY) is None


@pytest.mark.parametrize("variable", ["grpc_proxy", "https_proxy", "http_proxy"])
def test_the_first_variable_that_is_set_counts(variable: str) -> None:
    later = {"http_proxy": "http://last.internal:1"}
    choice = choose_proxy("payments", 8443, {**later, variable: PROXY})
    assert choice.proxy is not None
    assert (choice.proxy.host, choice.proxy.variable) == ("proxy.internal", variable)


def test_a_variable_that_is_set_to_nothing_turns_the_proxy_off() -> None:
    assert chosen(grpc_proxy="", http_proxy=PROXY) is None


def test_an_exception_list_that_is_set_to_nothing_excepts_nobody() -> None:
    host = "payments.shop.internal"
    assert chosen(host, http_proxy=PROXY, no_grpc_proxy="", no_proxy=host) is not None


@pytest.mark.parametrize(
    ("host", "exceptions"),
    [
        ("localhost", "localhost"),
        ("localhost", " localhost "),
        ("localhost", "LOCALHOST"),
        ("localhost", ".localhost"),
        ("a.localhost", "localhost"),
        ("a.localhost", ".localhost"),
        ("a.localhost", "x,localhost"),
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "127.0.0.0/8"),
        ("127.0.0.1", "0.0.1"),
        ("::1", "::1"),
        ("::1", "::/0"),
    ],
)
def test_a_host_in_the_list_of_exceptions_is_reached_directly(host: str, exceptions: str) -> None:
    choice = choose_proxy(host, 8443, {"http_proxy": PROXY, "no_proxy": exceptions})
    assert (choice.proxy, choice.exception) == (None, "no_proxy")


@pytest.mark.parametrize(
    ("host", "exceptions"),
    [
        ("localhost", ""),
        ("localhost", " "),
        ("localhost", "."),
        ("localhost", "*"),
        ("localhost", "*.localhost"),
        ("localhost", "ocalhost"),
        ("a.localhost", "calhost"),
        ("xlocalhost", "localhost"),
        ("localhost", "localhost:8443"),
        ("localhost.", "localhost"),
        ("localhost", "127.0.0.0/8"),
    ],
)
def test_a_host_that_the_list_does_not_name_goes_through_the_proxy(
    host: str, exceptions: str
) -> None:
    assert chosen(host, http_proxy=PROXY, no_proxy=exceptions) == "proxy.internal:3128"


def test_a_proxy_without_a_port_listens_at_443_for_grpc() -> None:
    assert chosen(http_proxy="http://proxy.internal") == "proxy.internal:443"


@pytest.mark.parametrize(
    "url", ["https://proxy.internal:3128", "proxy.internal:3128", "socks5://x:1", "http://", "x"]
)
def test_what_is_no_http_proxy_is_told_apart_from_none(url: str) -> None:
    choice = choose_proxy("payments", 8443, {"https_proxy": url})
    assert (choice.proxy, choice.variable, choice.is_unusable) == (None, "https_proxy", True)


def test_no_text_of_a_proxy_holds_its_password() -> None:
    choice = choose_proxy("payments", 8443, {"http_proxy": "http://me:secret@proxy.internal:3128"})
    assert choice.proxy is not None
    assert choice.proxy.authorization == "Basic bWU6c2VjcmV0"
    for text in (str(choice.proxy), repr(choice)):
        assert "secret" not in text
        assert "bWU6c2VjcmV0" not in text
