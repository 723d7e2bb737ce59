"""``handfast``: the command.

The module of a command is loaded when the command runs. Exit codes: see ``exit_codes``.
"""

from __future__ import annotations

import os
import shlex
import sys
import warnings
from typing import Annotated, ClassVar

import typer

from pki.cli.exit_codes import COULD_NOT_TELL, FAILED, WRONG_USAGE
from pki.cli.lazy_group import LazyCommand, LazyGroup
from pki.cli.output import print_error, take_lost_output
from pki.errors import CouldNotTellError, MissingExtraError, PkiError, printable, quote_untrusted
from pki.version import __version__

# typer bundles click under a private name, and exports only this subclass of the error.
UsageError: type[typer.BadParameter] = typer.BadParameter.__mro__[1]

_GROUPS = frozenset({"ca", "policy", "registration", "token", "audit"})
_INTERRUPTED = 130  # what typer returns after an interrupt, without a message


class _Commands(LazyGroup):
    lazy_commands: ClassVar = {
        "issue": LazyCommand(
            "pki.cli.issue.command:issue", "Example: handfast issue orders --ttl 1h"
        ),
        "renew": LazyCommand(
            "pki.cli.renew:renew", "Example: handfast renew certs/orders (from a timer)"
        ),
        "revoke": LazyCommand(
            "pki.cli.revoke:revoke",
            "Example: handfast revoke certs/orders --reason key-compromise",
        ),
        "crl": LazyCommand("pki.cli.crl:crl", "Example: handfast crl"),
        "list": LazyCommand(
            "pki.cli.inventory.list:list_certificates", "Example: handfast list --expiring 24h"
        ),
        "search": LazyCommand(
            "pki.cli.inventory.search:search", "Example: handfast search payments"
        ),
        "export": LazyCommand(
            "pki.cli.inventory.export:export", "Example: handfast export --all > inventory.csv"
        ),
        "inspect": LazyCommand("pki.cli.inspect:inspect", "Example: handfast inspect certs/orders"),
        "doctor": LazyCommand(
            "pki.cli.doctor.command:doctor",
            "Example: handfast doctor localhost:8443 --credential certs/orders",
        ),
        "watch": LazyCommand("pki.cli.watch.command:watch", "Example: handfast watch certs"),
        "explain": LazyCommand(
            "pki.cli.explain:explain", "Example: handfast explain 'Socket closed'"
        ),
        "verify": LazyCommand(
            "pki.cli.verify:verify",
            "Example: handfast verify certs/payments --as server --name payments",
        ),
        "up": LazyCommand("pki.cli.service.up:up", "Example: handfast up"),
        "enroll": LazyCommand(
            "pki.cli.service.enroll:enroll", "Example: handfast enroll TOKEN --out certs/orders"
        ),
        "agent": LazyCommand("pki.cli.service.agent:agent", "Example: handfast agent certs/orders"),
        "token": LazyCommand("pki.cli.service.token:app"),
        "registration": LazyCommand("pki.cli.service.registrations.group:app"),
        "probe": LazyCommand(
            "pki.cli.service.probe:probe",
            "Example: handfast probe localhost:8443 --credential certs/orders",
        ),
        "docs": LazyCommand("pki.cli.docs:docs", "Example: handfast docs policy"),
        "version": LazyCommand("pki.cli.version:version"),
        "ca": LazyCommand("pki.cli.ca:app"),
        "policy": LazyCommand("pki.cli.policy:app"),
        "audit": LazyCommand("pki.cli.audit:app"),
    }


app = typer.Typer(
    name="handfast",
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Short-lived X.509 identities for services: issue, renew, revoke, verify, explain.",
    epilog="Begin with: handfast ca init --trust-domain shop.internal",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"handfast {__version__}\n")
        raise typer.Exit


@app.callback()
def _handfast(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Make this a group, with the options that need no command."""


def run(arguments: list[str] | None = None) -> int:
    """Run the command with arguments; return the exit code, and raise nothing."""
    with warnings.catch_warnings():
        if not sys.warnoptions:
            # Libraries warn programmers, with paths of their source in the text.
            warnings.simplefilter("ignore")
        return _run(arguments)


def _run(arguments: list[str] | None) -> int:
    argv = sys.argv[1:] if arguments is None else arguments
    try:
        code = app(_checked_arguments(argv), standalone_mode=False, prog_name="handfast")
    except CouldNotTellError as error:
        print_error(f"could not tell: {error.message}", error.remedy)
        return COULD_NOT_TELL
    except UsageError as error:
        # Called without arguments, the command has printed its help already.
        if type(error).__name__ != "NoArgsIsHelpError":
            # A prefix of the library that parses options, of no use to who reads this.
            message = error.format_message().replace("Value error, ", "")
            print_error(message, _usage_remedy(error, argv))
        return WRONG_USAGE
    except PkiError as error:
        print_error(error.message, error.remedy)
        if isinstance(error, MissingExtraError):
            return COULD_NOT_TELL
    except (typer.Abort, KeyboardInterrupt):
        print_error("interrupted")
    except BrokenPipeError:
        # The reader of our output has gone; nothing more may be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        where = f"{quote_untrusted(error.filename)}: " if error.filename else ""
        print_error(f"{where}{error.strerror or quote_untrusted(error)}")
    except Exception as error:
        if os.environ.get("HANDFAST_DEBUG"):
            raise
        print_error(
            f"this should not happen: {type(error).__name__}: {quote_untrusted(error)}",
            "It is a fault of handfast's own: please report it, with what HANDFAST_DEBUG=1 shows",
        )
    else:
        if code != _INTERRUPTED:
            return (code if isinstance(code, int) else 0) or (FAILED if take_lost_output() else 0)
        print_error("interrupted")
    return FAILED


def _usage_remedy(error: typer.BadParameter, argv: list[str]) -> str:
    """Return what to do about wrong usage: put options after the command, or read its help."""
    context = error.ctx
    path = context.command_path if context is not None else "handfast"
    if context is not None and isinstance(context.command, LazyGroup):
        groups = path.split()[1:]
        rest = argv[len(groups) :]
        at = next((at for at, item in enumerate(rest) if item in context.command.commands), 0)
        # An option before the command, which the command may have, but the group has not.
        if at and argv[: len(groups)] == groups and rest[0].startswith("-"):
            names = 2 if rest[at] in _GROUPS and not groups else 1
            arguments = [*groups, *rest[at : at + names], *rest[:at], *rest[at + names :]]
            return f"Options follow the command: handfast {printable(shlex.join(arguments))}"
    return f"See {path} --help"


def _checked_arguments(argv: list[str]) -> list[str]:
    """Return the arguments after a check: each name and each printable path is UTF-8, without NUL.

    Raises:
        UsageError: if one of them is not UTF-8, or holds a NUL.
    """
    for number, argument in enumerate(argv, start=1):
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise typer.BadParameter(
                f"argument {number}, {quote_untrusted(argument)}, is not UTF-8"
            ) from None
        if "\0" in argument:
            raise typer.BadParameter(f"argument {number}, {quote_untrusted(argument)}, holds a NUL")
    return argv
