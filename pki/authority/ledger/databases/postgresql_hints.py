"""Hints by NOTIFY and LISTEN of PostgreSQL.

The rules:

1. A hint is sent after the commit that it tells of, in a transaction of its own. Within that
   commit, NOTIFY would take a lock on all databases of the server at its end, and hold it until the
   commit is durable: with a standby that does not answer, for as long as that. A full queue would
   even fail the commit.
2. It is sent by a thread of its own, so that the commit takes no longer, and without waiting for
   the disk or a standby. Hints that come while one is sent are one.
3. The listener has a connection of its own. If that is lost, it comes back by itself, ever more
   slowly. A server or a proxy where nobody can listen hinders nothing.
4. Anybody who may use the database may send hints. They name nothing, and make nobody look more
   than twenty times a second.
"""

from __future__ import annotations

import os
import secrets
import selectors
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from pki.authority.ledger.databases.hints import LedgerHints

CHANNEL = "handfast_trust"
_PAUSE_SECONDS = 0.05
_CLOSE_SECONDS = 2.0
_ALIVE_SECONDS = 10.0
"""How often a listener that hears nothing asks whether its connection lives."""
_FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS = 0.5, 30.0


class PostgresqlHints(LedgerHints):
    """The hints of a ledger in a database.

    Args:
        engine: the way to the database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # By it a process knows its own hints.
        self._origin = secrets.token_hex(8)
        self._changed = threading.Condition()
        self._is_due = self._is_busy = self._is_closed = False
        self._thread: threading.Thread | None = None

    def send(self) -> None:
        """Tell the other machines, soon and without waiting."""
        with self._changed, suppress(RuntimeError):
            if self._is_closed:
                return
            self._is_due = True
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="handfast-hints", daemon=True)
                # Where no thread can be started, the next one tries again.
                thread.start()
                self._thread = thread
            self._changed.notify_all()

    def listen(self, heard: Callable[[], object]) -> Callable[[], None]:
        """Call a function, in another thread, after each hint of another process."""
        listener = _Listener(self._engine, self._origin, heard)
        listener.start()
        return listener.stop

    def close(self) -> None:
        """Send what is due, and end. A server that does not answer is not waited for for long."""
        with self._changed:
            if self._thread is not None:
                self._changed.wait_for(lambda: not (self._is_due or self._is_busy), _CLOSE_SECONDS)
            self._is_closed = True
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_due or self._is_closed)
                if self._is_closed:
                    return
                self._is_due, self._is_busy = False, True
            try:
                self._send()
            finally:
                with self._changed:
                    self._is_busy = False
                    self._changed.notify_all()
                    # What comes now is sent together; the end comes at once.
                    self._changed.wait_for(lambda: self._is_closed, _PAUSE_SECONDS)

    def _send(self) -> None:
        # Whoever gets no hint looks by themselves.
        with suppress(SQLAlchemyError, OSError, _driver_error(self._engine)):
            connection = self._engine.raw_connection()
            try:
                driver: Any = connection.driver_connection
                driver.execute(
                    "SET LOCAL synchronous_commit = off; SET LOCAL lock_timeout = 1000; "
                    f"NOTIFY {CHANNEL}, '{self._origin}'"
                )
                driver.commit()
            except BaseException:
                # The pool would try, and report, a rollback on what may be lost.
                connection.invalidate()
                raise
            connection.close()


class _Listener:
    """Listens in a thread of its own, on a connection of its own."""

    def __init__(self, engine: Engine, origin: str, heard: Callable[[], object]) -> None:
        self._engine = engine
        self._origin = origin
        self._heard = heard
        self._is_stopped = False
        self._waker, self._wakes = os.pipe()
        self._thread = threading.Thread(target=self._run, name="handfast-listen", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread; a second call does nothing."""
        if self._is_stopped:
            return
        self._is_stopped = True
        os.write(self._wakes, b"x")
        self._thread.join(_CLOSE_SECONDS)
        if not self._thread.is_alive():
            os.close(self._wakes)
            os.close(self._waker)

    def _run(self) -> None:
        pause = _FIRST_RETRY_SECONDS
        while not self._is_stopped:
            begun = time.monotonic()
            with suppress(SQLAlchemyError, OSError, _driver_error(self._engine)):
                self._listen_once()
            if time.monotonic() - begun > _LAST_RETRY_SECONDS:
                pause = _FIRST_RETRY_SECONDS
            self._wait(None, pause)
            pause = min(2 * pause, _LAST_RETRY_SECONDS)

    def _listen_once(self) -> None:
        """Listen until the connection is lost, or the end."""
        connection = self._engine.raw_connection()
        driver: Any = connection.driver_connection
        # It is no connection of the pool any more: nobody else waits for it.
        connection.detach()
        try:
            driver.autocommit = True
            driver.add_notify_handler(self._take)
            driver.execute(f"LISTEN {CHANNEL}")
            # What was told while nobody listened.
            self._heard()
            while not self._is_stopped:
                self._wait(driver.fileno(), _ALIVE_SECONDS)
                # Reads what has come, and fails on a connection that is lost.
                driver.execute("SELECT 1")
                self._wait(None, _PAUSE_SECONDS)
        finally:
            driver.close()
            # Nothing is to be rolled back on it.
            connection.invalidate()

    def _take(self, notification: Any) -> None:
        if notification.payload != self._origin:
            self._heard()

    def _wait(self, descriptor: int | None, seconds: float) -> None:
        """Wait until there is something to read, until the end, or so long."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._waker, selectors.EVENT_READ)
            if descriptor is not None:
                selector.register(descriptor, selectors.EVENT_READ)
            selector.select(seconds)


def _driver_error(engine: Engine) -> type[Exception]:
    """Return the root of the driver's errors."""
    error: type[Exception] = engine.dialect.loaded_dbapi.Error
    return error
