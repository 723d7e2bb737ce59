"""The errors of handfast: one root, and a short tree by what the caller can do about it.

Every message names the thing, the value as found, the rule it breaks and the remedy. Text that came
from outside goes through :func:`shown` first, so that a hostile name cannot forge a log line or
paint a terminal. No secret ever enters a message.
"""

from __future__ import annotations

_SHOWN_LIMIT = 200


def quote_untrusted(value: object) -> str:
    """Render untrusted text for a message: quoted, escaped to printable ASCII, bounded in length.

    Control, bidirectional and other non-ASCII characters appear as escapes. At most 200 characters
    of the input are shown.
    """
    text = value if isinstance(value, str) else str(value)
    cut = text[:_SHOWN_LIMIT]
    more = "" if len(text) <= _SHOWN_LIMIT else f" (and {len(text) - _SHOWN_LIMIT} characters more)"
    return ascii(cut) + more


def printable(text: str) -> str:
    """Return text whose control, bidirectional and other invisible characters are escaped.

    For what an operator named themselves, such as a path: its letters stay as they are.
    """
    return "".join(
        character
        if character == " " or character.isprintable()
        else character.encode("unicode_escape", "backslashreplace").decode("ascii")
        for character in text
    )


class PkiError(Exception):
    """The root of every error that handfast raises on purpose.

    Args:
        message: what is wrong: the thing, the value as found and the rule that it breaks.
        remedy: what to do next, one sentence; empty if there is nothing to do.
    """

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        """Return message and remedy in one line."""
        return f"{self.message}. {self.remedy}" if self.remedy else self.message


class InputError(PkiError):
    """The input is malformed, unknown, oversized or ambiguous: correct it and try again."""


class NameRefusedError(InputError):
    """A SPIFFE ID, DNS name, IP address or subject is not one that may stand there."""


class CertificateError(InputError):
    """A certificate, request, bundle or revocation list breaks a rule of its profile."""


class KeyRefusedError(InputError):
    """A key is of a kind or strength that handfast does not take, or does not match."""


class PolicyError(InputError):
    """A policy file breaks its schema.

    Args:
        message: what is wrong.
        source: the file's name, for the message.
        line: the 1-based line in that file, 0 if no line can be named.
        remedy: what to do next.
    """

    def __init__(
        self, message: str, *, source: str = "policy", line: int = 0, remedy: str = ""
    ) -> None:
        place = f"{source}:{line}" if line else source
        super().__init__(f"{place}: {message}", remedy=remedy)
        self.source = source
        self.line = line


class NotPermittedError(PkiError):
    """The request is well-formed, and the rules forbid it."""


class VerificationError(PkiError):
    """A peer's or file's chain was not accepted.

    Args:
        message: what is wrong.
        fault: which of the faults of ``pki.x509.Fault`` it is; its name is stable.
        remedy: what to do next.
    """

    def __init__(self, message: str, *, fault: str, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.fault = fault


class CouldNotTellError(PkiError):
    """A question of yes or no has no answer: what it asks about can't be read.

    Args:
        cause: why there is no answer.
    """

    def __init__(self, cause: PkiError) -> None:
        super().__init__(cause.message, remedy=cause.remedy)
        self.cause = cause


class StateError(PkiError):
    """The files or the ledger are not in the state that the operation needs."""


class UnreadableError(StateError):
    """A file can't be opened or read here and now, whatever is in it: no descriptor, no right."""


class LedgerError(StateError):
    """The ledger could not be read or could not record durably; nothing was handed out."""


class OlderLedgerError(LedgerError):
    """The ledger is an older copy or another one, or nobody can tell: it signs nothing."""


class CommitInDoubtError(LedgerError):
    """Whether a commit took place could not be learned: look before anything is done again."""


class CredentialError(StateError):
    """A credential on disk is missing, torn, mismatched or badly protected."""
