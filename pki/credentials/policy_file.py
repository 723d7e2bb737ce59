"""The policy in force: read at start, read again while running.

At start no policy or a bad one is an error. Later a bad one leaves the last good one in force,
unready and alarmed. A removed one does so for ``policy_grace`` alone, and one that can't be read
any more, whatever the cause, for ``read_grace``; then everything is refused. The ends of both
graces are told by time, not by reading the file: a disk that never answers is one of the causes.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from pki.authz import MAX_POLICY_BYTES, Policy, read_policy
from pki.background import defer
from pki.errors import PkiError, PolicyError, UnreadableError, quote_untrusted
from pki.files import read_bounded

log = logging.getLogger("handfast.rpc")


class PolicyFile:
    """A policy file and what is in force of it.

    Args:
        path: where it lies.
        read_grace: how long it is in force while it can't be read again.
        monotonic: gives seconds that only grow.

    Raises:
        PolicyError: if it is missing or bad.
    """

    def __init__(
        self,
        path: Path,
        read_grace: timedelta,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self._read_grace = read_grace.total_seconds()
        self._monotonic = monotonic
        try:
            data = self._read()
        except FileNotFoundError:
            raise PolicyError(
                "is not there", source=str(path), remedy="Write one; see docs/policy.md"
            ) from None
        self._policy = read_policy(data, source=path.name)
        self._failed_digest = ""
        self._removed_at: datetime | None = None
        self._refusing = self._unread = False
        self._read_at = monotonic()
        self._withdrawn = False
        self.problem = ""
        self._say_what_is_not_enforced()

    def policy(self) -> Policy | None:
        """Return the policy in force; None when everything is refused."""
        is_out = self._refusing or self._unread or self._withdrawn
        return None if is_out else self._policy

    @property
    def grace_ends(self) -> datetime | None:
        """When everything is refused, since the file was removed; None while it is there."""
        return None if self._removed_at is None else self._removed_at + self._policy.policy_grace

    def reload(self, now: datetime) -> bool:
        """Read the file again; return whether what is in force changed."""
        was_refusing = self.policy() is None
        try:
            data = self._read()
        except FileNotFoundError:
            self._was_read()
            return self._removed(now)
        except PkiError as error:
            if not isinstance(error, UnreadableError):
                self._was_read()
            return self._bad(error, "")
        self._was_read()
        digest = hashlib.sha256(data).hexdigest()
        if digest == self._policy.digest:
            self._good()
            return was_refusing
        if digest == self._failed_digest:
            return False
        try:
            self._policy = read_policy(data, source=self.path.name)
        except Exception as error:
            # A fault of the reader's own is one of the file's too: the last good one stays.
            is_ours = isinstance(error, PolicyError)
            words = error if is_ours else PolicyError(repr(error), source=self.path.name)
            return self._bad(words, digest)
        self._good()
        defer(log.info, "policy %s reloaded", quote_untrusted(self.path))
        self._say_what_is_not_enforced()
        return True

    def tick(self, now: datetime) -> bool:
        """Let a grace end that is over; return whether what is in force changed."""
        if self.policy() is None:
            return False
        if self._removed_at is not None and now >= self._removed_at + self._policy.policy_grace:
            self._refusing = True
            defer(log.error, "%s: every call is refused", self.problem)
            return True
        if self._monotonic() - self._read_at > self._read_grace:
            self._unread = True
            self.problem = self.problem or f"policy {quote_untrusted(self.path)} can't be read"
            defer(
                log.critical,
                "%s, for more than %g s: every call is refused",
                self.problem,
                self._read_grace,
            )
            return True
        return False

    def _was_read(self) -> None:
        self._read_at = self._monotonic()
        self._unread = False

    def _say_what_is_not_enforced(self) -> None:
        words = self._policy.enforcement.audited_summary()
        if words:
            defer(
                log.warning,
                'policy %s is NOT ENFORCED for %s (enforce = "audit"): calls that no grant allows '
                "go through, and are logged",
                quote_untrusted(self.path),
                words,
            )

    def withdraw(self) -> None:
        """Have it say nothing any more, whatever is read: nobody follows its changes now."""
        self._withdrawn = True

    def _read(self) -> bytes:
        return read_bounded(self.path, max_bytes=MAX_POLICY_BYTES)[0]

    def _good(self) -> None:
        self._removed_at, self._refusing, self._failed_digest, self.problem = None, False, "", ""

    def _bad(self, error: Exception, digest: str) -> bool:
        is_new = self.problem != str(error)
        self._failed_digest, self.problem = digest, str(error)
        if is_new:
            defer(log.error, "policy refused, the last good one stays in force: %s", error)
        return False

    def _removed(self, now: datetime) -> bool:
        if self._removed_at is None:
            self._removed_at = now
            self.problem = f"policy {quote_untrusted(self.path)} was removed"
            grace = self._policy.policy_grace
            defer(log.error, "%s; it is in force for %s more", self.problem, grace)
        return self.tick(now)
