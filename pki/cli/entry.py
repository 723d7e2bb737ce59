"""The entry point of the ``handfast`` command: no traceback ever reaches its user.

This module imports nothing that takes time, so that an interrupt while the rest loads is caught.
"""

from __future__ import annotations

import os
import sys

from pki.version import __version__


def main() -> None:
    """Run the command, with one line on stderr for anything that goes wrong."""
    has_output = _open_closed_streams()
    try:
        code = _run()
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
    if not has_output:
        sys.stderr.write("handfast: the output can't be written: standard output is closed\n")
        code = code or 1
    sys.exit(code)


def _run() -> int:
    if sys.argv[1:] in (["version"], ["--version"]):
        # Scripts ask often, and the parser of options alone costs ten times as much.
        sys.stdout.write(f"handfast {__version__}\n")
        return 0
    try:
        from pki.cli.app import run  # noqa: PLC0415 - loaded within the try of main
    except ModuleNotFoundError as error:
        from pki.cli.core_only import run_without_app  # noqa: PLC0415 - loaded after a failure

        return run_without_app(sys.argv[1:], error)
    return run()


def _open_closed_streams() -> bool:
    """Open the null device in place of closed standard streams; return whether output was open.

    The next file that is opened would get the number of a closed stream, and whatever is written to
    that stream would go into the file.
    """
    has_output = sys.stdout is not None
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    return has_output
