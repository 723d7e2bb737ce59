"""What serving and calling have in common: one workload's identity and policies."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from pki.clock import Clock
from pki.credentials.fork_guard import ForkGuard
from pki.credentials.policy_file import PolicyFile
from pki.credentials.provider import CredentialProvider
from pki.errors import InputError
from pki.identity import SpiffeId

PathLike = str | os.PathLike[str]
_Word = TypeVar("_Word", bound=StrEnum)


class Bound:
    """A workload's identity as its servers and channels need it.

    Args:
        following: what is in force, kept fresh.
        spiffe_id: the workload's name.
        policy: the policy for servers and channels that bring none of their own.
        clock: gives the time.
    """

    def __init__(
        self,
        following: CredentialProvider,
        spiffe_id: SpiffeId,
        policy: PathLike | None,
        clock: Clock,
    ) -> None:
        self._here = ForkGuard("Workload")
        self._following = following
        self._clock = clock
        self.spiffe_id = spiffe_id
        self._policy = following.policy_file(Path(policy)) if policy is not None else None

    def _check_usable(self) -> None:
        """Raise where nothing may be made of it any more.

        Raises:
            StateError: once it is closed; after a fork, in the child.
        """
        self._here.check()
        self._following.check_open()

    def _chosen_policy(self, path: PathLike | None) -> PolicyFile | None:
        """Return the policy of a server or channel: its own, or the workload's."""
        return self._policy if path is None else self._following.policy_file(Path(path))


def parse_setting(kind: type[_Word], value: str, name: str) -> _Word:
    """Read a setting.

    Raises:
        InputError: if it is none of its words.
    """
    try:
        return kind(value)
    except ValueError:
        raise InputError(
            f"{name} {value!r} is unknown", remedy=f"Use one of {', '.join(kind)}"
        ) from None
