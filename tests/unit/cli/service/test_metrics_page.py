"""Where the page with metrics may be: in the clear on loopback addresses, and nowhere else."""

from __future__ import annotations

import socket
import urllib.request
from contextlib import AbstractContextManager

import pytest

import pki
from pki.cli.service.metrics_page import metrics_page, parse_metrics_address
from pki.errors import InputError, StateError


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464, True)),
        ("127.8.8.8:1", ("127.8.8.8", 1, True)),
        ("localhost:0", ("127.0.0.1", 0, True)),
        ("[::1]:65535", ("::1", 65535, True)),
        ("0.0.0.0:9464", ("0.0.0.0", 9464, False)),
        ("[::]:9464", ("::", 9464, False)),
        ("10.0.0.1:9464", ("10.0.0.1", 9464, False)),
        ("[::ffff:10.0.0.1]:9464", ("::ffff:a00:1", 9464, False)),
        ("169.254.1.1:9464", ("169.254.1.1", 9464, False)),
    ],
)
def test_it_is_known_whether_other_machines_reach_an_address(
    text: str, parsed: tuple[str, int, bool]
) -> None:
    assert parse_metrics_address(text) == parsed


def unreached() -> AbstractContextManager[pki.Workload]:
    raise AssertionError("a loopback address needs no workload")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        # A name is whatever the resolver says.
        ("ca.internal:9464", "no IP address"),
        ("localhost.evil.example:9464", "no IP address"),
        (":9464", "no IP address"),
        ("9464", "no IP address"),
        ("127.0.0.1", "no port number"),
        ("127.0.0.1:", "no port number"),
        ("127.0.0.1:http", "no port number"),
        ("127.0.0.1:-1", "no port number"),
        ("127.0.0.1:٣", "no port number"),
        ("127.0.0.1:65536", "ports end at 65535"),
        ("127.0.0.1:99999999999", "no port number"),
        ("", "no port number"),
    ],
)
def test_every_other_address_is_refused_with_a_reason(text: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        parse_metrics_address(text)


def test_the_page_ends_with_its_block() -> None:
    with metrics_page("127.0.0.1:0", (), unreached) as page:
        with urllib.request.urlopen(page, timeout=10) as answer:
            assert answer.status == 200
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(page, timeout=10)


def test_no_address_shows_nothing() -> None:
    with metrics_page(None, (), unreached) as page:
        assert page == ""


def test_a_port_that_is_taken_is_an_error_that_says_so() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        with pytest.raises(StateError, match="is in use by another process"):
            with metrics_page(f"127.0.0.1:{number}", (), unreached):
                pass
