"""The console of the commands that draw tables, trees and colours."""

from __future__ import annotations

from typing import NoReturn

from rich.console import Console


class PipeConsole(Console):
    """A console that leaves it to its caller what it means when the output's reader has gone."""

    def on_broken_pipe(self) -> NoReturn:
        """Raise the error that was met, where the library would end the process."""
        raise BrokenPipeError
