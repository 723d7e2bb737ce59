"""Hints between the machines that share a ledger: what followers see has changed, look now.

A hint is a help and no more. Whoever follows the ledger looks at it four times a second anyway; a
hint that is lost, late or false costs a fraction of a second, or one look more. So nothing waits
for a hint, and nothing fails with one.
"""

from __future__ import annotations

from collections.abc import Callable


class LedgerHints:
    """The hints of a ledger that no other machine shares: there are none."""

    def send(self) -> None:
        """Tell the other machines, soon and without waiting."""

    def listen(self, heard: Callable[[], object]) -> Callable[[], None]:
        """Call a function, in another thread, after each hint of another process.

        Args:
            heard: the function; it must not block.

        Returns:
            A function that ends this.
        """
        del heard
        return lambda: None

    def close(self) -> None:
        """Send what is due, and end."""
