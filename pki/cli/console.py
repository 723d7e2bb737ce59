"""The console of the commands that draw tables, trees and colours."""

from __future__ import annotations

from typing import NoReturn

from rich.console import Console


class PipeConsole(Console):
    """A console that lets its caller handle a reader that has gone."""

    def on_broken_pipe(self) -> NoReturn:
        """Raise the error, where the library would end the process."""
        raise BrokenPipeError
