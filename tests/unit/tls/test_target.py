"""A target's addresses, and their notation in gRPC."""

from __future__ import annotations

import socket

import pytest

from pki.errors import InputError
from pki.tls.target import Address, Target, format_address, grpc_name

V4: Address = (socket.AF_INET, ("10.0.0.1", 443))
V6: Address = (socket.AF_INET6, ("2001:db8::1", 443, 0, 0))
LINK: Address = (socket.AF_INET6, ("fe80::1", 443, 0, 2))


def test_an_address_that_is_named_twice_counts_once() -> None:
    target = Target.parse("ipv4:127.0.0.1:1,127.0.0.1:2,127.0.0.1:1")
    assert [where for _, where in target.addresses()] == [("127.0.0.1", 1), ("127.0.0.1", 2)]
    assert target.is_literal


@pytest.mark.parametrize(
    "text", ["ipv6:%5B::1%5D:7", "ipv6:[::1]:7", "[::1]:7", "ipv6:%5b::1%5d:7"]
)
def test_an_ipv6_address_may_be_percent_encoded(text: str) -> None:
    assert Target.parse(text).hosts == (("::1", 7),)


def test_addresses_of_both_families_go_into_one_target() -> None:
    target = Target.parse("orders:443")
    assert target.grpc_target([V4]) == "ipv4:10.0.0.1:443"
    assert target.grpc_target([V6, V4]) == "ipv6:[2001:db8::1]:443,[::ffff:10.0.0.1]:443"
    assert target.grpc_target([LINK]) == "ipv6:[fe80::1%252]:443"


def test_a_unix_socket_is_called_as_it_was_given() -> None:
    target = Target.parse("unix:/tmp/s")
    assert target.grpc_target(target.addresses()) == "unix:/tmp/s"


def test_connections_are_known_by_the_names_that_grpc_tells() -> None:
    assert grpc_name(V4) == "ipv4:10.0.0.1:443"
    assert grpc_name(V6) == "ipv6:%5B2001:db8::1%5D:443"


def test_addresses_are_shown_as_people_write_them() -> None:
    assert format_address(V4) == "10.0.0.1:443"
    assert format_address(V6) == "[2001:db8::1]:443"
    assert "unix:" in format_address((socket.AF_UNIX, b"\0abstract"))


def test_one_address_of_a_target_is_a_target_of_its_own() -> None:
    assert Target.parse("ipv4:10.0.0.1:443,10.0.0.2:443").at(V4).addresses() == [V4]


@pytest.mark.parametrize("text", ["unix:/a#b", "unix:///a?b", "unix-abstract:a#b"])
def test_what_grpc_reads_as_the_end_of_a_path_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="'#' or"):
        Target.parse(text)
