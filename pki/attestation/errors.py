"""The errors of proofs."""

from __future__ import annotations

from pki.errors import NotPermittedError


class TokenRefusedError(NotPermittedError):
    """A JWT proves nothing: it is malformed, of somebody else, for somebody else, or too old."""
