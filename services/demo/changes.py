"""Renewals and revocations while the fleet runs."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import time
from datetime import timedelta
from pathlib import Path

from cryptography import x509

from pki.files import load_credential
from pki.x509 import read_certificate
from services.demo.cast import SHORT_LIFE
from services.demo.scenes import Row, Stage, read_log
from services.demo.served_ca import ServedCa

WATCH = "/shop.v1.Inventory/WatchStock"
GET_STOCK = "/shop.v1.Inventory/GetStock"
RESERVE = "/shop.v1.Inventory/Reserve"
GET_ORDER = "/shop.v1.Orders/GetOrder"
_ROTATIONS = 3
_TRIES = 400
_SECONDS = 10.0
_SHORT = timedelta(seconds=8)


class Changes:
    """Lets certificates of a running fleet be renewed and revoked, and checks the effect."""

    def __init__(self, stage: Stage, ca: ServedCa) -> None:
        self._stage = stage
        self._ca = ca
        self._home = stage.home
        self._log = stage.home / "inventory.log"
        # Revoking the first certificate also revokes those that were renewed from it.
        self._inventory_began_with = self._in_use("inventory").serial_number

    async def play_renewal(self) -> list[Row]:
        """Wait for a server to renew its short certificate at the CA while calls run."""
        done = self._home / "renewed"
        running = asyncio.create_task(
            self._stage.ask("gateway", "orders", GET_ORDER, do="repeat", until=str(done))
        )
        before = await self.served_serial("orders")
        after = await self.wait_for_new_serial("orders", before)
        done.touch()
        answer = await running
        seconds = int(SHORT_LIFE.total_seconds())
        return [
            make_row(
                "gateway",
                "orders",
                f"orders renews its certificate of {seconds} s meanwhile: {answer['details']}",
                "ALLOWED",
                answer["reason"],
            ),
            make_row(
                "orders",
                "orders",
                f"new handshakes use {after[:8]}.., no longer {before[:8]}..",
                "RENEWED",
                "RENEWED" if after != before else "UNCHANGED",
            ),
        ]

    async def play_live_stream(self) -> list[Row]:
        """Rotate both ends of a live stream three times, then revoke its first certificate."""
        began_with = self._in_use("auditor").serial_number
        opened = await self._stage.ask("auditor", "inventory", WATCH, do="open")
        rows = [self._auditor("a live stream opens", "ALLOWED", opened["reason"])]
        for number in range(1, _ROTATIONS + 1):
            served = await self.served_serial("inventory")
            ours = (await self._stage.ask("auditor", "inventory", WATCH, do="renew"))["details"]
            self._stage.fleet.send_signal("inventory", signal.SIGHUP)
            theirs = await self.wait_for_new_serial("inventory", served)
            used = await self._call_until_logged("auditor", ours)
            await self._stage.ask("warehouse", "inventory", "/shop.v1.Inventory/Restock")
            message = await self._stage.ask("auditor", "inventory", WATCH, do="read")
            continued = message["reason"] if used and theirs != served else "UNCHANGED"
            what = f"stream continues after rotation {number} of both: {ours[:6]}.., {theirs[:6]}.."
            rows.append(self._auditor(what, "ALLOWED", continued))
        ending = asyncio.create_task(self._until_end())
        begun = time.monotonic()
        await self._ca.revoke(began_with)
        ended = await ending
        took = round(1000 * (time.monotonic() - begun))
        rows.append(
            self._auditor(
                f"its first certificate is revoked at the CA: ended in {took} ms",
                "CERTIFICATE_REVOKED",
                ended,
            )
        )
        again = await self._stage.ask("auditor", "inventory", GET_STOCK)
        details = "next call: certificates renewed from it are revoked too"
        rows.append(self._auditor(details, "CERTIFICATE_REVOKED", again["reason"]))
        return rows

    async def play_reopened_stream(self) -> list[Row]:
        """Let a stream outlive the certificate that its connection began with."""
        self._ca.set_lifetime("audit", _SHORT)
        token = self._ca.token_file("audit", "watcher")
        await self._stage.fleet.start_caller("watcher", f"--token-file={token}")
        watching = asyncio.create_task(
            self._stage.ask("watcher", "inventory", WATCH, do="watch", reopened="CREDENTIAL_ENDED")
        )
        enrolled = self._home / "watcher" / "chain.pem"
        for _ in range(_TRIES):
            if enrolled.exists():
                break
            await asyncio.sleep(0.05)
        # The next one, a few seconds from now, lives longer.
        self._ca.set_lifetime("audit", timedelta(hours=1))
        answer = await watching
        return [make_row("watcher", "inventory", answer["details"], "ALLOWED", answer["reason"])]

    async def play_revoked_server(self) -> list[Row]:
        """Revoke a server's certificate: its callers check revocation themselves."""
        await self._ca.revoke(self._inventory_began_with)
        answer = await self._stage.ask("orders", "inventory", RESERVE)
        for _ in range(40):
            if answer["reason"] != "ALLOWED":
                break
            await asyncio.sleep(0.05)
            answer = await self._stage.ask("orders", "inventory", RESERVE)
        what = "the server is revoked"
        expected = "SERVER_CERTIFICATE_REJECTED"
        return [make_row("orders", "inventory", what, expected, answer["reason"])]

    @staticmethod
    def _auditor(what: str, expected: str, got: str) -> Row:
        return make_row("auditor", "inventory", what, expected, got, role="audit")

    def _in_use(self, name: str) -> x509.Certificate:
        return load_credential(self._home / name).credential.leaf

    async def _until_end(self) -> str:
        """Read the auditor's stream until it ends; return the reason."""
        while True:
            answer = await self._stage.ask("auditor", "inventory", WATCH, do="read")
            if answer["reason"] != "ALLOWED":
                return answer["reason"]

    async def _call_until_logged(self, caller: str, serial: str) -> bool:
        """Call until the server's log has a certificate of the caller; return whether it has."""
        begin = self._log.stat().st_size
        for _ in range(40):
            await self._stage.ask(caller, "inventory", GET_STOCK)
            if f'"serial": "{serial}"' in await read_log(self._log, begin, serial, tries=1):
                return True
            await asyncio.sleep(0.05)
        return False

    async def served_serial(self, server: str) -> str:
        """Return the serial number of the certificate that a server uses in a new handshake."""
        return await asyncio.to_thread(
            read_served_serial, self._stage.fleet.addresses[server], self._home / "gateway"
        )

    async def wait_for_new_serial(self, server: str, before: str) -> str:
        """Wait until a server uses another certificate in new handshakes; return its serial."""
        after = before
        for _ in range(_TRIES):
            after = await self.served_serial(server)
            if after != before:
                break
            await asyncio.sleep(0.05)
        return after


def read_served_serial(address: str, credential: Path) -> str:
    """Return the serial number, in hex, of the certificate that a server presents."""
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context(cafile=str(credential / "bundle.pem"))
    context.check_hostname = False
    context.load_cert_chain(credential / "chain.pem", credential / "key.pem")
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host, int(port)), timeout=_SECONDS) as plain,
        context.wrap_socket(plain) as secured,
    ):
        der = secured.getpeercert(binary_form=True)
    if der is None:
        raise RuntimeError(f"{address} presented no certificate")
    return f"{read_certificate(der).serial_number:x}"


def make_row(
    caller: str, server: str, what: str, expected: str, got: str, *, role: str = "-"
) -> Row:
    """Return a row about a change, not about a grant of the policy."""
    return Row(caller, server, what, role, expected, got, "")
