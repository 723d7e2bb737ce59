"""Runs the ``handfast`` command in the test's own process, and reads its output and files."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from pki.cli.app import run
from pki.keys import PrivateKey
from tests.ready_made import ReadyMade
from tests.support import request_for

Capture = pytest.CaptureFixture[str]
NOBODY = 65534
MALLORY = 54321


def run_command(capsys: Capture, *arguments: str | Path) -> tuple[int, str, str]:
    capsys.readouterr()
    code = run([str(item) for item in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def run_json(capsys: Capture, *arguments: str | Path) -> dict[str, Any]:
    code, out, _ = run_command(capsys, *arguments, "--json")
    answer: dict[str, Any] = json.loads(out)
    return {**answer, "code": code}


def make_state(state: Path, *names: str) -> None:
    """Write the state folder that ``ca init`` and ``issue`` make, for tests of what comes then."""
    _ready_state(names).write(state)


@functools.cache
def _ready_state(names: tuple[str, ...]) -> ReadyMade:
    def make(folder: Path) -> None:
        state = ("--dir", str(folder))
        assert run(["ca", "init", "--trust-domain", "shop.internal", *state]) == 0
        for name in names:
            assert run(["issue", name, *state]) == 0

    return ReadyMade(make)


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the files in a directory, without the lock."""
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != ".handfast.lock"
    }


def write_request(path: Path, key: PrivateKey, *names: x509.GeneralName) -> Path:
    request = request_for(key, list(names))
    path.write_bytes(request.public_bytes(serialization.Encoding.PEM))
    return path


_AS_USER = """
import os, sys, tempfile
from pki.cli.app import run
from pki.cli.entry import main

user, folder = int(sys.argv[1]), sys.argv[2]
# Load every module now: some may lie where only root can read.
out, sys.stdout = sys.stdout, open(os.devnull, "w")
with tempfile.TemporaryDirectory() as home:
    for words in (
        *("ca init --trust-domain a.test", "issue a", "renew {0}/a --force", "crl", "ca rotate"),
    ):
        assert run([*words.format(home).split(), "--dir", home]) == 0
sys.stdout = out
os.chdir(folder)
os.setgroups([])
os.setgid(user)
os.setuid(user)
os.umask(int(sys.argv[3], 8))
sys.argv[1:] = sys.argv[4:]
main()
"""


def run_as(
    user: int, folder: Path, *arguments: str, umask: int = 0o022
) -> subprocess.CompletedProcess[str]:
    """Run the command as another user in a folder; needs root."""
    return subprocess.run(
        [sys.executable, "-c", _AS_USER, str(user), str(folder), f"{umask:o}", *arguments],
        cwd=Path(__file__).resolve().parents[1],
        # That user can't write coverage data, and the warning about it would be part of the output.
        env={key: value for key, value in os.environ.items() if "COVERAGE" not in key},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def chown_all(user: int, *paths: Path) -> None:
    """Give files and folders to a user, with all that they contain."""
    for path in paths:
        for item in (path, *path.rglob("*")):
            os.chown(item, user, user, follow_symlinks=False)
