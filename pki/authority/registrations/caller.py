"""Who asks the CA for something, and what the CA's policy lets them decide."""

from __future__ import annotations

from dataclasses import dataclass

from pki.errors import NotPermittedError
from pki.identity import SpiffeId


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who asks the CA.

    Args:
        name: for the audit log: a SPIFFE ID, or who works on the CA's own machine.
        is_admin: whether the CA's policy gives the role ``ca-admin``.
        prefixes: for a registrar: the paths, as segments, that it may decide on with all below
            them. The empty path is the whole trust domain.
    """

    name: str
    is_admin: bool = False
    prefixes: frozenset[tuple[str, ...]] = frozenset()

    def may_decide_on(self, spiffe_id: SpiffeId) -> bool:
        """Return whether the caller may register this workload, and what hangs on that.

        Names that only an admin may decide on are not looked at here, but where the CA signs.
        """
        segments = spiffe_id.segments
        return self.is_admin or any(segments[: len(prefix)] == prefix for prefix in self.prefixes)

    def check_may_decide_on(self, spiffe_id: SpiffeId) -> None:
        """Check that the caller may register this workload.

        Raises:
            NotPermittedError: if it may not.
        """
        if not self.may_decide_on(spiffe_id):
            raise NotPermittedError(
                f"{self.name} may not decide on {spiffe_id}",
                remedy="Ask a ca-admin, or let one give you the role registrar for its path",
            )
