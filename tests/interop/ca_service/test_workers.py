"""``handfast ca serve --workers``: several processes that are one CA to everybody."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cryptography
import grpc
import pytest

import pki
from pki._proto.handfast.ca.v1 import authority_pb2, authority_pb2_grpc
from pki.authority import Authority
from pki.authority.ledger.databases.place import LedgerPlace
from pki.authority.ledger.databases.postgresql import PostgresqlDatabase
from pki.ca_client import CaIdentity
from pki.errors import CaRefusedError
from pki.identity import SpiffeId, TrustDomain
from pki.proofs import EnrollmentToken
from tests.interop.ca_service.test_ca_metrics import page_of, scrape, value
from tests.interop.ca_service.test_renewals import renew_at_once
from tests.interop.fleet import serving
from tests.interop.shop import POLICY, SECONDS, ended, eventually, free_port, get_stock, watch
from tests.postgresql import PostgresqlServer
from tests.served_process import Running, handfast, running
from tests.worker_processes import connections_at, is_alive, open_files, workers_of

CA = SpiffeId.of_ca(TrustDomain("shop.internal"))
PASSPHRASE = "a passphrase of the CA"
SERVE = ("ca", "serve", "--listen=127.0.0.1:0", "--enroll-listen=127.0.0.1:0", "--heartbeat=1s")
needs_encryption = pytest.mark.skipif(
    cryptography.__version__ < "47", reason="an encrypted key needs cryptography 47"
)


@dataclass
class Home:
    """A CA, and how its commands reach it."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def served(self, *options: str, name: str = "ca") -> Iterator[Running]:
        with running(
            self.folder, *SERVE, *options, name=name, environment=self.environment
        ) as process:
            yield process

    def command(self, *arguments: str) -> str:
        done = handfast(self.folder, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def enroll(self, name: str, policy: Path) -> pki.Workload:
        self.command("registration", "create", name)
        token = self.command("token", "create", name)
        return pki.Workload.from_ca(self.folder / name, token=token, policy=policy)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs_encryption)])
def home(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Home]:
    with ExitStack() as stack:
        ledger: LedgerPlace | None = None
        environment: dict[str, str] = {}
        if request.param == "postgresql":
            server = stack.enter_context(PostgresqlServer(fsync="off"))
            ledger = PostgresqlDatabase.parse(server.make_database("ca"))
            environment = {"HANDFAST_CA_PASSPHRASE": PASSPHRASE}
            monkeypatch.setenv("HANDFAST_CA_PASSPHRASE", PASSPHRASE)
        passphrase = PASSPHRASE.encode() if environment else None
        Authority.create(
            tmp_path / "ca", "shop.internal", ledger=ledger, passphrase=passphrase
        ).close()
        yield Home(tmp_path, environment)


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    file = tmp_path / "policy.toml"
    file.write_text(POLICY)
    return file


def address_of(process: Running) -> str:
    found = re.search(r"127\.0\.0\.1:\d+", process.line("Serving the CA"))
    assert found is not None
    return found[0]


def connected_to(
    stack: ExitStack, me: pki.Workload, address: str, is_wanted: Callable[[int], bool], ca: Running
) -> grpc.Channel:
    """Connect until it is to a worker that is wanted: the kernel chooses."""
    for _ in range(64):
        before = {pid: connections_at(pid, address) for pid in workers_of(ca)}
        opened = ExitStack()
        channel: grpc.Channel = opened.enter_context(me.sync_channel(address, peer=CA))
        grpc.channel_ready_future(channel).result(SECONDS)
        after = {pid: connections_at(pid, address) for pid in workers_of(ca)}
        grown = [pid for pid in after if after[pid] > before.get(pid, 0)]
        if len(grown) == 1 and is_wanted(grown[0]):
            stack.push(opened.pop_all())
            return channel
        opened.close()
    raise AssertionError("all connections led to the other worker")


def has_no_problems(workload: pki.Workload) -> bool:
    return not workload.problems


