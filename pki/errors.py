"""The errors of handfast: one root, and a short tree by what the caller can do about it.

Every message names the object, its value, the rule that it breaks and the remedy. Text from outside
goes through :func:`quote_untrusted` first, so that a hostile name can't forge a log line or control
a terminal. No secret ever enters a message.
"""

from __future__ import annotations

from collections.abc import Sequence

from pki.fault import Fault

_QUOTED_LIMIT = 200


def quote_untrusted(value: object) -> str:
    """Render untrusted text for a message: quoted, escaped to printable ASCII, bounded in length.

    Control, bidirectional and other non-ASCII characters are escaped. At most 200 characters of the
    input are quoted.
    """
    text = value if isinstance(value, str) else str(value)
    cut = text[:_QUOTED_LIMIT]
    more = (
        "" if len(text) <= _QUOTED_LIMIT else f" (and {len(text) - _QUOTED_LIMIT} characters more)"
    )
    return ascii(cut) + more


def printable(text: str) -> str:
    """Escape control, bidirectional and other invisible characters.

    For names that the operator chose, such as a path: letters of any language stay as they are.
    """
    return "".join(
        character
        if character == " " or character.isprintable()
        else character.encode("unicode_escape", "backslashreplace").decode("ascii")
        for character in text
    )


def join_first(texts: Sequence[str], most: int) -> str:
    """Return the first texts as a list, and how many more there are: ``a, b and 3 more``."""
    more = len(texts) - most
    return ", ".join(texts[:most]) + (f" and {more} more" if more > 0 else "")


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: ``1 root``, ``2 roots``.

    Args:
        number: how many there are.
        noun: in the singular.
        plural: for a noun that takes more than an s.
    """
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def remake_error(kind: type[Exception], args: tuple[object, ...]) -> Exception:
    """Return an error as pickle makes it, before its fields are set.

    Args:
        kind: its class, whose ``__init__`` may have other arguments.
        args: what ``Exception`` itself was given.
    """
    return kind.__new__(kind, *args)


class PkiError(Exception):
    """The root of every error that handfast raises on purpose.

    Args:
        message: what is wrong: the object, its value and the rule that it breaks.
        remedy: what to do next, in one sentence; empty if there is nothing to do.
    """

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        """Return message and remedy in one line."""
        return f"{self.message}. {self.remedy}" if self.remedy else self.message

    def __reduce__(self) -> tuple[object, ...]:
        """Let pickle carry it to another process, which exceptions with named arguments are not."""
        return remake_error, (type(self), self.args), self.__dict__


class InputError(PkiError):
    """The input is malformed, unknown, oversized or ambiguous: correct it and try again."""


class NameRefusedError(InputError):
    """A SPIFFE ID, DNS name, IP address or subject is malformed or not allowed."""


class CertificateError(InputError):
    """A certificate, request, trust bundle or CRL breaks a rule of its profile."""


class KeyRefusedError(InputError):
    """A key can't be decoded, or its kind or strength is not accepted."""


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


class NotFoundError(InputError):
    """There is no such thing."""


class NotPermittedError(PkiError):
    """The request is well-formed, but the rules forbid it."""


class NotRegisteredError(NotPermittedError):
    """No registration allows a workload to obtain a certificate in this way."""


class ProofRefusedError(NotPermittedError):
    """What should prove who somebody is proves nothing.

    The message tells the sender the same in every case; ``cause`` is for the CA's own log.

    Args:
        message: what was refused.
        cause: why.
        remedy: what to do next.
    """

    def __init__(self, message: str, *, cause: str, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.cause = cause


class NotRenewableError(NotPermittedError):
    """A certificate may not be renewed, for good."""


class NotRecoverableError(NotPermittedError):
    """A line of certificates may not recover by itself now."""


class VerificationError(PkiError):
    """A certificate chain was not accepted.

    Args:
        message: what is wrong.
        fault: the kind of fault; its name is stable.
        remedy: what to do next.
    """

    def __init__(self, message: str, *, fault: Fault, remedy: str = "") -> None:
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


class AlreadyThereError(StateError):
    """There is such a thing already."""


class WrongStepError(StateError):
    """The state of the CA does not allow this step now: another one comes first.

    The message is for whoever asked, also over the network: it names no path.
    """


class NotAnnouncedError(StateError):
    """A revocation is in the memory of one process alone, and nobody was told of it.

    The message is for whoever asked, also over the network: it names no path.
    """


class ChangedMeanwhileError(StateError):
    """Somebody else has changed it since it was read: read it again."""


class UnreadableError(StateError):
    """A file can't be opened or read now, e.g. no descriptor is left or permission is missing."""


class RestoredLedgerError(StateError):
    """A ledger from a backup, which does not know yet what was revoked after that."""


class LedgerError(StateError):
    """The ledger can't be read, or could not record durably; nothing was handed out."""


class OlderLedgerError(LedgerError):
    """The ledger is, or may be, an older copy or another ledger: the CA signs nothing."""


class LedgerMovedError(LedgerError):
    """Another replica of the CA was faster: nothing was recorded, and it can be tried again."""

    def __init__(self) -> None:
        super().__init__(
            "another replica of the CA has changed the ledger meanwhile",
            remedy="Nothing was recorded; try again",
        )


class LedgerHeldError(LedgerError):
    """Another session kept the ledger's database locked for longer than this one waits.

    Nobody was faster, so trying at once would only wait as long again.

    Args:
        seconds: how long was waited.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"another session has kept the ledger locked for {seconds:g} s",
            remedy="Nothing was recorded. See who holds it: SELECT pid, client_addr, state, "
            "wait_event, query FROM pg_stat_activity. One that waits for SyncRep waits for a "
            "standby. Try again once it has ended",
        )


class PendingRevocationError(LedgerError):
    """A revocation is not recorded yet, and what was asked for depends on it."""


class NotRecordedError(LedgerError):
    """The ledger can't record now, so nothing was done: it is held, or its disk is full.

    The message is for whoever asked, also over the network: it names no path.
    """


class FailedSyncError(LedgerError):
    """The disk failed to take what was written to the ledger: this process must end."""


class CommitInDoubtError(LedgerError):
    """It is not known whether a commit took place: check the ledger before trying again."""


class CredentialError(StateError):
    """A credential on disk is missing, damaged, mismatched or badly protected."""


class MissingExtraError(PkiError, ImportError):
    """Something needs libraries that an extra of handfast installs, e.g. ``handfast[ca]``."""


class CaUnreachableError(StateError):
    """The CA can't be reached, or can't answer now: try again later."""


class CaRefusedError(NotPermittedError):
    """The CA refused a request, or a server is there that is not the CA.

    Args:
        message: why.
        reason: the reason that the CA gave, a name of ``CaErrorReason``; empty if it gave none.
        remedy: what to do next.
    """

    def __init__(self, message: str, *, reason: str = "", remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.reason = reason
