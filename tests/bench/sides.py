"""The two sides: bare grpcio with mutual TLS, and handfast with its defaults.

Both use the same files, the same pin, and otherwise the same options.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import grpc
import grpc.aio

import pki
from pki import PemSource
from pki.files import load_credential
from pki.keys import private_key_to_pem
from pki.x509.readers import to_pem
from tests.bench.floor import FloorServer

OURS, BARE, FLOOR = "ours", "bare", "floor"
_PIN = (("grpc.ssl_target_name_override", "server.shop.internal"),)
_START_SECONDS = 20

Answer = TypeVar("Answer")
Settings = Mapping[str, Any]


class Loop:
    """An event loop in a thread of its own; the main thread reads commands."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def run(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Run a coroutine on the loop, and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class Identity:
    """A workload, from a directory or from PEM that a command replaces.

    Args:
        settings: ``directory``, ``policy``, ``log`` (the file for the decision log), and ``pem``
            (whether PEM in memory is used).
    """

    def __init__(self, settings: Settings) -> None:
        if settings.get("log"):
            handler = logging.FileHandler(settings["log"])
            logger = logging.getLogger("handfast.decisions")
            logger.addHandler(handler)
            logger.setLevel(logging.INFO)
            logger.propagate = False
        self._source: PemSource | None = None
        if settings.get("pem"):
            pem = pem_of(Path(settings["directory"]))
            self._source = PemSource(
                key=pem["key"], chain=pem["chain"], bundle=pem["bundle"], crls=pem["crls"]
            )
            self.workload = pki.Workload.from_source(self._source, policy=settings["policy"])
        else:
            self.workload = pki.Workload.from_directory(
                settings["directory"], policy=settings["policy"]
            )

    def replace(self, key: str, chain: str, bundle: str, crls: str) -> None:
        """Replace the credential."""
        assert self._source is not None
        self._source.replace(
            key=key.encode(), chain=chain.encode(), bundle=bundle.encode(), crls=crls.encode()
        )


def pem_of(directory: Path) -> dict[str, bytes]:
    """Read a credential directory as PEM."""
    credential = load_credential(directory).credential
    assert credential.crls is not None
    return {
        "key": private_key_to_pem(credential.key),
        "chain": to_pem(credential.chain),
        "bundle": credential.bundle.to_pem(),
        "crls": to_pem([item.crl for item in credential.crls.crls.values()]),
    }


def make_server(kind: str, settings: Settings, identity: Identity | None) -> Any:
    """Make a server of one side. Call this in the server's event loop, if it has one.

    Args:
        kind: ``aio`` or ``sync``.
        settings: ``side``, ``when`` (of the decision log; ``file``: all of them, to a file of its
            own) and ``threads``.
        identity: our workload; None makes the bare side.
    """
    pool = ThreadPoolExecutor(max_workers=settings.get("threads", 10))
    if identity is None:
        bare = grpc.aio.server() if kind == "aio" else grpc.server(pool)
        return FloorServer(bare, kind) if settings["side"] == FLOOR else bare
    when = settings.get("when", "on-deny")
    if when == "file":
        when = pki.DecisionLogFile(settings["log"])
    if kind == "aio":
        return identity.workload.server(decision_log=when)
    return identity.workload.sync_server(pool, decision_log=when)


def open_port(server: Any, settings: Settings, identity: Identity | None) -> int:
    """Open a port for mutual TLS; return its number."""
    address = "127.0.0.1:0"
    if identity is not None:
        return int(server.add_secure_port(address))
    pem = pem_of(Path(settings["directory"]))
    credentials = grpc.ssl_server_credentials(
        [(pem["key"], pem["chain"])], pem["bundle"], require_client_auth=True
    )
    return int(server.add_secure_port(address, credentials))


def make_channel(kind: str, settings: Settings, identity: Identity | None) -> Any:
    """Make a channel of one side.

    Args:
        kind: ``aio`` or ``sync``.
        settings: ``targets`` by kind, and ``directory``.
        identity: our workload; None makes the bare side.
    """
    aio, target = kind == "aio", settings["targets"][kind]
    if identity is not None:
        make_ours = identity.workload.channel if aio else identity.workload.sync_channel
        return make_ours(target, peer="server")
    make = grpc.aio.secure_channel if aio else grpc.secure_channel
    return make(target, bare_credentials(Path(settings["directory"])), _PIN)


def bare_credentials(directory: Path) -> grpc.ChannelCredentials:
    """Return a caller's credentials for a channel of bare grpcio."""
    pem = pem_of(directory)
    return grpc.ssl_channel_credentials(pem["bundle"], pem["key"], pem["chain"])
