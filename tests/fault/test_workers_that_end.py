"""Workers of a CA that end: killed under load, with a disk that fails, or before they serve."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import pytest

from pki._proto.handfast.ca.v1 import authority_pb2_grpc
from tests.bench.ca.signing_requests import make_ders
from tests.failing_calls import TOLD, fail_syncs, fails_when_told, why_not
from tests.fault.loaded_ca import (
    Held,
    admins,
    check_held,
    code_of,
    issue_one,
    load,
    make_ca,
    served,
)
from tests.served_process import SECONDS
from tests.worker_processes import is_alive, workers_of

CLIENTS, CERTIFICATES, KILLED = 8, 400, 4


@pytest.mark.timeout(300)
def test_what_clients_hold_is_in_the_ledger_though_workers_are_killed_under_load(
    tmp_path: Path,
) -> None:
    make_ca(tmp_path, CLIENTS)
    held, ders, chance = Held(), make_ders(CERTIFICATES), random.Random(22)
    asked = threading.Semaphore(CERTIFICATES)

    def work(place: int, stub: authority_pb2_grpc.AuthorityStub) -> None:
        while asked.acquire(blocking=False):
            der = ders.pop()
            while True:
                try:
                    issue_one(stub, place, der, held)
                    break
                except grpc.RpcError as error:
                    # Of the worker that was killed; another one answers the next call.
                    if code_of(error) is not grpc.StatusCode.UNAVAILABLE:
                        raise
                except ValueError as error:
                    # Its connection was closed between the choice and the call.
                    if "closed channel" not in str(error):
                        raise

    with served(tmp_path, None, "--workers=2") as (process, address):
        with admins(tmp_path, address, CLIENTS) as stubs:
            threads = [threading.Thread(target=work, args=item) for item in enumerate(stubs)]
            for thread in threads:
                thread.start()
            for number in range(1, KILLED + 1):
                held.wait_for(number * CERTIFICATES // (KILLED + 2))
                workers = workers_of(process)
                time.sleep(chance.uniform(0, 0.02))
                os.kill(chance.choice(workers), signal.SIGKILL)
            for thread in threads:
                thread.join()
        assert process.stop() == 0
    assert len(held.leaves) == CERTIFICATES
    check_held(tmp_path, held)


@pytest.mark.skipif(bool(why_not()), reason=why_not())
@pytest.mark.timeout(300)
def test_one_worker_whose_sync_fails_ends_all(tmp_path: Path) -> None:
    make_ca(tmp_path, CLIENTS)
    held = Held()
    environment = fails_when_told(tmp_path / "loaded-first", fail_syncs)
    with served(tmp_path, environment, "--workers=2") as (process, address):
        workers = workers_of(process)
        with load(tmp_path, address, CLIENTS, held, make_ders(2000)):
            held.wait_for(50)
            os.kill(workers[1], TOLD)
            assert process.process.wait(SECONDS) == 1
        assert "may never have reached the disk" in process.output
        assert not any(is_alive(pid) for pid in workers)
    held.failed.clear()
    with served(tmp_path, None, "--workers=2") as (process, address):
        with load(tmp_path, address, CLIENTS, held, make_ders(20)):
            held.wait_for(len(held.leaves) + 10)
        assert process.stop() == 0
    check_held(tmp_path, held)


# A supervisor whose workers are told what to do by a line of Python.
SUPERVISOR = """
import logging, sys
from pki.background import flush
from pki.daemon.workers.supervisor import Supervisor, WorkerProgram
from pki.errors import PkiError

