"""The policy in force: read at the start, and read again while running.

At the start a missing or bad policy is an error. Later, the last good policy stays in force while

- the file is bad: without a limit; a problem is reported;
- the file is removed: for the ``policy_grace`` that the last good policy sets;
- the file can't be read, whatever the cause: for ``read_grace``.

After either grace every call is refused. A clock decides when a grace is over, not a read of the
file, because a disk that never answers may be the cause.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from pathlib import Path

from pki.authz import MAX_POLICY_BYTES, Policy, read_policy
from pki.background import defer
from pki.errors import PkiError, PolicyError, UnreadableError, quote_untrusted
from pki.files import read_bounded
from pki.identity import TrustDomain

log = logging.getLogger("handfast.credentials")


class PolicyFile:
    """A policy file, and the policy that is in force because of it.

    Args:
        path: the file.
        read_grace: how long the policy stays in force while the file can't be read.
        trust_domains: for whose workloads it may be written; None accepts every trust domain.
        monotonic: returns seconds that only grow.

    Raises:
        PolicyError: if it is missing or bad, or written for another trust domain.
    """

    def __init__(
        self,
        path: Path,
        read_grace: timedelta,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        trust_domains: Collection[TrustDomain] | None = None,
    ) -> None:
        self.path = path
        self._read_grace = read_grace.total_seconds()
        self._monotonic = monotonic
        try:
            data = self._read()
        except FileNotFoundError:
            raise PolicyError(
                "is not there", source=str(path), remedy="Write one; see: handfast docs policy"
            ) from None
        self._policy = read_policy(data, source=path.name)
        self.check_trust_domain(trust_domains)
        self._failed_digest = ""
        self._removed_at: datetime | None = None
        self._grace_is_over = self._unreadable_too_long = False
        self._read_at = monotonic()
        self._withdrawn = False
        self._publishing = threading.Lock()
        self.in_force: Policy | None = self._policy
        """The policy in force, another object after each change; None refuses everything."""
        self.problem = ""
        self._warn_if_not_enforced()

    def check_trust_domain(self, permitted: Collection[TrustDomain] | None) -> None:
        """Check for whose workloads the policy is written: by another, nobody would have a role.

        Raises:
            PolicyError: if it is for another trust domain than the permitted ones.
        """
        own = self._policy.trust_domain
        if permitted is None or own in permitted:
            return
        whose = " or ".join(str(item) for item in permitted)
        raise PolicyError(
            f"it is written for the trust domain {own}, and used by a workload of {whose}: "
            "it would refuse every call",
            source=str(self.path),
            remedy=f'Use the policy of {whose}, or correct trust_domain = "{own.name}" in this one',
        )

    def policy(self) -> Policy | None:
        """Return the policy in force; None if everything is refused."""
        return self.in_force

    @property
    def grace_ends(self) -> datetime | None:
        """When everything is refused because the file was removed; None if it was not."""
        return None if self._removed_at is None else self._removed_at + self._policy.policy_grace

    def reload(self, now: datetime) -> bool:
        """Read the file again; return whether what is in force changed.

        One change is not reported: a file that could not be read for longer than ``read_grace``,
        and is malformed when it can be read again, brings the last good policy back into force.
        """
        was_refusing = self.policy() is None
        try:
            data = self._read()
        except FileNotFoundError:
            self._note_readable()
            return self._note_removed(now)
        except PkiError as error:
            if not isinstance(error, UnreadableError):
                self._note_readable()
            return self._note_bad(error, "")
        self._note_readable()
        digest = hashlib.sha256(data).hexdigest()
        if digest == self._policy.digest:
            self._note_good()
            return was_refusing
        if digest == self._failed_digest:
            return False
        try:
            self._policy = self._read_successor(data)
        except Exception as error:
            # An error in the reader itself is treated like a bad file: the last good policy stays
            # in force.
            is_ours = isinstance(error, PolicyError)
            problem = error if is_ours else PolicyError(repr(error), source=self.path.name)
            return self._note_bad(problem, digest)
        self._note_good()
        defer(log.info, "policy %s reloaded", quote_untrusted(self.path))
        self._warn_if_not_enforced()
        return True

    def _read_successor(self, data: bytes) -> Policy:
        """Read a new policy for the trust domain of the one in force.

        Raises:
            PolicyError: if it is bad, or for another trust domain.
        """
        policy = read_policy(data, source=self.path.name)
        if policy.trust_domain != self._policy.trust_domain:
            raise PolicyError(
                f"it is written for the trust domain {policy.trust_domain}, and the one in force "
                f"for {self._policy.trust_domain}",
                source=self.path.name,
                remedy="Restart, if the workload itself changes its trust domain",
            )
        return policy

    def check_graces(self, now: datetime) -> bool:
        """End a grace that is over; return whether what is in force changed."""
        if self.policy() is None:
            return False
        if self._removed_at is not None and now >= self._removed_at + self._policy.policy_grace:
            self._grace_is_over = True
            self._publish()
            defer(log.error, "%s: every call is refused", self.problem)
            return True
        if self._monotonic() - self._read_at > self._read_grace:
            self._unreadable_too_long = True
            self._publish()
            self.problem = self.problem or f"policy {quote_untrusted(self.path)} can't be read"
            defer(
                log.critical,
                "%s, for more than %g s: every call is refused",
                self.problem,
                self._read_grace,
            )
            return True
        return False

    def _note_readable(self) -> None:
        self._read_at = self._monotonic()
        self._unreadable_too_long = False
        self._publish()

    def _warn_if_not_enforced(self) -> None:
        not_enforced = self._policy.enforcement.audited_summary()
        if not_enforced:
            defer(
                log.warning,
                'policy %s is NOT ENFORCED for %s (enforce = "audit"): calls that no grant allows '
                "go through, and are logged",
                quote_untrusted(self.path),
                not_enforced,
            )

    def withdraw(self) -> None:
        """Take the policy out of force for good, because no thread reloads it any more."""
        self._withdrawn = True
        self._publish()

    def _read(self) -> bytes:
        return read_bounded(self.path, max_bytes=MAX_POLICY_BYTES)[0]

    def _note_good(self) -> None:
        self._removed_at, self._grace_is_over, self._failed_digest, self.problem = (
            None,
            False,
            "",
            "",
        )
        self._publish()

    def _publish(self) -> None:
        """Put in force what the state allows; called after each change of it, by any thread."""
        with self._publishing:
            is_out = self._grace_is_over or self._unreadable_too_long or self._withdrawn
            self.in_force = None if is_out else self._policy

    def _note_bad(self, error: Exception, digest: str) -> bool:
        is_new = self.problem != str(error)
        self._failed_digest, self.problem = digest, str(error)
        if is_new:
            defer(log.error, "policy refused, the last good one stays in force: %s", error)
        return False

    def _note_removed(self, now: datetime) -> bool:
        if self._removed_at is None:
            self._removed_at = now
            self.problem = f"policy {quote_untrusted(self.path)} was removed"
            grace = self._policy.policy_grace
            defer(log.error, "%s; it is in force for %s more", self.problem, grace)
        return self.check_graces(now)
