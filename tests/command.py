"""Runs the command in the test's own process, and looks at what it left."""

from __future__ import annotations

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
from tests.support import request_for

Capture = pytest.CaptureFixture[str]
NOBODY = 65534
MALLORY = 54321


def said(capsys: Capture, *arguments: str | Path) -> tuple[int, str, str]:
    capsys.readouterr()
    code = run([str(item) for item in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def json_of(capsys: Capture, *arguments: str | Path) -> dict[str, Any]:
    code, out, _ = said(capsys, *arguments, "--json")
    found: dict[str, Any] = json.loads(out)
    return {**found, "code": code}


def files_of(folder: Path) -> dict[str, bytes]:
    """Return what lies in a directory, but for the lock."""
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != ".handfast.lock"
    }


def write_request(path: Path, key: PrivateKey, *names: x509.GeneralName) -> Path:
    request = request_for(key, list(names))
    path.write_bytes(request.public_bytes(serialization.Encoding.PEM))
    return path


def run_as(user: int, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as another user, in a folder of theirs."""
    return subprocess.run(
        [sys.executable, "-c", "from pki.cli.app import main; main()", *arguments],
        cwd=folder,
        user=user,
        group=user,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
    )
