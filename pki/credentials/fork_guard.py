"""Detects a fork: threads, and gRPC with them, do not live on in the child.

A process is known by a token that each fork replaces in the child. Comparing it costs less than
``os.getpid()``, so it can be done at each call.
"""

from __future__ import annotations

import os

from pki.errors import StateError


class _Process:
    """The present process."""

    __slots__ = ("token",)

    def __init__(self) -> None:
        self.token = object()

    def replace_token(self) -> None:
        self.token = object()


_PROCESS = _Process()
os.register_at_fork(after_in_child=_PROCESS.replace_token)


class ForkGuard:
    """Remembers the process that an object was made in.

    Args:
        what: the kind of object, for the error, e.g. ``Workload``.
    """

    __slots__ = ("_made_in", "_what")

    def __init__(self, what: str) -> None:
        self._what = what
        self._made_in = _PROCESS.token

    @property
    def in_same_process(self) -> bool:
        """Whether this is the process that the object was made in."""
        return self._made_in is _PROCESS.token

    def check(self) -> None:
        """Raise if this is another process.

        Raises:
            StateError: after a fork, in the child.
        """
        if self._made_in is not _PROCESS.token:
            raise StateError(
                f"this {self._what} was made before a fork, and its threads stayed in the parent",
                remedy="Make the Workload, its servers and its channels after the fork; see "
                "handfast docs fork",
            )
