"""What ``handfast`` does where only the core is installed: it names the extras to install.

A service's image needs one command, for the probes that run in it: ``probe`` works. And the
documentation is there, and is printed as plain text. The names of the commands stand here because
the module that lists them needs the library that is missing.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from pki.cli.doc_pages import list_lines, read_page, read_titles
from pki.cli.exit_codes import COULD_NOT_TELL, FAILED, WRONG_USAGE
from pki.errors import PkiError, printable, quote_untrusted
from pki.extras import extra_of, missing_extra
from pki.version import __version__

CA_COMMANDS = frozenset(
    {
        *("audit", "ca", "crl", "export", "issue", "list", "registration", "renew", "revoke"),
        *("search", "token", "up"),
    }
)
OTHER_COMMANDS = frozenset(
    {
        *("agent", "docs", "doctor", "enroll", "explain", "inspect", "policy", "probe"),
        *("verify", "version", "watch"),
    }
)
_WITH_TOPIC = 2  # arguments: docs TOPIC


def run_without_app(arguments: Sequence[str], error: ModuleNotFoundError) -> int:
    """Answer a command that can't run; return the exit code.

    Args:
        arguments: the command's arguments.
        error: what could not be imported.

    Raises:
        ModuleNotFoundError: the error, if its module belongs to no extra.
    """
    if extra_of(error) is None:
        raise error
    command = next((item for item in arguments if not item.startswith("-")), "")
    if command == "version" or "--version" in arguments:
        sys.stdout.write(f"handfast {__version__}\n")
        return 0
    if command == "docs" and list(arguments[:1]) == [command] and len(arguments) <= _WITH_TOPIC:
        topic = arguments[1] if len(arguments) == _WITH_TOPIC else None
        if topic is None or not topic.startswith("-"):
            return _print_docs(topic)
    if command == "probe" and list(arguments[:1]) == [command]:
        # Loaded here: no other answer needs gRPC.
        from pki.cli.service.probing import run_plain  # noqa: PLC0415

        return run_plain(arguments[1:])
    if command and command not in CA_COMMANDS | OTHER_COMMANDS:
        return _fail(f"No such command {quote_untrusted(command)}", WRONG_USAGE)
    extras = {"cli", "ca"} if command in CA_COMMANDS else {"cli"}
    missing = missing_extra(f"handfast {command}".rstrip(), extras)
    return _fail(str(missing), COULD_NOT_TELL)


def _print_docs(topic: str | None) -> int:
    """Print a page as it is, or the list of all pages; return the exit code."""
    try:
        text = read_page(topic)[1] if topic is not None else "\n".join(list_lines(read_titles()))
    except PkiError as error:
        return _fail(str(error), FAILED)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A page may hold characters that the output's encoding lacks.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        sys.stdout.write(text.rstrip("\n") + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # A reader that has gone, as head does, is no failure; nothing more may be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _fail(f"the output can't be written: {error.strerror or error}", FAILED)
    return 0


def _fail(message: str, code: int) -> int:
    sys.stderr.write(printable(f"handfast: {message}") + "\n")
    return code
