"""The policy in force: read at start, read again while running.

At start no policy or a bad one is an error. Later a bad one leaves the last good one in force,
unready and alarmed; a removed one does so for ``policy_grace`` alone, and then everything is
refused.
"""

from __future__ import annotations

import hashlib
import logging
from datetime import datetime
from pathlib import Path

from pki.authz import MAX_POLICY_BYTES, Policy, read_policy
from pki.errors import PkiError, PolicyError, shown
from pki.files import read_bounded

log = logging.getLogger("handfast.rpc")


class PolicyFile:
    """A policy file and what is in force of it.

    Args:
        path: where it lies.

    Raises:
        PolicyError: if it is missing or bad.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            data = self._read()
        except FileNotFoundError:
            raise PolicyError(
                "is not there", source=str(path), remedy="Write one; see docs/policy.md"
            ) from None
        self._policy = read_policy(data, source=path.name)
        self._failed_digest = ""
        self._removed_at: datetime | None = None
        self._refusing = False
        self._withdrawn = False
        self.problem = ""
        self._say_what_is_not_enforced()

    def policy(self) -> Policy | None:
        """Give the policy in force; None when everything is refused."""
        return None if self._refusing or self._withdrawn else self._policy

    @property
    def grace_ends(self) -> datetime | None:
        """When everything is refused, since the file was removed; None while it is there."""
        return None if self._removed_at is None else self._removed_at + self._policy.policy_grace

    def reload(self, now: datetime) -> bool:
        """Read the file again; tell whether what is in force changed."""
        try:
            data = self._read()
        except FileNotFoundError:
            return self._removed(now)
        except PkiError as error:
            return self._bad(error, "")
        digest = hashlib.sha256(data).hexdigest()
        was_refusing = self._refusing
        if digest == self._policy.digest:
            self._good()
            return was_refusing
        if digest == self._failed_digest:
            return False
        try:
            self._policy = read_policy(data, source=self.path.name)
        except PolicyError as error:
            return self._bad(error, digest)
        log.info("policy %s reloaded", shown(self.path))
        self._say_what_is_not_enforced()
        self._good()
        return True

    def _say_what_is_not_enforced(self) -> None:
        words = self._policy.enforcement.words()
        if words:
            log.warning(
                'policy %s is NOT ENFORCED for %s (enforce = "audit"): calls that no grant allows '
                "go through, and are logged",
                shown(self.path),
                words,
            )

    def withdraw(self) -> None:
        """Have it say nothing any more, whatever is read: nobody follows its changes now."""
        self._withdrawn = True

    def _read(self) -> bytes:
        return read_bounded(self.path, max_bytes=MAX_POLICY_BYTES)[0]

    def _good(self) -> None:
        self._removed_at, self._refusing, self._failed_digest, self.problem = None, False, "", ""

    def _bad(self, error: PkiError, digest: str) -> bool:
        if self.problem != str(error):
            log.error("policy refused, the last good one stays in force: %s", error)
        self._failed_digest, self.problem = digest, str(error)
        return False

    def _removed(self, now: datetime) -> bool:
        if self._removed_at is None:
            self._removed_at = now
            self.problem = f"policy {shown(self.path)} was removed"
            log.error("%s; it is in force for %s more", self.problem, self._policy.policy_grace)
        if self._refusing or now < self._removed_at + self._policy.policy_grace:
            return False
        log.error("%s: every call is refused", self.problem)
        self._refusing = True
        return True
