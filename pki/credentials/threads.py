"""Helps to start threads, and not to wait for them on an event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from pki.background import defer
from pki.errors import StateError

log = logging.getLogger("handfast.credentials")

_Result = TypeVar("_Result")


def no_thread_error(error: RuntimeError) -> StateError:
    """Return the error for a thread that can't be started."""
    return StateError(
        f"no thread could be started to follow the credential and the policy: {error}",
        remedy="Allow this process more threads (RLIMIT_NPROC, the cgroup's pids.max)",
    )


def on_event_loop() -> bool:
    """Return whether the caller runs on an event loop, which must not be held up."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def run_in_thread(make: Callable[[], _Result]) -> _Result:
    """Run a step in a thread of its own: a source may block, or run an event loop by itself."""
    results: list[_Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(make())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="handfast-start", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise no_thread_error(error) from error
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def run_safely(step: Callable[[], object]) -> None:
    """Run one step of many: an error in it must not keep the others from running."""
    try:
        step()
    except Exception as error:
        defer(log.error, "a change of credential, CRLs or policy could not be applied: %r", error)
