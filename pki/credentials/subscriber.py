"""What follows a workload's credential: servers, ports and channels subscribe to its provider."""

from __future__ import annotations

from pki.credentials.snapshot import Snapshot


class Subscriber:
    """The base of what follows a provider's snapshots; a subclass overrides what it needs.

    All methods are called by the provider's threads; :meth:`on_close` by the thread that closes the
    provider. None of them may block.
    """

    def on_change(self, snapshot: Snapshot) -> None:
        """Take note of a new snapshot; :meth:`recheck` follows."""

    def recheck(self) -> None:
        """Check again what runs: right after each change, and a few times a second."""

    @property
    def has_running(self) -> bool:
        """Whether something runs that must be rechecked, also once the provider is closed."""
        return False

    @property
    def is_current_thread(self) -> bool:
        """Whether the caller runs in a thread of the subscriber's own, which can't wait for it."""
        return False

    def wait_applied(self, seconds: float) -> bool:
        """Wait until the last change is in effect; return whether it is."""
        del seconds
        return True

    def on_close(self) -> None:
        """Refuse every call from now on, because nobody would notice a revocation."""

    def on_closed(self) -> None:
        """Report what is left to report: the provider is closed, and has rechecked everything."""
