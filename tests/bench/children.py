"""Programs that the benchmarks run beside themselves, told what to do by lines of JSON."""

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
        module: its module.
        how: its settings.
        home: where its words go.
    """

    def __init__(self, module: str, how: Mapping[str, Any], home: Path) -> None:
        self._words = home / f"{module.rpartition('.')[2]}-{time.monotonic_ns()}.err"
        with self._words.open("w") as words:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, json.dumps(how)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=words,
                text=True,
                cwd=ROOT,
                # Its refusals of half-open handshakes are part of what is measured, and no news.
                env={**os.environ, "GRPC_VERBOSITY": "NONE"},
            )
        self.hello: dict[str, Any] = self._answer()

    def ask(self, do: str, **how: Any) -> Any:
        """Have something done, and give the answer."""
        self.tell(do, **how)
        return self.answer()

    def tell(self, do: str, **how: Any) -> None:
        """Have something done whose answer is fetched later."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **how}) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """Fetch the answer."""
        return self._answer()["answer"]

    def close(self) -> None:
        """Let it end."""
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
            raise RuntimeError(f"a benchmark's program ended: {self._words.read_text()[-4000:]}")
        found: dict[str, Any] = json.loads(line)
        if "failed" in found:
            raise RuntimeError(f"a benchmark's program failed: {found['failed']}")
        return found


def serve_commands(hello: Mapping[str, Any], commands: Mapping[str, Command]) -> None:
    """Be such a program: greet, and answer commands until there are no more."""
    print(json.dumps(hello), flush=True)
    known: dict[str, Command] = {"cpu": time.process_time, "size": size, **commands}
    for line in sys.stdin:
        told = json.loads(line)
        try:
            found = {"answer": known[told.pop("do")](**told)}
        except Exception as error:
            found = {"failed": f"{type(error).__name__}: {error}"}
        print(json.dumps(found), flush=True)


def size() -> dict[str, int]:
    """Return this process's resident bytes, threads and descriptors."""
    gc.collect()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
    return {
        "resident": resident,
        "threads": len(os.listdir("/proc/self/task")),
        "descriptors": len(os.listdir("/proc/self/fd")),
    }
