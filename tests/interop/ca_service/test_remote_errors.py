"""Commands with ``--ca`` say what is wrong in one line, with the address and what to do."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from pki.access.refusal import server_refusal
from pki.authority import Authority
from pki.ca_client import CaIdentity
from pki.ca_client.rpc_errors import call
from pki.cli.service.remote_errors import errors_of
from pki.clock import system_clock
from pki.errors import CaUnreachableError
from pki.fault import Fault
from pki.proofs import EnrollmentToken
from pki.rpc.status import status_code, trailing_metadata
from tests.ca_service import Served
from tests.command import Capture, run_command
from tests.interop.shop import free_port


def enroll(ca: Served, directory: Path) -> Path:
    CaIdentity(directory, token=EnrollmentToken.parse(ca.token(directory.name))).close()
    return directory


COMMANDS = [
    ("registration", "list"),
    ("registration", "create", "new"),
    ("token", "create", "orders"),
    ("list",),
    ("revoke", "orders"),
    ("ca", "rotate", "status"),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_ca_that_is_down_is_one_line(
    ca: Served, tmp_path: Path, capsys: Capture, command: tuple[str, ...]
) -> None:
    ops, nobody = enroll(ca, tmp_path / "ops"), f"127.0.0.1:{free_port()}"
    code, out, err = run_command(capsys, *command, "--ca", nobody, "--credential", ops)
    assert (code, out) == (1, "")
    assert err == (
        f"handfast: no CA answers at {nobody}: connection refused. See that it runs (handfast ca "
        "serve), and that --ca is right\n"
    )


def test_a_ca_that_refuses_us_says_who_could_help(
    ca: Served, tmp_path: Path, capsys: Capture
) -> None:
    bob = enroll(ca, tmp_path / "bob")
    asked = ("--ca", ca.address, "--credential", bob)
    code, _, err = run_command(capsys, "registration", "list", *asked)
    assert code == 1
    assert err == (
        "handfast: the CA refused: spiffe://shop.internal/bob has no role here. On the CA's "
        "machine, handfast ca admin NAME makes an admin\n"
    )


def test_a_revoked_credential_is_named(ca: Served, tmp_path: Path, capsys: Capture) -> None:
    ops = enroll(ca, tmp_path / "ops")
    asked = ("--ca", ca.address, "--credential", ops)
    assert run_command(capsys, "revoke", "ops", *asked)[0] == 0
    code, _, err = run_command(capsys, "list", *asked)
    assert code == 1
    assert f"the certificate in {ops} was revoked" in err
    assert "handfast enroll TOKEN" in err
    assert err.count("\n") == 1


def test_an_ended_credential_says_how_it_comes_back(tmp_path: Path, capsys: Capture) -> None:
    def long_ago() -> datetime:
        return system_clock() - timedelta(days=2)

    with Authority.create(tmp_path / "ca", "shop.internal", clock=long_ago) as authority:
        authority.issue("ops").save(tmp_path / "ops")
    # What an enrollment leaves there.
    (tmp_path / "ops" / ".handfast-ca.json").write_text("{}")
    asked = ("--ca", f"127.0.0.1:{free_port()}", "--credential", tmp_path / "ops")
    code, _, err = run_command(capsys, "list", *asked)
    assert code == 1
    assert "certificate has expired" in err
    assert f"handfast agent {tmp_path / 'ops'}" in err
    assert "handfast renew" not in err
    assert err.count("\n") == 1


class Failed(grpc.RpcError):
    """A call whose server was refused here."""

    def __init__(self, fault: Fault) -> None:
        self._refusal = server_refusal("spiffe://shop.internal/handfast/ca", fault)

    def code(self) -> grpc.StatusCode:
        return status_code(self._refusal)

    def details(self) -> str:
        return self._refusal.message

    def trailing_metadata(self) -> Any:
        return trailing_metadata(self._refusal)


def test_old_lists_are_fetched_by_the_agent(tmp_path: Path) -> None:
    def ask() -> None:
        raise Failed(Fault.REVOCATION_UNKNOWN)

    with (
        pytest.raises(CaUnreachableError) as caught,
        errors_of("ca.shop.internal:8443", tmp_path / "ops"),
    ):
        call(ask)
    assert "the CA at ca.shop.internal:8443: the certificate" in str(caught.value)
    assert f"Keep this credential fresh: handfast agent {tmp_path / 'ops'}" in str(caught.value)


@pytest.mark.parametrize("is_there", [False, True])
def test_a_missing_credential_is_enrolled(tmp_path: Path, capsys: Capture, is_there: bool) -> None:
    missing = tmp_path / "ops"
    if is_there:
        os.mkdir(missing)
    asked = ("--ca", "127.0.0.1:1", "--credential", missing)
    code, _, err = run_command(capsys, "list", *asked)
    assert code == 1
    assert f"Enroll it: handfast enroll TOKEN --out {missing}" in err
    assert "handfast issue" not in err
