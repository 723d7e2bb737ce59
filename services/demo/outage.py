"""The CA: how the fleet came by its certificates, and what happens while nobody serves it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from pki.ca_client import CaIdentity
from pki.errors import CaRefusedError
from pki.files import load_credential
from pki.proofs import EnrollmentToken
from services.demo.cast import SERVICES
from services.demo.changes import GET_ORDER, GET_STOCK, Changes, make_row
from services.demo.scenes import Row, Stage
from services.demo.served_ca import ServedCa

_TRIES = 400
_PAUSE = 0.05


class Outage:
    """Kills the CA, and brings it back.

    Args:
        stage: the running fleet.
        ca: the CA that serves it.
        changes: finds out which certificate a server uses.
    """

    def __init__(self, stage: Stage, ca: ServedCa, changes: Changes) -> None:
        self._stage = stage
        self._ca = ca
        self._changes = changes
        self._home = stage.home
        self._served = ""

    async def play_enrollment(self) -> list[Row]:
        """Look at what the enrollments left, and use one of their tokens again."""
        enrolled = [name for name in SERVICES if (self._home / name / "chain.pem").exists()]
        got = "ALLOWED" if len(enrolled) == len(SERVICES) else f"only {', '.join(enrolled)}"
        what = "each enrolls with a token; its key never leaves it"
        used = (self._home / "payments.token").read_text()
        again = await asyncio.to_thread(_enroll, self._home / "thief", used)
        return [
            make_row(f"{len(SERVICES)} services", "ca", what, "ALLOWED", got),
            make_row("thief", "ca", "a token that was used", "PROOF_REFUSED", again, role="none"),
        ]

    async def play_outage(self) -> list[Row]:
        """Kill the CA, revoke a certificate meanwhile, and bring the CA back; calls go on."""
        done = self._home / "returned"
        running = asyncio.create_task(
            self._stage.ask("gateway", "orders", GET_ORDER, do="repeat", until=str(done))
        )
        await self._ca.kill()
        revoked = load_credential(self._home / "watcher").credential.leaf.serial_number
        await self._ca.revoke_on_folder(revoked)
        meanwhile = await self._stage.ask("watcher", "inventory", GET_STOCK)
        await self._ca.start()
        self._served = await self._changes.served_serial("orders")
        begun = time.monotonic()
        for _ in range(_TRIES):
            answer = await self._stage.ask("watcher", "inventory", GET_STOCK)
            if answer["reason"] != "ALLOWED":
                break
            await asyncio.sleep(_PAUSE)
        took = time.monotonic() - begun
        done.touch()
        calls = await running
        return [
            make_row(
                "gateway",
                "orders",
                f"the CA is killed and comes back: {calls['details']}",
                "ALLOWED",
                calls["reason"],
            ),
            make_row(
                "watcher",
                "inventory",
                "revoked on the CA's folder, and nobody is there to tell it",
                "ALLOWED",
                meanwhile["reason"],
            ),
            make_row(
                "watcher",
                "inventory",
                f"the CA is back: every server knows {took:.1f} s later",
                "CERTIFICATE_REVOKED",
                answer["reason"],
            ),
        ]

    async def play_next_renewal(self) -> list[Row]:
        """Wait for the first renewal after the outage."""
        after = await self._changes.wait_for_new_serial("orders", self._served)
        got = "RENEWED" if after != self._served else "UNCHANGED"
        what = "it renews at the CA that came back"
        return [make_row("orders", "ca", what, "RENEWED", got)]


def _enroll(folder: Path, token: str) -> str:
    """Enroll with a token; return the reason of a refusal."""
    try:
        with CaIdentity(folder, token=EnrollmentToken.parse(token)):
            return "ALLOWED"
    except CaRefusedError as error:
        return error.reason
