"""Starts the shop's processes, and stops them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_START_SECONDS = 20.0
_ANSWER_SECONDS = 30.0
_STOP_SECONDS = 8.0


class Fleet:
    """The processes of one demo: the five services, and the callers."""

    def __init__(self, home: Path, policy: Path) -> None:
        self._home = home
        self._policy = policy
        self._processes: dict[str, Process] = {}
        self.addresses: dict[str, str] = {}

    async def __aenter__(self) -> Fleet:
        """Return self."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop every process that was started."""
        for process in self._processes.values():
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
        for name, process in self._processes.items():
            try:
                await asyncio.wait_for(process.communicate(), _STOP_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()
                sys.stderr.write(f"{name} had to be killed\n")

    async def start_service(self, name: str, calls: Sequence[str] = ()) -> None:
        """Start a service, and wait until it is ready."""
        peers = [f"--peer={peer}={self.addresses[peer]}" for peer in calls]
        process = await self._start(name, f"services.{name}", self._home / name, peers)
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), _START_SECONDS)
        words = line.decode().split()
        if len(words) != 2 or words[0] != "READY":
            raise RuntimeError(f"{name} did not start; see {self._home / name}.log")
        self.addresses[name] = f"127.0.0.1:{words[1]}"

    async def start_caller(self, name: str, *, plain: bool = False) -> None:
        """Start a caller with the credential of that name."""
        extra = ["--plain"] if plain else []
        await self._start(f"caller-{name}", "services.demo.caller", self._home / name, extra)

    async def ask(self, name: str, **order: Any) -> dict[str, str]:
        """Send an order to a caller, and return its reply."""
        process = self._processes[f"caller-{name}"]
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write((json.dumps(order) + "\n").encode())
        with contextlib.suppress(ConnectionError):
            await process.stdin.drain()
        line = await asyncio.wait_for(process.stdout.readline(), _ANSWER_SECONDS)
        if not line:
            raise RuntimeError(f"caller {name} ended; see {self._home}/caller-{name}.log")
        answer: dict[str, str] = json.loads(line)
        return answer

    async def _start(
        self, name: str, module: str, credential: Path, extra: Sequence[str]
    ) -> Process:
        with (self._home / f"{name}.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                module,
                f"--credential={credential}",
                f"--policy={self._policy}",
                *extra,
                stdin=PIPE,
                stdout=PIPE,
                stderr=log,
            )
        self._processes[name] = process
        return process
