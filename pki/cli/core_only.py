"""What ``handfast`` does where only the core is installed: it names the extras to install.

A service's image needs no command. The names of the commands stand here because the module that
lists them needs the library that is missing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pki.cli.exit_codes import COULD_NOT_TELL
from pki.errors import printable
from pki.extras import extra_of, missing_extra
from pki.version import __version__

CA_COMMANDS = frozenset({"ca", "crl", "issue", "list", "renew", "revoke"})


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
    extras = {"cli", "ca"} if command in CA_COMMANDS else {"cli"}
    missing = missing_extra(f"handfast {command}".rstrip(), extras)
    sys.stderr.write(printable(f"handfast: {missing}") + "\n")
    return COULD_NOT_TELL
