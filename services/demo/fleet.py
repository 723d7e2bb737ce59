"""Starts the shop's processes and those of handfast, and stops them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Not the script: it may not be on the path.
_HANDFAST = "from pki.cli.entry import main; main()"
_START_SECONDS = 20.0
_ANSWER_SECONDS = 30.0
_STOP_SECONDS = 8.0


class Fleet:
    """The processes of one demo: the CA, the agent, the five services, and the callers."""

    def __init__(self, home: Path, policy: Path) -> None:
        self.home = home
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

    async def start_command(self, name: str, arguments: Sequence[str], ready: str) -> str:
        """Start a command of handfast, and wait for the line that begins with a word; return it."""
        process = await self._run(name, ["-c", _HANDFAST, *arguments])
        return await self._read_until(name, process, ready)

    async def start_service(self, name: str, token: Path, calls: Sequence[str] = ()) -> None:
        """Start a service that enrolls with a token, and wait until it is ready."""
        extra = [f"--token-file={token}"]
        extra += [f"--peer={peer}={self.addresses[peer]}" for peer in calls]
        process = await self._start(name, f"services.{name}", self.home / name, extra)
        line = await self._read_until(name, process, "READY")
        self.addresses[name] = f"127.0.0.1:{line.split()[1]}"

    async def start_caller(self, name: str, *extra: str) -> None:
        """Start a caller with the credential of that name."""
        await self._start(f"caller-{name}", "services.demo.caller", self.home / name, extra)

    def send_signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a process of this fleet."""
        self._processes[name].send_signal(number)

    async def kill(self, name: str) -> None:
        """Kill a process of this fleet, and wait for its end."""
        process = self._processes.pop(name)
        process.kill()
        await process.communicate()

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
            raise RuntimeError(f"caller {name} ended; see {self.home}/caller-{name}.log")
        answer: dict[str, str] = json.loads(line)
        return answer

    async def _read_until(self, name: str, process: Process, ready: str) -> str:
        assert process.stdout is not None
        line = b""
        while not line.startswith(ready.encode()):
            line = await asyncio.wait_for(process.stdout.readline(), _START_SECONDS)
            if not line:
                raise RuntimeError(f"{name} did not start; see {self.home / name}.log")
        return line.decode()

    async def _start(
        self, name: str, module: str, credential: Path, extra: Sequence[str]
    ) -> Process:
        options = [f"--credential={credential}", f"--policy={self._policy}"]
        return await self._run(name, ["-m", module, *options, *extra])

    async def _run(self, name: str, arguments: Sequence[str]) -> Process:
        with (self.home / f"{name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *arguments,
                stdin=PIPE,
                stdout=PIPE,
                stderr=log,
                env={**os.environ, "HANDFAST_DIR": str(self.home)},
            )
        self._processes[name] = process
        return process
