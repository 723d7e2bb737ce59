"""The entry point of the ``handfast`` command: no traceback ever reaches its user.

This module imports nothing that takes time, so that an interrupt while the rest loads is caught.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command, with one line on stderr for anything that goes wrong."""
    try:
        from pki.cli.app import run  # noqa: PLC0415 - loaded within the try

        code = run()
    except KeyboardInterrupt:
        sys.stderr.write("handfast: interrupted\n")
        code = 1
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output has gone; nothing more may be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"handfast: the output can't be written: {error}\n")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = code or 1
    sys.exit(code)