def revoke(channel: grpc.Channel, workload: pki.Workload) -> None:
    serial = f"{workload.credential.leaf.serial_number:x}"
    request = authority_pb2.RevokeRequest(serial=serial, reason="superseded")
    answer = authority_pb2_grpc.AuthorityStub(channel).Revoke(request, timeout=SECONDS)
    assert [item.serial for item in answer.certificates] == [serial]


@pytest.mark.timeout(300)
def test_what_one_worker_revokes_is_refused_by_those_who_follow_the_other(
    home: Home, policy: Path
) -> None:
    home.command("ca", "admin", "ops")
    with ExitStack() as stack:
        ca = stack.enter_context(home.served("--workers=2"))
        address = address_of(ca)
        assert len(workers_of(ca)) == 2
        server = stack.enter_context(home.enroll("server", policy))
        assert eventually(lambda: not server.problems, SECONDS)

        def followed_ones() -> list[int]:
            return [pid for pid in workers_of(ca) if connections_at(pid, address)]

        # It connects anew with the certificate that it obtained.
        assert eventually(lambda: len(followed_ones()) == 1, SECONDS)
        [followed] = followed_ones()
        caller = stack.enter_context(home.enroll("caller", policy))
        # To have made it an admin has registered it.
        token = home.command("token", "create", "ops")
        home.command("enroll", token, "--out", str(home.folder / "ops"))
        ops = stack.enter_context(pki.Workload.from_directory(home.folder / "ops"))
        target = stack.enter_context(serving(server))
        channel = stack.enter_context(caller.sync_channel(target, peer="server"))
        assert get_stock(channel) > 0
        stream = watch(channel)
        admin = connected_to(stack, ops, address, lambda pid: pid != followed, ca)
        revoke(admin, caller)
        assert ended(stream) == "CANCELLED"


@pytest.mark.timeout(300)
def test_a_token_is_good_once_at_all_workers_and_whoever_used_it_renews_at_any(home: Home) -> None:
    with home.served("--workers=2") as ca, ExitStack() as stack:
        address_of(ca)
        home.command("registration", "create", "orders")
        token = EnrollmentToken.parse(home.command("token", "create", "orders"))

        def enroll(number: int) -> CaIdentity | CaRefusedError:
            try:
                return CaIdentity(home.folder / f"orders-{number}", token=token)
            except CaRefusedError as error:
                return error

        with ThreadPoolExecutor(8) as threads:
            results = list(threads.map(enroll, range(8)))
        [identity] = [item for item in results if isinstance(item, CaIdentity)]
        stack.enter_context(identity)
        serials = {identity.credential.leaf.serial_number}
        for _ in range(4):
            renew_at_once(identity)
            serials.add(identity.credential.leaf.serial_number)
        assert len(serials) == 5


@pytest.mark.timeout(300)
def test_a_worker_that_is_killed_is_replaced_and_its_clients_find_another_one(
    home: Home, policy: Path
) -> None:
    with ExitStack() as stack:
        ca = stack.enter_context(home.served("--workers=2"))
        address = address_of(ca)
        server = stack.enter_context(home.enroll("server", policy))
        caller = stack.enter_context(home.enroll("caller", policy))
        target = stack.enter_context(serving(server))
        channel = stack.enter_context(caller.sync_channel(target, peer="server"))
        assert get_stock(channel) > 0
        before = workers_of(ca)
        killed = next(pid for pid in before if connections_at(pid, address))
        os.kill(killed, signal.SIGKILL)
        # With another client, at whichever worker there is.
        other = stack.enter_context(home.enroll("other", policy))
        assert eventually(lambda: len(set(workers_of(ca)) - {killed}) == 2, SECONDS)
        assert eventually(lambda: "serves again" in ca.output, SECONDS)
        assert "was ended by SIGKILL" in ca.output
        for workload in (server, caller, other):
            assert eventually(partial(has_no_problems, workload), SECONDS), workload.problems
        stream = watch(channel)
        home.command("revoke", f"{caller.credential.leaf.serial_number:x}")
        assert ended(stream) == "CANCELLED"
        assert ca.stop() == 0


