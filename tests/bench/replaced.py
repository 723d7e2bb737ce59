"""For how long a process that took a replica's address answers calls, although it should get none.

One of several replicas stops, and a process with a revoked certificate takes its address, which
gRPC itself accepts. Calls are made all the time, one after the other.

    .venv/bin/python -m tests.bench.replaced [ROUNDS]
"""

from __future__ import annotations

import logging
import statistics
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import grpc

from pki.files import load_credential
from tests.interop.shop import Shop, free_port, get_stock
from tests.interop.test_connection_checks import BAD, revoked_one, serving

_ROUND_ROBIN = [("grpc.lb_policy_name", "round_robin")]
_WATCHED_SECONDS = 4.0


def measure(replicas: int) -> tuple[float, int, int]:
    """Replace the first of some replicas while calls run.

    Returns:
        The seconds between the first and the last answer of the process that took its place, how
        many calls it answered, and how many failed.
    """
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        shop, port = Shop(Path(folder)), free_port()
        for name in ("server", "caller"):
            shop.directory(name)
        bad = revoked_one(shop)
        assert load_credential(shop.home / "revoked").credential.leaf == bad.leaf
        me = stack.enter_context(shop.workload("server"))
        rest = [stack.enter_context(shop.sync_server(me)) for _ in range(replicas - 1)]
        caller = stack.enter_context(shop.workload("caller"))
        target = "ipv4:" + ",".join([f"127.0.0.1:{port}", *rest])
        with shop.sync_server(me, address=f"127.0.0.1:{port}"):
            channel = stack.enter_context(
                caller.sync_channel(target, peer="server", options=_ROUND_ROBIN)
            )
            for _ in range(10):
                get_stock(channel)
        moments: list[float] = []
        failed = 0
        over = threading.Event()

        def call() -> None:
            nonlocal failed
            while not over.is_set():
                try:
                    if get_stock(channel) == BAD:
                        moments.append(time.monotonic())
                except grpc.RpcError:
                    failed += 1

        with serving(bad, port):
            calling = threading.Thread(target=call)
            calling.start()
            time.sleep(_WATCHED_SECONDS)
            over.set()
            calling.join()
        return (moments[-1] - moments[0] if moments else 0.0), len(moments), failed


def main(rounds: int) -> None:
    """Measure with several replicas and with one, and print the results."""
    logging.disable(logging.CRITICAL)
    for replicas in (3, 1):
        results = [measure(replicas) for _ in range(rounds)]
        seconds = [item[0] for item in results]
        calls = [item[1] for item in results]
        print(
            f"{replicas} replicas, {rounds} rounds: median {statistics.median(seconds):.2f} s, "
            f"most {max(seconds):.2f} s; {min(calls)} to {max(calls)} calls answered"
            + (f"; {sum(item[2] for item in results)} failed" if replicas > 1 else "")
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
