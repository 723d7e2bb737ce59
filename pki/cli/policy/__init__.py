"""``handfast policy``: what a policy file says, does, and would change."""

from __future__ import annotations

from typing import ClassVar

import typer

from pki.cli.lazy_group import LazyCommand, LazyGroup


class _PolicyCommands(LazyGroup):
    lazy_commands: ClassVar = {
        "check": LazyCommand(
            "pki.cli.policy.check:check", "Example: handfast policy check policy.toml"
        ),
        "explain": LazyCommand(
            "pki.cli.policy.explain:explain_call",
            "Example: handfast policy explain --peer gateway --method /shop.v1.Orders/PlaceOrder",
        ),
        "who-can": LazyCommand(
            "pki.cli.policy.who_can:who_can_call",
            "Example: handfast policy who-can /shop.v1.Orders/PlaceOrder",
        ),
        "what-can": LazyCommand(
            "pki.cli.policy.what_can:what_can_call", "Example: handfast policy what-can gateway"
        ),
        "graph": LazyCommand(
            "pki.cli.policy.graph:graph", "Example: handfast policy graph --out policy.svg"
        ),
        "test": LazyCommand(
            "pki.cli.policy.test:check_expected", "Example: handfast policy test policy.test.toml"
        ),
        "lint": LazyCommand(
            "pki.cli.policy.lint:lint_policy", "Example: handfast policy lint --proto protos"
        ),
        "diff": LazyCommand(
            "pki.cli.policy.diff:diff",
            "Example: handfast policy diff old.toml new.toml --calls decisions.jsonl",
        ),
    }


app = typer.Typer(
    name="policy",
    cls=_PolicyCommands,
    no_args_is_help=True,
    add_completion=False,
    help="Check, explain, test, draw and compare policies.",
)


@app.callback()
def _policy() -> None:
    """Make this a group: it has no options of its own."""
