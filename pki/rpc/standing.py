"""A peer's chain, and what is held of it while trust, lists and time change."""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography import x509

from pki.errors import VerificationError
from pki.identity import SpiffeId
from pki.x509 import WORKLOAD, ChainVerifier, Purpose

# A refusal is looked at again soon, so that a mended list or clock is seen.
_REFUSED_FOR = timedelta(seconds=1)


class Standing:
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
        self._verifier: ChainVerifier | None = None
        self._good_from = self._good_until = datetime.max
        self._error: VerificationError | None = None

    @property
    def leaf(self) -> x509.Certificate:
        """The certificate itself."""
        return self.chain[0]

    def error(self, verifier: ChainVerifier, now: datetime) -> VerificationError | None:
        """Say what is wrong with it now; None if it is accepted."""
        if self._verifier is not verifier or not self._good_from <= now < self._good_until:
            self._verify(verifier, now)
        return self._error

    def _verify(self, verifier: ChainVerifier, now: datetime) -> None:
        try:
            found = verifier.verify(
                self.chain,
                profile=WORKLOAD,
                purpose=self._purpose,
                at=now,
                expected=self._expected,
            )
        except VerificationError as error:
            self._error = error
            self._good_from, self._good_until = now - _REFUSED_FOR, now + _REFUSED_FOR
        else:
            self._error = None
            self._good_from, self._good_until = found.good_from, found.good_until
        self._verifier = verifier
