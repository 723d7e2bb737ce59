"""A chain that was verified once, and is verified again when trust, lists or time change."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509

from pki.errors import VerificationError
from pki.identity import SpiffeId
from pki.x509 import WORKLOAD, ChainVerifier, Purpose

# A refused chain is verified again soon, so that a corrected list or clock is noticed.
_REFUSED_FOR = timedelta(seconds=1)


class PeerChain:
    """A chain with the result of its last verification.

    Args:
        chain: the leaf first.
        purpose: the side that presents it.
        expected: the SPIFFE ID that the leaf must hold; None for any.
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
        # One value that is replaced whole: several threads read it.
        self._last: _Verification | None = None

    @property
    def leaf(self) -> x509.Certificate:
        """The leaf of the chain."""
        return self.chain[0]

    def error(self, verifier: ChainVerifier, now: datetime) -> VerificationError | None:
        """Return why the chain is refused now; None if it is accepted."""
        last = self._last
        if (
            last is None
            or last.verifier is not verifier
            or not last.valid_from <= now < last.valid_until
        ):
            last = self._last = self._verify(verifier, now)
        return last.error

    def _verify(self, verifier: ChainVerifier, now: datetime) -> _Verification:
        try:
            verified = verifier.verify(
                self.chain,
                profile=WORKLOAD,
                purpose=self._purpose,
                at=now,
                expected=self._expected,
            )
        except VerificationError as error:
            return _Verification(verifier, error, now - _REFUSED_FOR, now + _REFUSED_FOR)
        return _Verification(verifier, None, verified.valid_from, verified.valid_until)


@dataclass(frozen=True, slots=True)
class _Verification:
    verifier: ChainVerifier
    error: VerificationError | None
    valid_from: datetime
    valid_until: datetime
