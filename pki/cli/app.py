"""``handfast``: the command.

Exit codes: 0 done, 1 failed, 2 wrong usage; and a question of yes or no (``renew --check``,
``verify``, ``policy explain``) answers 0 yes, 1 no, 3 could not tell.
"""

from __future__ import annotations

import os
import sys
import warnings

import typer

from pki.cli import ca, policy
from pki.cli.doctor.command import doctor
from pki.cli.explain import explain
from pki.cli.inspect import inspect
from pki.cli.issue import COULD_NOT_TELL, CouldNotTellError, issue
from pki.cli.list import list_certificates
from pki.cli.output import JsonOption, complain, tell, was_lost
from pki.cli.renew import renew
from pki.cli.revoke import crl, revoke
from pki.cli.verify import verify
from pki.cli.watch.command import watch
from pki.errors import PkiError, quote_untrusted
from pki.version import __version__

# typer brings a click of its own under a private name, and exports this heir of it alone.
UsageError: type[typer.BadParameter] = typer.BadParameter.__mro__[1]

FAILED = 1
WRONG_USAGE = 2
_INTERRUPTED = 130  # what typer makes of an interrupt, without a word

app = typer.Typer(
    name="handfast",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Short-lived X.509 identities for services: issue, renew, revoke, verify, explain.",
    epilog="Begin with: handfast ca init --trust-domain shop.internal",
)
app.add_typer(ca.app, name="ca")
app.add_typer(policy.app, name="policy")
app.command(epilog="Example: handfast issue orders --ttl 1h")(issue)
app.command(epilog="Example: handfast renew certs/orders (from a timer)")(renew)
app.command(epilog="Example: handfast revoke certs/orders --reason key-compromise")(revoke)
app.command(epilog="Example: handfast crl")(crl)
app.command("list", epilog="Example: handfast list --expiring 24h")(list_certificates)
app.command(epilog="Example: handfast inspect certs/orders")(inspect)
app.command(epilog="Example: handfast doctor localhost:8443 --credential certs/orders")(doctor)
app.command(epilog="Example: handfast watch certs")(watch)
app.command(epilog="Example: handfast explain 'Socket closed'")(explain)
app.command(epilog="Example: handfast verify certs/payments --as server --name payments")(verify)


@app.command()
def version(as_json: JsonOption = False) -> None:
    """Say which handfast this is."""
    tell("version", {"version": __version__}, [f"handfast {__version__}"], as_json=as_json)


def run(arguments: list[str] | None = None) -> int:
    """Run the command with arguments; return the exit code. Nothing is ever raised."""
    with warnings.catch_warnings():
        if not sys.warnoptions:
            # A library's words to programmers, with paths of its source in them.
            warnings.simplefilter("ignore")
        return _run(arguments)


def _run(arguments: list[str] | None) -> int:
    try:
        code = app(_readable(arguments), standalone_mode=False)
    except CouldNotTellError as error:
        complain(f"could not tell: {error.cause.message}", error.cause.remedy)
        return COULD_NOT_TELL
    except UsageError as error:
        # Called without arguments, the command has printed its help already.
        if type(error).__name__ != "NoArgsIsHelpError":
            complain(error.format_message(), "See --help")
        return WRONG_USAGE
    except PkiError as error:
        complain(error.message, error.remedy)
    except (typer.Abort, KeyboardInterrupt):
        complain("interrupted")
    except BrokenPipeError:
        # Whoever read our output has gone; nothing more may be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        where = f"{quote_untrusted(error.filename)}: " if error.filename else ""
        complain(f"{where}{error.strerror or quote_untrusted(error)}")
    except Exception as error:
        if os.environ.get("HANDFAST_DEBUG"):
            raise
        complain(
            f"this should not happen: {type(error).__name__}: {quote_untrusted(error)}",
            "It is a fault of handfast's own: please report it, with what HANDFAST_DEBUG=1 shows",
        )
    else:
        if code != _INTERRUPTED:
            return (code if isinstance(code, int) else 0) or (FAILED if was_lost() else 0)
        complain("interrupted")
    return FAILED


def _readable(arguments: list[str] | None) -> list[str]:
    """Refuse arguments that are not UTF-8: no name, and no path that we could print, has such.

    Raises:
        UsageError: if one of them is not.
    """
    given = sys.argv[1:] if arguments is None else arguments
    for number, argument in enumerate(given, start=1):
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise typer.BadParameter(
                f"argument {number}, {quote_untrusted(argument)}, is not UTF-8"
            ) from None
        if "\0" in argument:
            raise typer.BadParameter(f"argument {number}, {quote_untrusted(argument)}, holds a NUL")
    return given
