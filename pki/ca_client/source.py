"""The identity that a CA keeps fresh, as the source of a workload's credential."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from pki.ca_client.identity import CaIdentity
from pki.errors import CaRefusedError, CaUnreachableError, StateError
from pki.x509 import Credential, CrlSet, RevocationMode


class CaSource:
    """The source of a workload whose identity comes from the CA.

    Args:
        identity: kept fresh; closed by whoever made it.
    """

    is_local = False

    def __init__(self, identity: CaIdentity) -> None:
        self._identity = identity
        self._was_loaded = False

    @property
    def name(self) -> str:
        """The name of the source in messages."""
        return f"the CA, for {self._identity.spiffe_id}"

    @property
    def revocation(self) -> RevocationMode:
        """The CA sends all its lists: one that is missing is an error."""
        return RevocationMode.REQUIRED

    def load(self) -> tuple[Credential, tuple[str, ...]]:
        """Return the present credential.

        Raises:
            StateError: if it could not be renewed when it should have been. Not the first time: a
                workload starts with a certificate that is good, also while the CA is away.
        """
        problem = self._identity.problem
        if problem and self._was_loaded:
            raise StateError(problem)
        self._was_loaded = True
        return self._identity.credential, ()

    def crls(self) -> CrlSet | None:
        """Return the newest lists.

        Raises:
            CaRefusedError: if the CA refuses this workload for good, and tells it nothing.
            CaUnreachableError: if the CA has been silent for so long that newer ones may be there.
        """
        if self._identity.refused:
            raise CaRefusedError(
                f"{self._identity.refused}; the lists that are known stay in force to their end",
                remedy="Enroll it again, with a new token",
            )
        since = self._identity.cut_off_since
        if since is not None:
            raise CaUnreachableError(
                f"the CA has been silent since {since:%Y-%m-%d %H:%M:%S} UTC: a revocation after "
                "that is not known here; the lists that are known stay in force to their end"
            )
        return self._identity.credential.crls

    def folders(self) -> Iterable[Path]:
        """Return no folders: the identity tells of its changes."""
        return ()

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Register the function that is called after each change."""
        self._identity.subscribe(changed)

    def load_stored_crls(self) -> CrlSet | None:
        """Return the lists that the identity has stored."""
        return self._identity.credential.crls

    def store_crls(self, crls: CrlSet) -> None:
        """Do nothing: the identity stores the lists."""
