"""Runs the command lines of docs/deploy, in the folders and on the ports of a test."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.interop.shop import free_port
from tests.served_process import CORE_ONLY, MAIN, SECONDS

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "docs" / "deploy"


class Machine:
    """Stands in for the machine or the pod that a file was written for; its ports are its own.

    Args:
        folder: what is below ``/`` there is below this folder here.
        names: the names of the CA there; here all of them are the loopback.
    """

    def __init__(self, folder: Path, *names: str) -> None:
        self.folder = folder
        self._names = names
        self._ports = {str(number): str(free_port()) for number in (8443, 8444, 9464)}
        self.programs = folder / "usr" / "bin"
        self.programs.mkdir(parents=True, exist_ok=True)
        self.install_program("handfast", MAIN)

    def install_program(self, name: str, code: str) -> None:
        """Put a program on the path that runs Python code."""
        program = self.programs / name
        program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -c '{code}' \"$@\"\n")
        program.chmod(0o755)

    def core_only(self) -> Path:
        """Return another folder for the path, where handfast is installed without any extra."""
        other = self.folder / "core" / "bin"
        other.mkdir(parents=True, exist_ok=True)
        program = other / "handfast"
        code = CORE_ONLY + MAIN
        program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -c '{code}' \"$@\"\n")
        program.chmod(0o755)
        return other

    def here(self, text: str) -> str:
        """Return a text of the files with the names, folders and ports of this test."""
        for name in (*self._names, "0.0.0.0"):
            text = text.replace(f"{name}:", "127.0.0.1:")
        for there, number in self._ports.items():
            text = text.replace(f":{there}", f":{number}")
        for place in ("/var/", "/etc/"):
            text = text.replace(place, f"{self.folder}{place}")
        return text

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of a process of this machine."""
        path = f"{self.programs}:{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", **more}

    def run(
        self, command: list[str], environment: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
            cwd=ROOT,
        )

    @contextmanager
    def running(
        self, command: list[str], environment: dict[str, str]
    ) -> Iterator[subprocess.Popen[str]]:
        """Run a command until the block ends."""
        with subprocess.Popen(
            command,
            env=environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
        ) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()


class NotifySocket:
    """The socket on which systemd hears what a service says of itself."""

    def __init__(self, name: str) -> None:
        self.address = f"@handfast-{os.getpid()}-{name}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + self.address[1:])
        self._socket.settimeout(SECONDS)

    def hear(self) -> str:
        return self._socket.recv(4096).decode()

    def close(self) -> None:
        self._socket.close()
