"""The fixtures for pytest, in runs of pytest of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

POLICY = """
trust_domain = "shop.internal"
[roles]
orders = ["spiffe://shop.internal/orders"]
payments = ["spiffe://shop.internal/payments"]
[[grant]]
role = "orders"
methods = ["/x.Service/Call"]
[[served_by]]
service = "x.Service"
role = "payments"
"""
SERVICE = """
import grpc
import pki
import pytest

METHOD = "/x.Service/Call"


def add(server):
    handler = grpc.unary_unary_rpc_method_handler(lambda *_: str(pki.peer().spiffe_id).encode())
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("x.Service", {"Call": handler}),)
    )


def call(channel):
    return channel.unary_unary(METHOD)(b"", timeout=20)

"""


def run(folder: Path, program: str) -> str:
    """Run a file of tests; return what pytest printed."""
    (folder / "test_it.py").write_text(SERVICE + program)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=90
    )
    return done.stdout + done.stderr


def test_a_server_needs_a_policy_and_a_channel_does_not(tmp_path: Path) -> None:
    said = run(
        tmp_path,
        """
def test_it(handfast_server, handfast_channel):
    with pytest.raises(pytest.UsageError, match="define a fixture handfast_policy"):
        handfast_server("payments", add)
    handfast_channel("orders", "localhost:1", peer="payments")
""",
    )
    assert "1 passed" in said, said


@pytest.mark.parametrize("kind", ["text", "path"])
def test_a_policy_of_the_tests_own_decides(tmp_path: Path, kind: str) -> None:
    (tmp_path / "policy.toml").write_text(POLICY)
    returned = repr(POLICY) if kind == "text" else 'Path("policy.toml")'
    said = run(
        tmp_path,
        f"""
from pathlib import Path


@pytest.fixture
def handfast_policy():
    return {returned}


def test_it(handfast_server, handfast_channel):
    address = handfast_server("payments", add, decision_log="none")
    channel = handfast_channel("orders", address, peer="payments")
    assert call(channel) == b"spiffe://shop.internal/orders"
    with pytest.raises(grpc.RpcError) as refused:
        call(handfast_channel("catalog", address, peer="payments"))
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert pki.reason_of(refused.value) == "NO_ROLE"
""",
    )
    assert "1 passed" in said, said


def test_revocation_and_a_workloads_own_settings(tmp_path: Path) -> None:
    said = run(
        tmp_path,
        """
from datetime import timedelta


def test_it(handfast_ca, handfast_directory, handfast_workload):
    old = handfast_directory("orders")
    assert handfast_directory("orders") == old
    leaf = handfast_workload("orders", read_grace=timedelta(minutes=1)).credential.leaf
    assert len(handfast_ca.revoke(leaf.serial_number)) == 1
""",
    )
    assert "1 passed" in said, said


def test_nothing_is_left_of_a_test(tmp_path: Path) -> None:
    said = run(
        tmp_path,
        f"""
import threading
paths = []


@pytest.fixture
def handfast_policy():
    return {POLICY!r}


def test_first(handfast_ca, handfast_server, handfast_channel):
    paths.append(handfast_ca.path)
    call(handfast_channel("orders", handfast_server("payments", add), peer="payments"))


def test_second():
    assert not paths[0].exists()
    assert "handfast-watch" not in [thread.name for thread in threading.enumerate()]
""",
    )
    assert "2 passed" in said, said


def test_a_run_that_uses_no_fixture_loads_neither_the_ca_nor_grpc(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import sys\ndef test_it():\n"
        "    assert not {'sqlalchemy', 'grpc', 'pki.workload'} & set(sys.modules)\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=90
    )
    assert "1 passed" in done.stdout, done.stdout
