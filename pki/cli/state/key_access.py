"""Finds out how to use the CA's keys: the passphrase of key files, the module and PIN of tokens.

A secret comes from a file, a variable or a person at the terminal, in this order, and never from an
argument: arguments are in the list of processes and in the shell's history.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from getpass import getpass
from pathlib import Path
from typing import Annotated

import typer

from pki.authority.signers import TokenAccess
from pki.authority.signers.new_key import KeyPlace
from pki.cli.options import as_option, parse_path
from pki.errors import InputError, StateError, printable, quote_untrusted
from pki.files.passphrase import read_trusted_line

PASSPHRASE_FILE_VARIABLE = "HANDFAST_CA_PASSPHRASE_FILE"  # noqa: S105 - no secret
PASSPHRASE_VARIABLE = "HANDFAST_CA_PASSPHRASE"  # noqa: S105 - no secret
PIN_FILE_VARIABLE = "HANDFAST_PKCS11_PIN_FILE"
PIN_VARIABLE = "HANDFAST_PKCS11_PIN"
MODULE_VARIABLE = "HANDFAST_PKCS11_MODULE"
_OPTION = "--passphrase-file"

PassphraseFileOption = Annotated[
    Path | None,
    typer.Option(
        _OPTION,
        parser=parse_path,
        metavar="FILE",
        help="A file whose first line is the passphrase of the CA's keys.",
    ),
]
parse_key_place: Callable[[str], KeyPlace] = as_option(KeyPlace.parse)
KeyOption = Annotated[
    KeyPlace | None,
    typer.Option(
        parser=parse_key_place,
        metavar="PLACE",
        help="Where the issuing CA's key lives: file; pkcs11:token=NAME makes it there; with "
        "object=NAME or id=%.. it is one that is there.",
    ),
]
ModuleOption = Annotated[
    Path | None,
    typer.Option(
        "--pkcs11-module",
        envvar=MODULE_VARIABLE,
        parser=parse_path,
        metavar="FILE",
        help="The shared library that leads to PKCS#11 tokens.",
    ),
]


def passphrase_remedy(file: Path | None = None) -> str:
    """Return what to do if the passphrase of the CA's keys is missing or wrong.

    Args:
        file: the file that the command's option names.
    """
    named = file or os.environ.get(PASSPHRASE_FILE_VARIABLE)
    if named:
        by = _OPTION if file is not None else PASSPHRASE_FILE_VARIABLE
        return (
            f"The passphrase was the first line of {quote_untrusted(named)}, which {by} names: "
            "check both"
        )
    if os.environ.get(PASSPHRASE_VARIABLE):
        return f"The passphrase was the value of {PASSPHRASE_VARIABLE}: check it"
    return (
        "Put the passphrase into a file that only this user can read, and name it: "
        f"{PASSPHRASE_FILE_VARIABLE}=FILE or {_OPTION} FILE"
    )


def ca_passphrase(file: Path | None = None, *, is_needed: bool = False) -> bytes | None:
    """Return the passphrase of the CA's keys; None if there is none.

    In a file it is the first line: all bytes before the first line feed, without a carriage return
    right before it. Further lines are not read.

    Args:
        file: the file that the command's option names.
        is_needed: whether a key is encrypted: then a person at the terminal is asked.

    Raises:
        PkiError: if the file can't be read, is no regular file, or another user can change it, or
            if that line is empty; or if it is not clear which passphrase is meant.
    """
    passphrase = _secret(
        file, PASSPHRASE_FILE_VARIABLE, PASSPHRASE_VARIABLE, what="passphrase file"
    )
    if passphrase is None and is_needed and is_at_terminal():
        return os.fsencode(_ask("Passphrase of the CA's keys: "))
    return passphrase


def new_passphrase(file: Path | None) -> bytes:
    """Return the passphrase for new keys; a person at the terminal is asked twice.

    Raises:
        PkiError: as :func:`ca_passphrase`, or if there is nobody to ask, or the answers differ.
    """
    passphrase = ca_passphrase(file)
    if passphrase is not None:
        return passphrase
    if not is_at_terminal():
        raise StateError(
            "the keys shall be encrypted, and there is no passphrase and nobody to ask for it",
            remedy=passphrase_remedy(),
        )
    first = _ask("New passphrase for the CA's keys: ")
    if first != _ask("The same again: "):
        raise InputError("the two passphrases differ", remedy="Nothing was made: start again")
    if not first:
        raise InputError("the passphrase is empty", remedy="Nothing was made: start again")
    return os.fsencode(first)


def token_access(module: Path | None = None) -> TokenAccess:
    """Return how to reach PKCS#11 tokens.

    Args:
        module: the module that the command's option names; None takes that of the variable.

    Raises:
        PkiError: if the file with the PIN can't be read, or it is not clear which PIN is meant.
    """
    pin = _secret(None, PIN_FILE_VARIABLE, PIN_VARIABLE, what="PIN file")
    named = os.environ.get(MODULE_VARIABLE)
    return TokenAccess(
        module or (Path(named) if named else None),
        os.fsdecode(pin) if pin is not None else None,
        _ask_pin if is_at_terminal() else None,
    )


class PinMemory:
    """Remembers the PINs that a person types, so that other processes of a command need not ask.

    Args:
        access: how to reach PKCS#11 tokens.
    """

    def __init__(self, access: TokenAccess) -> None:
        self.typed: dict[str, str] = {}
        """The last PIN typed for each token, by its label."""
        self._ask = access.ask
        self.access = access if access.ask is None else replace(access, ask=self._remember)
        """The same, with a memory."""

    def _remember(self, token: str) -> str:
        assert self._ask is not None
        pin = self.typed[token] = self._ask(token)
        return pin


def is_at_terminal() -> bool:
    """Return whether a person can be asked."""
    return sys.stdin is not None and sys.stdin.isatty()


def _ask_pin(token: str) -> str:
    return _ask(f"PIN of the token {printable(token)}: ")


def _ask(question: str) -> str:
    try:
        return getpass(question)
    except EOFError:
        raise StateError("no answer was given") from None


def _secret(
    file: Path | None, file_variable: str, value_variable: str, *, what: str
) -> bytes | None:
    named, value = os.environ.get(file_variable), os.environ.get(value_variable)
    if file is not None:
        return read_trusted_line(file, what=what, named_by=_OPTION)
    if named and value:
        raise InputError(
            f"{file_variable} and {value_variable} are both set: which of them is meant is not "
            "clear",
            remedy="Unset one of them",
        )
    if named:
        return read_trusted_line(Path(named), what=what, named_by=file_variable)
    return os.fsencode(value) if value else None
