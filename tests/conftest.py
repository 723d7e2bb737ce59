"""Fixtures that several folders of tests share."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.authority.signers import Pkcs11Uri
from tests.interop.shop import Shop
from tests.ledger_places import OPTION, databases, ledger_places
from tests.new_ledgers import migrated_once
from tests.softhsm import SoftHsm, make_softhsm, plan_of
from tests.support import Clock

__all__ = ["databases", "ledger_places"]

# A background job of a shell ignores SIGINT. Child processes inherit that, but no handler. So set a
# handler: otherwise the programs that a test interrupts would ignore SIGINT too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# On a busy machine any example may take longer than hypothesis allows by itself.
with suppress(ImportError):  # not there on the lowest versions
    from hypothesis import settings

    settings.register_profile("no deadline", deadline=None)
    settings.load_profile("no deadline")

# Counting coverage makes code run half as fast. What these tests run, others run too: in these it
# is not counted, or not in the processes that they start.
UNCOUNTED = (
    "tests/fault/test_crashes.py",
    "tests/fault/test_kill_points.py",
    "tests/fault/test_stopped_peers.py",  # what stands still must be in time afterwards
    "tests/property/",
    "tests/vectors/",
)
UNCOUNTED_PROCESSES = (
    *UNCOUNTED,
    "tests/interop/test_docs_programs.py",
    "tests/interop/test_services.py",
)


@pytest.fixture(autouse=True)
def coverage_where_it_counts(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Count no coverage in tests that add none."""
    if request.node.nodeid.startswith(UNCOUNTED_PROCESSES):
        monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    trace, of_threads = sys.gettrace(), threading.gettrace()
    is_coverage = type(trace).__module__.startswith("coverage")  # and no debugger
    if not is_coverage or not request.node.nodeid.startswith(UNCOUNTED):
        yield
        return
    sys.settrace(None)
    threading.settrace(None)
    yield
    sys.settrace(trace)
    threading.settrace(of_threads)


@pytest.fixture(autouse=True)
def no_proxy_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no proxy of this machine's environment come between the two ends of a test."""
    for name in ("grpc_proxy", "https_proxy", "http_proxy", "no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session", autouse=True)
def new_ledgers() -> Iterator[None]:
    """Write a new ledger's tables as the first new ledger had them, without alembic."""
    with migrated_once():
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        OPTION,
        default="sqlite",
        choices=("sqlite", "postgresql"),
        help="where the CAs that tests make keep their ledgers",
    )


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """Return a CA with a policy, and credentials for a server, a caller and a stranger."""
    made = Shop(tmp_path, "server", "caller", "stranger")
    yield made
    made.ca.close()


@pytest.fixture(scope="session")
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> SoftHsm:
    """Return a folder for PKCS#11 tokens, which all tests of this process share."""
    return make_softhsm(tmp_path_factory.mktemp("softhsm"))


@pytest.fixture
def token(softhsm: SoftHsm, request: pytest.FixtureRequest) -> Pkcs11Uri:
    """Return a new token."""
    return softhsm.make_token(f"ca-{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:8]}")


@pytest.fixture
def ca_in_token(tmp_path: Path, softhsm: SoftHsm, token: Pkcs11Uri) -> Iterator[Authority]:
    """Return a CA whose issuing CA's key lives in a token."""
    with Authority.create(
        tmp_path / "ca", plan_of(token), tokens=softhsm.access, clock=Clock()
    ) as made:
        yield made


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """Return a folder that every user can reach, unlike pytest's own."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to act as several users")
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)
