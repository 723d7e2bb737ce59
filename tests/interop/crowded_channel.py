"""A caller of many threads, each with stubs of its own, for the tests of a channel's changes.

Arguments: the target, the credential directory, the policy, the seconds that calls may drain (or
``none``). It calls until its standard input ends, and prints what became of the calls as JSON.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from datetime import timedelta

import grpc

import pki
from services._proto.shop.v1 import inventory_pb2 as inv
from services._proto.shop.v1 import inventory_pb2_grpc
from tests.interop.shop import SECONDS, reason

THREADS = 12


def main(target: str, directory: str, policy: str, drain: str) -> None:
    """Call until standard input ends."""
    outcomes: Counter[str] = Counter()
    lock, done = threading.Lock(), threading.Event()
    limit = None if drain == "none" else timedelta(seconds=float(drain))
    with pki.Workload.from_directory(directory, policy=policy) as caller:
        channel = caller.sync_channel(target, peer="server", drain=limit)

        def call() -> None:
            while not done.is_set():
                try:
                    # A stub of its own: its methods are new to every connection.
                    stub = inventory_pb2_grpc.InventoryStub(channel)
                    stub.GetStock(inv.GetStockRequest(), timeout=SECONDS)
                    stub.GetStock.future(inv.GetStockRequest(), timeout=SECONDS).result()
                    outcome = "answered"
                except grpc.RpcError as error:
                    outcome = reason(error)
                except Exception as error:
                    outcome = repr(error)
                with lock:
                    outcomes[outcome] += 1

        threads = [threading.Thread(target=call) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        print("calling", flush=True)
        sys.stdin.read()
        done.set()
        for thread in threads:
            thread.join()
        channel.close()
    print(json.dumps(outcomes), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
