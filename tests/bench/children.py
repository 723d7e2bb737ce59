"""Child processes of the benchmarks, which take commands as lines of JSON."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
_PAGE = os.sysconf("SC_PAGE_SIZE")

Command = Callable[..., Any]


class Child:
    """A program of ours in a process of its own.

    Args:
        module: the module to run.
        settings: its settings.
        home: the folder for its standard error.
    """

    def __init__(self, module: str, settings: Mapping[str, Any], home: Path) -> None:
        self._stderr = home / f"{module.rpartition('.')[2]}-{time.monotonic_ns()}.err"
        with self._stderr.open("w") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, json.dumps(settings)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                cwd=ROOT,
                # gRPC would log each half-open handshake that the benchmarks make on purpose.
                env={**os.environ, "GRPC_VERBOSITY": "NONE"},
            )
        self.greeting: dict[str, Any] = self._answer()

    def ask(self, do: str, **arguments: Any) -> Any:
        """Send a command, and return its answer."""
        self.tell(do, **arguments)
        return self.answer()

    def tell(self, do: str, **arguments: Any) -> None:
        """Send a command whose answer is fetched later."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """Return the answer of the last command."""
        return self._answer()["answer"]

    def close(self) -> None:
        """Have it end, by closing its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(
                f"a benchmark's child process ended: {self._stderr.read_text()[-4000:]}"
            )
        reply: dict[str, Any] = json.loads(line)
        if "failed" in reply:
            raise RuntimeError(f"a benchmark's child process failed: {reply['failed']}")
        return reply


def serve_commands(greeting: Mapping[str, Any], commands: Mapping[str, Command]) -> None:
    """Run as a child process: print a greeting, and answer commands until there are no more."""
    print(json.dumps(greeting), flush=True)
    all_commands: dict[str, Command] = {"cpu": time.process_time, "size": size, **commands}
    for line in sys.stdin:
        arguments = json.loads(line)
        try:
            reply = {"answer": all_commands[arguments.pop("do")](**arguments)}
        except Exception as error:
            reply = {"failed": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), flush=True)


def size() -> dict[str, int]:
    """Return this process's resident bytes, threads and descriptors."""
    gc.collect()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
    return {
        "resident": resident,
        "threads": len(os.listdir("/proc/self/task")),
        "descriptors": len(os.listdir("/proc/self/fd")),
    }
