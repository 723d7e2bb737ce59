"""What ``handfast ca serve`` says at its start."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.cli.service.serving import adopted_line
from tests.command import make_state
from tests.served_process import handfast


def test_one_workload_is_told_in_the_singular() -> None:
    assert adopted_line(["spiffe://a.test/x"]) == (
        "Registered 1 workload that has certificates from before: spiffe://a.test/x"
    )


def test_several_are_counted_and_the_first_named() -> None:
    names = [f"spiffe://a.test/{number}" for number in range(7)]
    line = adopted_line(names)
    assert line.startswith("Registered 7 workloads that have certificates from before: ")
    assert "and 2 more" in line


@pytest.fixture
def taken() -> Iterator[int]:
    """A port of the loopback on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.mark.parametrize("option", ["--listen", "--enroll-listen", "--metrics"])
def test_a_port_in_use_is_one_line_and_nothing_is_issued(
    tmp_path: Path, taken: int, option: str
) -> None:
    make_state(tmp_path)
    free = {"--listen": "127.0.0.1:0", "--enroll-listen": "127.0.0.1:0"}
    chosen = {**free, option: f"127.0.0.1:{taken}"}
    done = handfast(tmp_path, "ca", "serve", *(word for pair in chosen.items() for word in pair))
    assert done.returncode == 1
    assert done.stderr == (
        f"handfast: 127.0.0.1:{taken} is in use by another process. Stop it, or choose another "
        f"with {option}\n"
    )
    with Authority.open(tmp_path / "ca", read_only=True) as authority:
        assert list(authority.certificates()) == []


def test_an_address_without_a_port_and_one_address_for_both_are_refused(tmp_path: Path) -> None:
    make_state(tmp_path)
    done = handfast(tmp_path, "ca", "serve", "--listen", "127.0.0.1")
    assert "--listen '127.0.0.1' has no port number. Write HOST:PORT" in done.stderr
    both = ("--listen", "127.0.0.1:8443", "--enroll-listen", "127.0.0.1:8443")
    done = handfast(tmp_path, "ca", "serve", *both)
    assert "--listen and --enroll-listen are both 127.0.0.1:8443" in done.stderr
