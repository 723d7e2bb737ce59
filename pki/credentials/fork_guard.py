"""Which process a thing was made in. Threads stay behind at a fork, and gRPC with them.

A process is known by a mark that each fork replaces in the child: comparing it costs less than
asking for the process's number, so each call can afford it.
"""

from __future__ import annotations

import os

from pki.errors import StateError


class _Mark:
    """Stands for one process."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = object()

    def replace(self) -> None:
        self.now = object()


_MARK = _Mark()
os.register_at_fork(after_in_child=_MARK.replace)


class ForkGuard:
    """Remembers the process that something was made in.

    Args:
        what: the thing, for the error, e.g. ``Workload``.
    """

    __slots__ = ("_made_in", "_what")

    def __init__(self, what: str) -> None:
        self._what = what
        self._made_in = _MARK.now

    @property
    def still(self) -> bool:
        """Whether this is that process."""
        return self._made_in is _MARK.now

    def check(self) -> None:
        """Raise in every other process.

        Raises:
            StateError: after a fork, in the child.
        """
        if self._made_in is not _MARK.now:
            raise StateError(
                f"this {self._what} was made before a fork, and its threads stayed in the parent",
                remedy="Make the Workload, its servers and its channels after the fork; see "
                "docs/fork.md",
            )