@pytest.mark.timeout(300)
def test_the_last_worker_keeps_other_services_from_the_ledger_and_none_is_left(home: Home) -> None:
    with home.served("--workers=2") as ca:
        ca.line("Serving")
        workers = workers_of(ca)
        for options in ((), ("--workers=3",)):
            refused = handfast(home.folder, *SERVE, *options)
            assert refused.returncode == 1
            assert "is served by another process already" in refused.stderr
        # Each has the lock too: who is the last to end does not matter.
        lock = str(home.folder / "ca" / ".handfast-served.lock")
        assert all(lock in open_files(pid) for pid in workers)
        # The kernel wakes one that stands still when its parent has ended.
        os.kill(workers[0], signal.SIGSTOP)
        ca.process.send_signal(signal.SIGKILL)
        ca.process.wait(SECONDS)
        assert eventually(lambda: not any(is_alive(pid) for pid in workers), SECONDS)
    with home.served(name="again") as ca:
        ca.line("Serving")
        assert ca.stop() == 0


@pytest.mark.timeout(300)
def test_sigterm_ends_all_and_sighup_reaches_each(home: Home) -> None:
    with home.served("--workers=3") as ca:
        ca.line("Serving")
        workers = workers_of(ca)
        assert len(workers) == 3
        # As systemd does: to each process of the service.
        for pid in workers:
            os.kill(pid, signal.SIGTERM)
        ca.process.send_signal(signal.SIGHUP)
        home.command("registration", "create", "orders")
        assert workers_of(ca) == workers
        assert ca.stop() == 0
        assert not any(is_alive(pid) for pid in workers)
        assert ca.output.count("Ending: no new calls") == 1
        assert ca.output.count("Serving the CA of shop.internal") == 1


@pytest.mark.timeout(300)
def test_the_metrics_are_those_of_all_workers_also_of_one_that_has_ended(
    home: Home, policy: Path
) -> None:
    # A number that stays the same when the page comes back.
    metrics = f"--metrics=127.0.0.1:{free_port()}"
    with home.served("--workers=2", metrics) as ca, ExitStack() as stack:
        page, address = page_of(ca), address_of(ca)
        name = {"workload": str(CA)}
        for number in range(6):
            stack.enter_context(home.enroll(f"load-{number}", policy))
        metric = "handfast_ca_certificates_issued_total"

        def shown(metric: str) -> float | None:
            return value(scrape(page), metric, **name)

        assert eventually(lambda: shown(metric) == 6, SECONDS)
        assert eventually(lambda: shown("handfast_ca_followers") == 6, SECONDS)
        assert shown("handfast_ca_workers") == 2
        # Not the first one, which shows them.
        first, second = workers_of(ca)
        assert connections_at(first, address) + connections_at(second, address) >= 6
        os.kill(second, signal.SIGKILL)
        assert eventually(lambda: shown("handfast_ca_workers") == 1, SECONDS)
        assert shown(metric) == 6
        assert eventually(lambda: shown("handfast_ca_workers") == 2, SECONDS)
        assert shown(metric) == 6
        # The one that shows them: while the other one was started anew, it has told its own.
        os.kill(first, signal.SIGKILL)
        assert eventually(lambda: "worker 1 serves again" in ca.output, SECONDS)
        assert eventually(lambda: shown("handfast_ca_workers") == 2, SECONDS)
        assert shown(metric) == 6


def test_what_is_wrong_with_a_start_is_told_once_and_nothing_is_served(home: Home) -> None:
    (home.folder / "ca" / "policy.toml").write_text('trust_domain = "shop.internal"\n')
    refused = handfast(home.folder, *SERVE, "--workers=2")
    assert refused.returncode == 1
    assert refused.stderr == "handfast: policy.toml: roles is missing. Add it\n"
    assert "Serving" not in refused.stdout


def test_an_address_that_processes_cant_share_is_refused(home: Home) -> None:
    socket = f"--listen=unix:{home.folder / 'ca.sock'}"
    refused = handfast(home.folder, "ca", "serve", socket, "--workers=2")
    assert refused.returncode == 1
    assert "can't be shared by several workers" in refused.stderr
    for number in ("0", "65"):
        refused = handfast(home.folder, *SERVE, f"--workers={number}")
        assert refused.returncode == 1
        assert "is no possible number" in refused.stderr
