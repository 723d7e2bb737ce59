"""A group of commands that loads the module of a command when the command is used.

So ``handfast version`` loads neither the CA nor gRPC. Click documents this way of it:
https://click.palletsprojects.com/en/stable/complex/#lazily-loading-subcommands
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command


@dataclass(frozen=True, slots=True)
class LazyCommand:
    """A command that is not loaded yet.

    Args:
        target: ``module:function`` of the command, or ``module:app`` of a group of commands.
        epilog: what its help ends with.
    """

    target: str
    epilog: str | None = None

    def load(self, name: str, path: str) -> TyperCommand | TyperGroup:
        """Load the module, and return the command under a name.

        Args:
            name: of the command.
            path: its name with those of the groups that it is in, for an error.

        Raises:
            MissingExtraError: if the command needs an extra that is not installed.
        """
        module, _, attribute = self.target.partition(":")
        try:
            app = target = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            from pki.extras import extra_of, missing_extra  # noqa: PLC0415 - after a failure

            extra = extra_of(error)
            if extra is None:
                raise
            raise missing_extra(f"handfast {path}", [extra]) from None
        if not isinstance(target, typer.Typer):
            app = typer.Typer(add_completion=False)
            app.command(name, epilog=self.epilog)(target)
        command = get_command(app)
        assert isinstance(command, TyperCommand | TyperGroup)
        return command


class LazyGroup(TyperGroup):
    """A group whose commands are loaded one by one, each when it is first asked for.

    Subclasses name their commands in ``lazy_commands``, in the order of the help text.
    """

    lazy_commands: ClassVar[Mapping[str, LazyCommand]] = {}

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self._not_loaded = dict(self.lazy_commands)
        # Typer reads the names here, for help, completion and "did you mean".
        self.commands = {name: TyperCommand(name) for name in self.lazy_commands}

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | TyperGroup | None:
        """Return a command, loaded; None if there is none of that name."""
        lazy = self._not_loaded.pop(cmd_name, None)
        if lazy is not None:
            self.commands[cmd_name] = lazy.load(cmd_name, _path(ctx, cmd_name))
        command = self.commands.get(cmd_name)
        assert command is None or isinstance(command, TyperCommand | TyperGroup)
        return command


def _path(ctx: Any, name: str) -> str:
    names = [name]
    while ctx.parent is not None:
        names.insert(0, ctx.info_name)
        ctx = ctx.parent
    return " ".join(names)
