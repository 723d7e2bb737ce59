"""Commands of handfast that run beside a test, each a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MAIN = "from pki.cli.entry import main; main()"
SECONDS = 60.0
# As where only the core is installed.
CORE_ONLY = """\
import sys
for name in ("typer", "rich", "watchfiles", "sqlalchemy", "alembic", "grpc_health"):
    sys.modules[name] = None
"""


class Running:
    """A process, and what it has printed."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def output(self) -> str:
        return self._log.read_text()

    def line(self, begin: str) -> str:
        """Return the line that begins so; wait for it."""
        end = time.monotonic() + SECONDS
        while True:
            lines = self.output.splitlines(keepends=True)
            for line in lines:
                if line.startswith(begin) and line.endswith("\n"):
                    return line.rstrip("\n")
            assert self.process.poll() is None, self.output
            assert time.monotonic() < end, self.output
            time.sleep(0.02)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)


@contextmanager
def running(
    folder: Path, *arguments: str, name: str = "", environment: dict[str, str] | None = None
) -> Iterator[Running]:
    """Run ``handfast`` with arguments, with a folder as its state folder."""
    log = folder / f"{name or arguments[0]}.log"
    with log.open("w") as written:
        process = subprocess.Popen(
            [sys.executable, "-c", MAIN, *arguments],
            stdout=written,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            env={
                **os.environ,
                "HANDFAST_DIR": str(folder),
                "PYTHONUNBUFFERED": "1",
                **(environment or {}),
            },
        )
    with process:
        try:
            yield Running(process, log)
        finally:
            if process.poll() is None:
                process.kill()


def handfast(
    folder: Path, *arguments: str, given: str = "", core_only: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-c", (CORE_ONLY if core_only else "") + MAIN, *arguments],
        capture_output=True,
        text=True,
        input=given,
        check=False,
        timeout=SECONDS,
        env={**os.environ, "HANDFAST_DIR": str(folder)},
    )
