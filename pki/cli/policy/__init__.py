"""``handfast policy``: what a policy file says, does, and would change."""

from __future__ import annotations

import typer

from pki.cli.policy.check import check, check_expected, lint_policy
from pki.cli.policy.diff import diff
from pki.cli.policy.explain import explain_call, what_can_call, who_can_call
from pki.cli.policy.graph import graph

app = typer.Typer(no_args_is_help=True, help="Check, explain, test, draw and compare policies.")
app.command(epilog="Example: handfast policy check policy.toml")(check)
app.command(
    "explain",
    epilog="Example: handfast policy explain --peer gateway --method /shop.v1.Orders/PlaceOrder",
)(explain_call)
app.command("who-can", epilog="Example: handfast policy who-can /shop.v1.Orders/PlaceOrder")(
    who_can_call
)
app.command("what-can", epilog="Example: handfast policy what-can gateway")(what_can_call)
app.command(epilog="Example: handfast policy graph --out policy.svg")(graph)
app.command("test", epilog="Example: handfast policy test policy.test.toml")(check_expected)
app.command("lint", epilog="Example: handfast policy lint --proto protos")(lint_policy)
app.command(epilog="Example: handfast policy diff old.toml new.toml --calls decisions.jsonl")(diff)
