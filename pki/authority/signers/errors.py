"""The errors of keys in PKCS#11 tokens, by what their owner can do about them."""

from __future__ import annotations

from pki.errors import StateError


class SignerError(StateError):
    """A CA key can't be used: its token, or the module that leads there, does not work."""


class TokenAbsentError(SignerError):
    """The token is not there, or went away."""


class WrongPinError(SignerError):
    """The token refused the PIN, or a PIN may not be tried: too many wrong ones lock it."""


class LockedPinError(SignerError):
    """The token's PIN is locked: only its security officer can set a new one."""


class KeyAbsentError(SignerError):
    """The token holds no such key, or several."""


class MechanismMissingError(SignerError):
    """The token can't make such keys or signatures."""
