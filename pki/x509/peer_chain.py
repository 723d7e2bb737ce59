"""A peer's chain, and what is held of it while trust, lists and time change."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509

from pki.errors import VerificationError
from pki.identity import SpiffeId
from pki.x509 import WORKLOAD, ChainVerifier, Purpose

# A refusal is looked at again soon, so that a mended list or clock is seen.
_REFUSED_FOR = timedelta(seconds=1)


class PeerChain:
    """A chain that was verified once, and is verified again when something has changed.

    Args:
        chain: the leaf first.
        purpose: the end at which it was presented.
        expected: the name that the leaf must hold.
    """

    def __init__(
        self,
        chain: tuple[x509.Certificate, ...],
        purpose: Purpose,
        expected: SpiffeId | None = None,
    ) -> None:
        self.chain = chain
        self._purpose = purpose
        self._expected = expected
        # One value that is replaced whole: it is asked for by several threads.
        self._verdict: _Verification | None = None

    @property
    def leaf(self) -> x509.Certificate:
        """The certificate itself."""
        return self.chain[0]

    def error(self, verifier: ChainVerifier, now: datetime) -> VerificationError | None:
        """Return what is wrong with it now; None if it is accepted."""
        verdict = self._verdict
        if (
            verdict is None
            or verdict.verifier is not verifier
            or not verdict.good_from <= now < verdict.good_until
        ):
            verdict = self._verdict = self._verified(verifier, now)
        return verdict.error

    def _verified(self, verifier: ChainVerifier, now: datetime) -> _Verification:
        try:
            found = verifier.verify(
                self.chain,
                profile=WORKLOAD,
                purpose=self._purpose,
                at=now,
                expected=self._expected,
            )
        except VerificationError as error:
            return _Verification(verifier, error, now - _REFUSED_FOR, now + _REFUSED_FOR)
        return _Verification(verifier, None, found.good_from, found.good_until)


@dataclass(frozen=True, slots=True)
class _Verification:
    verifier: ChainVerifier
    error: VerificationError | None
    good_from: datetime
    good_until: datetime
