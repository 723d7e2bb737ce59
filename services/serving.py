"""What every service of the shop needs around its handlers: settings, a stop signal, readiness."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
from prometheus_client import CollectorRegistry, start_http_server

import pki

DRAIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Settings:
    """A service's settings: its credential directory, the policy, its address, those it calls."""

    credential: Path
    policy: Path
    listen: str
    metrics: str | None
    peers: dict[str, str]


def settings(description: str | None) -> Settings:
    """Read the settings from the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--credential", type=Path, required=True, help="directory with key.pem")
    parser.add_argument("--policy", type=Path, default=Path(__file__).with_name("policy.toml"))
    parser.add_argument("--listen", default="127.0.0.1:0", help="address, port 0 takes a free one")
    parser.add_argument("--metrics", metavar="HOST:PORT", help="where Prometheus finds metrics")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=ADDRESS")
    found = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    peers = dict(item.split("=", 1) for item in found.peer)
    return Settings(found.credential, found.policy, found.listen, found.metrics, peers)


def show_metrics(me: pki.Workload, mine: Settings) -> None:
    """Have Prometheus find the workload's metrics, if an address was given for them."""
    if mine.metrics is None:
        return
    host, _, port = mine.metrics.rpartition(":")
    registry = CollectorRegistry()
    registry.register(me.collector())
    server, _ = start_http_server(int(port), host, registry)
    logging.info("metrics on http://%s:%s/metrics", host, server.server_port)


def announce(port: int) -> None:
    """Tell whoever started this service that it answers, and where."""
    sys.stdout.write(f"READY {port}\n")
    sys.stdout.flush()


def end_at_once(*_: object) -> None:
    """End now: the answer to a second SIGTERM."""
    os._exit(1)


async def serve_until_stopped(server: grpc.aio.Server, port: int) -> None:
    """Serve until SIGTERM or SIGINT, then let running calls finish within the drain time."""
    stopping = asyncio.Event()

    def stop() -> None:
        if stopping.is_set():
            end_at_once()
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    await server.start()
    announce(port)
    await stopping.wait()
    await server.stop(DRAIN_SECONDS)
