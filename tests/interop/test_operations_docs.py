"""The commands of docs/operations.md, as they are printed, in their order."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.interop.shop import free_port
from tests.postgresql import PostgresqlServer
from tests.served_process import Running
from tests.softhsm import PIN, SoftHsm

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
SECONDS = 60.0
PRINTED_PORTS = ("8443", "8444", "9443", "9444")
PRINTED_MODULE = "/usr/lib/softhsm/libsofthsm2.so"


def commands() -> list[str]:
    """Return the commands of the page, in their order."""
    blocks = re.findall(r"^```console\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    lines = "".join(blocks).splitlines()
    assert all(line.startswith("$ ") for line in lines)
    return [line.removeprefix("$ ") for line in lines]


@contextmanager
def started(command: str, home: Path, environment: dict[str, str]) -> Iterator[None]:
    """Run a command of the page that goes on, until the block ends."""
    log = home / "serve.log"
    with log.open("w") as written:
        # In place of the shell, so that it is the command that is ended.
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=home,
            env=environment,
            stdout=written,
            stderr=written,
            text=True,
        )
    try:
        Running(process, log).line("Serving the CA")
        yield
    finally:
        process.terminate()
        process.wait(SECONDS)


@pytest.mark.documents
@pytest.mark.timeout(300)
@pytest.mark.skipif(shutil.which("psql") is None, reason="needs psql")
@pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq")
def test_each_command_runs_as_it_is_printed(tmp_path: Path, softhsm: SoftHsm) -> None:
    for name, secret in {"passphrase": "a passphrase of the CA", "pin": PIN}.items():
        (tmp_path / name).write_text(f"{secret}\n")
        (tmp_path / name).chmod(0o600)
    (tmp_path / "roots").mkdir(mode=0o700)
    binaries = tmp_path / "bin"
    binaries.mkdir()
    (binaries / "handfast").symlink_to(Path(sys.executable).parent / "handfast")
    environment = {**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}"}
    ports = {printed: free_port() for printed in PRINTED_PORTS}
    ran = []
    with PostgresqlServer(fsync="off") as server, ExitStack() as running:
        server.execute("CREATE ROLE postgres SUPERUSER LOGIN")
        for line in commands():
            command = line.replace("db.internal", f"127.0.0.1:{server.port}")
            for printed, port in ports.items():
                command = command.replace(f"0.0.0.0:{printed}", f"127.0.0.1:{port}")
            if command.startswith("export "):
                name, _, value = command.removeprefix("export ").partition("=")
                # All commands run in the one folder, so a relative path may be a whole one.
                environment[name] = str(
                    tmp_path / value.replace(PRINTED_MODULE, str(softhsm.module))
                )
            elif command.endswith(" &"):
                running.enter_context(started(command[:-2], tmp_path, environment))
            else:
                done = subprocess.run(
                    ["bash", "-c", command],
                    cwd=tmp_path,
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=SECONDS,
                )
                assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
            ran.append(line)
        known = subprocess.run(
            [binaries / "handfast", "ca", "status", "--json"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            check=True,
        )
    assert len(ran) > 40
    issuers = json.loads(known.stdout)["issuers"]
    # The page has led to its end: nothing hangs on the root that leaked.
    old, new = (item["status"] for item in issuers if item["kind"] == "root")
    assert (old, new) == ("withdrawn", "active")
