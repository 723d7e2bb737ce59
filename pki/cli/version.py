"""``handfast version``."""

from __future__ import annotations

from pki.cli.output import JsonOption, print_result
from pki.version import __version__


def version(as_json: JsonOption = False) -> None:
    """Print the version of handfast."""
    print_result("version", {"version": __version__}, [f"handfast {__version__}"], as_json=as_json)
