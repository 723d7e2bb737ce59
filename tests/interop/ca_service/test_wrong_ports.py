"""A CA has two ports. Whoever takes the wrong one is told which one is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from pki.ca_client import CaIdentity
from pki.proofs import EnrollmentToken
from tests.ca_service import Served
from tests.command import Capture, make_state, run_command


@pytest.fixture
def ops(ca: Served, tmp_path: Path) -> Path:
    """The directory of an admin."""
    CaIdentity(tmp_path / "ops", token=EnrollmentToken.parse(ca.token("ops"))).close()
    return tmp_path / "ops"


@pytest.mark.parametrize(
    "command", [("registration", "list"), ("list",), ("ca", "rotate", "status")]
)
def test_a_command_at_the_port_for_enrollment_names_the_other(
    ca: Served, ops: Path, capsys: Capture, command: tuple[str, ...]
) -> None:
    asked = ("--ca", ca.enroll_address, "--credential", ops)
    code, _, err = run_command(capsys, *command, *asked)
    assert code == 1
    assert err.startswith(f"handfast: {ca.enroll_address}: the server does not offer this call")
    assert "Use the CA's port for mutual TLS, 8443 by default" in err
    assert err.count("\n") == 1


def test_a_token_for_the_port_for_mutual_tls_names_the_other(
    ca: Served, tmp_path: Path, capsys: Capture
) -> None:
    token = EnrollmentToken.parse(ca.token("orders"))
    wrong = EnrollmentToken(ca.address, token.trust_domain, token.root, token.credential)
    code, _, err = run_command(capsys, "enroll", str(wrong), "--out", tmp_path / "orders")
    assert code == 1
    assert f"the server at {ca.address} asks for a client certificate" in err
    assert "Use the CA's port for enrollment, 8444 by default" in err
    assert "Somebody else" not in err


def test_a_probe_with_roots_at_the_port_for_mutual_tls_names_the_other(
    ca: Served, tmp_path: Path, capsys: Capture
) -> None:
    bundle = tmp_path / "ca" / "bundle.pem"
    code, _, err = run_command(capsys, "probe", ca.address, "--bundle", bundle)
    assert code == 3
    assert "Use the CA's port for enrollment, 8444 by default" in err


def test_a_probe_of_a_ca_with_a_credential_says_whom_to_name(
    ca: Served, ops: Path, capsys: Capture
) -> None:
    code, out, _ = run_command(capsys, "probe", ca.address, "--credential", ops)
    assert code == 3
    assert "names another workload. Say who must be there: --name NAME" in out
    assert "handfast/ca for a CA" in out
    named = ("--credential", ops, "--name", "handfast/ca")
    assert run_command(capsys, "probe", ca.address, *named)[0] == 0


@pytest.mark.parametrize(
    "command",
    [
        ("token", "create", "orders", "--address"),
        ("registration", "list", "--ca"),
        ("enroll", "--out", "orders", "--jwt-file", "a", "--bundle", "b", "--address"),
    ],
)
@pytest.mark.parametrize("address", ["127.0.0.1", "ca.shop.internal", "dns:///ca.shop.internal"])
def test_an_address_without_a_port_is_wrong_usage(
    capsys: Capture, command: tuple[str, ...], address: str
) -> None:
    code, _, err = run_command(capsys, *command, address)
    assert code == 2
    assert f"'{address}' has no port. Write HOST:PORT" in err


@pytest.mark.parametrize("address", ["[::1]:8444", "dns:///ca.shop.internal:8444", "unix:/run/ca"])
def test_an_address_as_grpc_names_it_is_taken(
    tmp_path: Path, capsys: Capture, address: str
) -> None:
    make_state(tmp_path / "certs", "orders")
    state = ("--dir", tmp_path / "certs")
    assert run_command(capsys, "registration", "create", "orders", *state)[0] == 0
    code, out, err = run_command(capsys, "token", "create", "orders", "--address", address, *state)
    assert code == 0, err
    assert EnrollmentToken.parse(out).address == address


def test_the_address_of_a_token_is_not_told_to_a_ca_over_the_network(
    ca: Served, ops: Path, capsys: Capture
) -> None:
    asked = ("--ca", ca.address, "--credential", ops, "--address", "127.0.0.1:8444")
    code, _, err = run_command(capsys, "token", "create", "ops", *asked)
    assert code == 2
    assert "--enroll-advertise" in err