WORKER = '''
import os, signal, sys, threading
from multiprocessing.connection import Connection
from pki.daemon.workers.channel import SupervisorChannel
from pki.daemon.workers.messages import MAY_NOT_GO_ON, Command, Failed, Ready
channel = SupervisorChannel(Connection(int(sys.argv[1])))
line = channel.first()
channel.listen()
ready, ended = Ready("a", "b", "c"), threading.Event()
channel.obey(lambda command: ended.set())
exec(line)
ended.wait()
'''
logging.basicConfig(level=logging.INFO, format="%(message)s")
lines = sys.argv[1:]
program = WorkerProgram([sys.executable, "-c", WORKER], (), lambda number: lines[number - 1])
try:
    Supervisor(program, len(lines)).run(
        lambda ready: print("serving", flush=True), lambda: print("ending", flush=True)
    )
except PkiError as error:
    print("refused:", error.message, error.remedy, flush=True)
finally:
    flush()
"""
SERVE = "channel.send(ready)"


def supervised(*lines: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, *lines],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def output_of(*lines: str) -> list[str]:
    with supervised(*lines) as process:
        out, _ = process.communicate(timeout=SECONDS)
    return out.splitlines()


def test_a_worker_that_may_not_go_on_ends_the_others() -> None:
    stubborn = f"{SERVE}; [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)]"
    late = f"{SERVE}; threading.Timer(0.5, os._exit, [MAY_NOT_GO_ON]).start()"
    begun, refused = output_of(stubborn, late)
    assert begun == "serving"
    assert refused.startswith("refused: worker 2 may not go on, so no other one may")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("channel.send(Failed('the policy is bad', 'mend it')); sys.exit(1)", "the policy is bad"),
        ("sys.exit(3)", "worker 2 ended with exit code 3 before it served"),
        ("os.kill(os.getpid(), 9)", "worker 2 was ended by SIGKILL before it served"),
    ],
)
def test_a_worker_that_can_t_begin_lets_nobody_serve(line: str, said: str) -> None:
    [refused] = output_of(SERVE, line)
    assert refused.startswith(f"refused: {said}")


def test_a_worker_that_ends_again_and_again_is_replaced_after_growing_pauses() -> None:
    dying = f"{SERVE}; threading.Timer(0.2, os._exit, [4]).start()"
    with supervised(SERVE, dying) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        seen = []
        for line in lines:
            seen.append(line.strip())
            if "started in 4 s" in line:
                process.terminate()
        assert process.wait(SECONDS) == 0
    told = [line for line in seen if "worker" in line]
    assert told[0] == "worker 2 ended with exit code 4: another one is started in 1 s"
    assert "worker 2 serves again" in told
    assert "worker 2 ended with exit code 4: another one is started in 2 s" in told
    assert seen[-1] == "ending"


def test_a_worker_that_stands_still_does_not_hold_up_the_supervisor() -> None:
    # More than a channel takes that nobody reads.
    looks = "looks = iter(range(600))"
    counting = "channel.obey(lambda command: next(looks, None) is None and os._exit(MAY_NOT_GO_ON))"
    with supervised(f"{looks}; {counting}; {SERVE}", SERVE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "serving\n"
        workers = workers_of(process.pid)
        os.kill(workers[1], signal.SIGSTOP)
        end = time.monotonic() + SECONDS
        while process.poll() is None:
            if time.monotonic() > end:
                process.kill()
                raise AssertionError("the supervisor heard no more of the other worker")
            process.send_signal(signal.SIGHUP)
            time.sleep(0.001)
        assert process.stdout.read().startswith("refused: worker 1 may not go on")
        assert not any(is_alive(pid) for pid in workers)


def test_a_second_signal_waits_for_nobody() -> None:
    stubborn = f"channel.obey(lambda command: None); {SERVE}"
    with supervised(stubborn, stubborn) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "serving\n"
        workers = workers_of(process.pid)
        assert len(workers) == 2
        process.terminate()
        assert process.stdout.readline() == "ending\n"
        process.terminate()
        assert process.wait(SECONDS) == 1
        end = time.monotonic() + SECONDS
        while any(is_alive(pid) for pid in workers):
            assert time.monotonic() < end
            time.sleep(0.01)
