"""What ``handfast ca serve`` says at its start."""

from __future__ import annotations

from pki.cli.service.serve import adopted_line


def test_one_workload_is_told_in_the_singular() -> None:
    assert adopted_line(["spiffe://a.test/x"]) == (
        "Registered 1 workload that has certificates from before: spiffe://a.test/x"
    )


def test_several_are_counted_and_the_first_named() -> None:
    names = [f"spiffe://a.test/{number}" for number in range(7)]
    line = adopted_line(names)
    assert line.startswith("Registered 7 workloads that have certificates from before: ")
    assert "and 2 more" in line
