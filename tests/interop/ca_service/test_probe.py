"""``handfast probe``: its exit code is what Kubernetes and systemd go by.

Each case is asked twice: by the command, and by what stands in for it where only the core is
installed.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

import pki
from pki.authority import Authority
from pki.cli.service.probing import run_plain
from pki.clock import system_clock
from tests.ca_service import Served
from tests.command import Capture, run_command
from tests.interop.shop import free_port
from tests.served_process import handfast

POLICY = """\
trust_domain = "shop.internal"
[roles]
payments = ["spiffe://shop.internal/payments"]
[[grant]]
role = "payments"
methods = ["/grpc.health.v1.Health/Check"]
"""
Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture(params=["command", "core"])
def ask(request: pytest.FixtureRequest, capsys: Capture) -> Ask:
    def probe(*arguments: str | Path) -> tuple[int, str, str]:
        words = [str(item) for item in arguments]
        if request.param == "command":
            return run_command(capsys, "probe", *words)
        capsys.readouterr()
        try:
            code = run_plain(words)
        except SystemExit as error:
            code = int(error.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return probe


@pytest.fixture
def home(tmp_path: Path) -> Path:
    with Authority.create(tmp_path / "ca", "shop.internal") as authority:
        for name in ("payments", "orders"):
            authority.issue(name).save(tmp_path / name)
    (tmp_path / "policy.toml").write_text(POLICY)
    return tmp_path


@pytest.fixture
def state() -> health.HealthServicer:
    return health.HealthServicer()


@contextmanager
def serving(folder: Path, state: health.HealthServicer) -> Iterator[str]:
    """Serve as payments; yield the address."""
    with pki.Workload.from_directory(folder / "payments", policy=folder / "policy.toml") as me:
        server = me.sync_server(decision_log="none")
        health_pb2_grpc.add_HealthServicer_to_server(state, server)
        port = server.add_secure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(0).wait()


@pytest.fixture
def address(home: Path, state: health.HealthServicer) -> Iterator[str]:
    with serving(home, state) as address:
        yield address


def test_a_server_that_serves_is_0(home: Path, address: str, ask: Ask) -> None:
    code, out, err = ask(address, "--credential", home / "payments")
    assert (code, out, err) == (0, f"{address}: SERVING\n", "")
    code, out, _ = ask(address, "--credential", home / "payments", "--json")
    assert code == 0
    assert json.loads(out) == {
        "schema": 1,
        "command": "probe",
        "address": address,
        "status": "SERVING",
        "detail": "",
    }


def test_a_server_that_does_not_serve_is_1(
    home: Path, address: str, state: health.HealthServicer, ask: Ask
) -> None:
    state.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    state.set("shop.v1.Payments", health_pb2.HealthCheckResponse.SERVING)
    code, out, _ = ask(address, "--credential", home / "payments")
    assert (code, out) == (1, f"{address}: NOT_SERVING\n")
    asked = (address, "--credential", home / "payments", "--service")
    assert ask(*asked, "shop.v1.Payments")[0] == 0
    code, out, _ = ask(*asked, "shop.v1.Nothing")
    assert code == 1
    assert "SERVICE_UNKNOWN" in out


def test_a_caller_that_the_policy_refuses_can_not_tell(home: Path, address: str, ask: Ask) -> None:
    code, out, _ = ask(address, "--credential", home / "orders", "--name", "payments")
    assert code == 3
    assert "PERMISSION_DENIED" in out
    assert "role" in out


def test_nobody_there_can_not_tell(home: Path, ask: Ask) -> None:
    code, out, _ = ask(f"127.0.0.1:{free_port()}", "--credential", home / "payments")
    assert code == 3
    assert "UNAVAILABLE" in out


def test_a_server_that_says_nothing_can_not_tell(home: Path, ask: Ask) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        code, _, _ = ask(address, "--credential", home / "payments", "--timeout", "0.5")
    assert code == 3


def test_another_server_at_the_address_can_not_tell(home: Path, address: str, ask: Ask) -> None:
    # Payments serves, and orders is asked for: the owner of the credential.
    code, out, _ = ask(address, "--credential", home / "orders")
    assert code == 3
    assert "UNAVAILABLE" in out
    assert "names another workload" in out


def test_a_server_of_another_ca_can_not_tell(home: Path, address: str, ask: Ask) -> None:
    with Authority.create(home / "other", "shop.internal") as other:
        other.issue("payments").save(home / "impostor")
    assert ask(address, "--credential", home / "impostor")[0] == 3


def test_an_expired_credential_can_not_tell_and_says_why(
    home: Path, address: str, ask: Ask
) -> None:
    earlier = system_clock() - timedelta(hours=3)
    with Authority.create(home / "old", "shop.internal", clock=lambda: earlier) as authority:
        authority.issue("payments", lifetime=timedelta(hours=1)).save(home / "late")
    code, out, err = ask(address, "--credential", home / "late")
    assert code == 3
    assert "expired" in out + err


@pytest.mark.parametrize("what", ["missing", "empty"])
def test_a_directory_without_a_credential_can_not_tell(
    home: Path, address: str, ask: Ask, what: str
) -> None:
    if what == "empty":
        (home / "empty").mkdir()
    code, _, err = ask(address, "--credential", home / what)
    assert code == 3
    assert err.startswith("handfast: could not tell: ")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("127.0.0.1:1",),
        ("127.0.0.1:1", "--credential", "x", "--timeout", "soon"),
        ("127.0.0.1:1", "--credential", "x", "--timeout", "0"),
        ("127.0.0.1:1", "--credential", "x", "--strange"),
        ("127.0.0.1:1", "127.0.0.1:2", "--credential", "x"),
    ],
)
def test_wrong_usage_is_2(
    ask: Ask, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HANDFAST_CREDENTIAL", raising=False)
    code, out, err = ask(*arguments)
    assert code == 2
    assert not out
    assert err.startswith("handfast: ") or not arguments


def test_the_credential_may_come_from_the_environment(
    home: Path, address: str, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANDFAST_CREDENTIAL", str(home / "payments"))
    assert ask(address)[0] == 0


# A CA, at the port that asks for no certificate


def test_a_ca_is_asked_with_its_roots_alone(ca: Served, ask: Ask) -> None:
    bundle = ca.authority.path / "bundle.pem"
    code, out, _ = ask(ca.enroll_address, "--bundle", bundle)
    assert (code, out) == (0, f"{ca.enroll_address}: SERVING\n")
    assert ask(ca.enroll_address, "--bundle", bundle, "--name", "handfast/ca")[0] == 0


def test_a_ca_is_asked_by_a_workload_too(ca: Served, ask: Ask, tmp_path: Path) -> None:
    ca.authority.issue("orders").save(tmp_path / "orders")
    asked = (ca.address, "--credential", tmp_path / "orders", "--name", "handfast/ca")
    assert ask(*asked)[0] == 0


def test_who_is_not_the_ca_is_not_believed(
    ca: Served, state: health.HealthServicer, ask: Ask, tmp_path: Path
) -> None:
    bundle = ca.authority.path / "bundle.pem"
    # A leaf of the same root.
    ca.authority.issue("payments").save(tmp_path / "payments")
    (tmp_path / "policy.toml").write_text(POLICY)
    with serving(tmp_path, state) as address:
        for other in (address, f"127.0.0.1:{free_port()}"):
            code, _, err = ask(other, "--bundle", bundle)
            assert code == 3
            assert err.startswith("handfast: could not tell: ")
    with Authority.create(tmp_path / "other", "shop.internal") as stranger:
        code, _, err = ask(ca.enroll_address, "--bundle", stranger.path / "bundle.pem")
    assert code == 3
    code, _, err = ask(ca.enroll_address, "--bundle", bundle, "--name", "orders")
    assert code == 3
    assert "spiffe://shop.internal/handfast/ca" in err
    assert ask(ca.enroll_address, "--bundle", tmp_path / "missing.pem")[0] == 3


def test_the_command_works_where_only_the_core_is_installed(home: Path, address: str) -> None:
    asked = ("probe", address, "--credential", str(home / "payments"))
    done: Any = handfast(home, *asked, core_only=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{address}: SERVING\n", "")
    # And it is the core alone that answers here.
    assert handfast(home, "enroll", "x", core_only=True).returncode == 3
