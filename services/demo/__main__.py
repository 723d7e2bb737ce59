"""Runs the whole shop: ``make demo``.

Makes a CA and serves it, and starts five services and several callers, each in its own process.
They enroll with tokens, renew at the CA, follow what it revokes, and call each other over mutual
TLS. The demo prints what was allowed, what was refused, and why, and exits with 1 if any result
differs from what the policy says.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pki.authz import read_policy
from services.demo.cast import ADMIN, STRANGER, make_cast
from services.demo.changes import Changes
from services.demo.fleet import Fleet
from services.demo.outage import Outage
from services.demo.scenes import CALLS, Row, Stage
from services.demo.served_ca import ServedCa

_POLICY = Path(__file__).resolve().parent.parent / "policy.toml"
_MARK = ".handfast-demo"
AGENT_KEEPS = ("storefront", "warehouse")


def fresh_folder(home: Path) -> None:
    """Make the demo's folder, or empty it if an earlier demo made it."""
    if home.exists() and any(home.iterdir()):
        if not (home / _MARK).exists():
            sys.exit(f"{home} is not empty, and no demo made it: choose another folder with --dir")
        shutil.rmtree(home)
    home.mkdir(parents=True, exist_ok=True)
    (home / _MARK).touch()


async def play(home: Path, console: Console) -> list[Row]:
    """Start everything, play every scene, and stop everything."""
    console.print("[dim]1/4[/] making a CA for shop.internal, and serving it ...")
    authority = await asyncio.to_thread(make_cast, home)
    policy = read_policy(_POLICY.read_bytes(), source=_POLICY.name)
    with authority:
        async with Fleet(home, _POLICY) as fleet:
            ca = ServedCa(fleet, home, authority)
            await ca.start()
            console.print(
                "[dim]2/4[/] starting five services and nine callers, each a process, and an agent "
                "for three of them ..."
            )
            await start_fleet(fleet, ca)
            console.print("[dim]3/4[/] calling ...")
            stage = Stage(fleet, policy, home)
            changes = Changes(stage, ca)
            outage = Outage(stage, ca, changes)
            # It takes as long as its certificate lives, so it runs beside the others.
            reopened = asyncio.create_task(changes.play_reopened_stream())
            rows = await outage.play_enrollment()
            rows += [await stage.play(scene) for scene in CALLS]
            rows += await stage.play_health()
            rows += await stage.play_handshakes()
            rows += await changes.play_renewal()
            rows += await reopened
            rows += await outage.play_outage()
            rows += await changes.play_live_stream()
            rows += await changes.play_revoked_server()
            rows += await outage.play_next_renewal()
            console.print("[dim]4/4[/] stopping everything ...")
    return rows


async def start_fleet(fleet: Fleet, ca: ServedCa) -> None:
    """Start what calls and is called. Each enrolls by itself, or its directory is enrolled here."""
    for name, folder in (
        *((name, name) for name in (ADMIN, *AGENT_KEEPS)),
        (STRANGER, "stranger"),
    ):
        await asyncio.to_thread(ca.enroll, name, folder)
    kept = [str(fleet.home / name) for name in (*AGENT_KEEPS, "stranger")]
    await asyncio.gather(
        fleet.start_command("agent", ["agent", *kept], "Keeping"),
        fleet.start_service("inventory", ca.token_file("inventory")),
        fleet.start_service("payments", ca.token_file("payments")),
        *(fleet.start_caller(name) for name in (*AGENT_KEEPS, "stranger")),
        *(fleet.start_caller(name, "--plain") for name in ("impostor", "nobody", "latecomer")),
    )
    await fleet.start_service("orders", ca.token_file("orders"), ["inventory", "payments"])
    await asyncio.gather(
        fleet.start_service("gateway", ca.token_file("gateway"), ["orders"]),
        fleet.start_service("audit", ca.token_file("audit"), ["orders", "inventory"]),
    )
    # Callers under the name of a service: two use its directory, and one enrolls once more, so that
    # its certificates can be revoked without revoking those of the service.
    await fleet.start_caller("auditor", f"--token-file={ca.token_file('audit', 'auditor')}")
    await asyncio.gather(*(fleet.start_caller(name) for name in ("gateway", "orders")))


def show(rows: list[Row], console: Console) -> None:
    """Print the table."""
    table = Table(title="Who called whom over mutual TLS, and the result")
    for heading in ("caller", "server", "call", "as role", "verdict", "reason", ""):
        table.add_column(heading, overflow="fold")
    for row in rows:
        allowed = row.got in {"ALLOWED", "RENEWED"}
        table.add_row(
            row.caller,
            row.server,
            row.what,
            row.role,
            "[green]allowed[/]" if allowed else "[red]refused[/]",
            row.got,
            "as the policy says" if row.as_expected else f"[bold red]expected {row.expected}[/]",
        )
    console.print(table)


def main() -> int:
    """Run the demo."""
    parser = argparse.ArgumentParser(description="The whole shop, in one command.")
    parser.add_argument("--dir", type=Path, default=Path("build/demo"), help="scratch folder")
    home = parser.parse_args().dir.absolute()
    console = Console(width=None if sys.stdout.isatty() else 140)
    began = time.monotonic()
    fresh_folder(home)
    rows = asyncio.run(play(home, console))
    show(rows, console)
    wrong = sum(not row.as_expected for row in rows)
    seconds = time.monotonic() - began
    console.print(
        f"{len(rows)} rows, {len(rows) - wrong} as the policy says, {wrong} otherwise; "
        f"{seconds:.1f} s. Certificates and each service's decision log: {home}",
        highlight=False,
        soft_wrap=True,
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
