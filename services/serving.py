"""What every service of the shop needs beside its handlers: settings, a stop signal, readiness."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
from prometheus_client import CollectorRegistry, start_http_server

import pki
from pki.ca_client import CaIdentity, CaSource
from pki.proofs import EnrollmentToken

DRAIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Settings:
    """A service's settings: credential directory, policy, addresses, and the services it calls.

    Args:
        credential: the directory with the service's identity.
        token_file: the token of the first start, for an identity from the CA; None for a directory
            that others keep fresh.
        policy: the policy file.
        listen: where the service listens.
        metrics: where Prometheus reads its metrics; None for nowhere.
        peers: the addresses of the services that it calls.
    """

    credential: Path
    token_file: Path | None
    policy: Path
    listen: str
    metrics: str | None
    peers: dict[str, str]


def read_settings(description: str | None) -> Settings:
    """Read the settings from the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--credential", type=Path, required=True, help="directory with key.pem")
    parser.add_argument(
        "--token-file",
        type=Path,
        help="enroll with this token at the first start, and let the CA keep the directory fresh",
    )
    parser.add_argument("--policy", type=Path, default=Path(__file__).with_name("policy.toml"))
    parser.add_argument(
        "--listen", default="127.0.0.1:0", help="address to listen on; port 0 takes a free port"
    )
    parser.add_argument(
        "--metrics", metavar="HOST:PORT", help="address that serves Prometheus metrics"
    )
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=ADDRESS")
    arguments = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    peers = dict(item.split("=", 1) for item in arguments.peer)
    return Settings(
        arguments.credential,
        arguments.token_file,
        arguments.policy,
        arguments.listen,
        arguments.metrics,
        peers,
    )


@contextmanager
def open_workload(settings: Settings) -> Iterator[pki.Workload]:
    """Open the service's identity. This waits for the CA at the first start, before any call.

    With a token this is ``pki.Workload.from_ca``, except that SIGHUP renews the certificate at
    once.
    """
    if settings.token_file is None:
        with pki.Workload.from_directory(settings.credential, policy=settings.policy) as me:
            yield me
        return
    token = EnrollmentToken.parse(settings.token_file.read_text())
    with CaIdentity(settings.credential, token=token) as identity:

        def renew(*_: object) -> None:
            threading.Thread(target=identity.renew_now, daemon=True).start()

        signal.signal(signal.SIGHUP, renew)
        with pki.Workload.from_source(CaSource(identity), policy=settings.policy) as me:
            yield me


def serve_metrics(me: pki.Workload, settings: Settings) -> None:
    """Serve the workload's metrics to Prometheus, if the settings name an address."""
    if settings.metrics is None:
        return
    host, _, port = settings.metrics.rpartition(":")
    registry = CollectorRegistry()
    registry.register(me.collector())
    server, _ = start_http_server(int(port), host, registry)
    logging.info("metrics on http://%s:%s/metrics", host, server.server_port)


def announce(port: int) -> None:
    """Print the port, so that the parent process knows that this service is ready."""
    sys.stdout.write(f"READY {port}\n")
    sys.stdout.flush()


def exit_now(*_: object) -> None:
    """Exit at once, on a second SIGTERM."""
    os._exit(1)


async def serve_until_stopped(server: grpc.aio.Server, port: int) -> None:
    """Serve until SIGTERM or SIGINT, then let running calls finish within the drain time."""
    stopping = asyncio.Event()

    def stop() -> None:
        if stopping.is_set():
            exit_now()
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    await server.start()
    announce(port)
    await stopping.wait()
    await server.stop(DRAIN_SECONDS)
