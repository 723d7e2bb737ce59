"""Renewals and revocations while the fleet runs."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import time
from datetime import timedelta
from pathlib import Path

from cryptography import x509

import pki
from pki.files import load_credential
from pki.x509 import read_certificate
from services.demo.scenes import Row, Stage, read_log

WATCH = "/shop.v1.Inventory/WatchStock"
GET_STOCK = "/shop.v1.Inventory/GetStock"
_ROTATIONS = 3
_SECONDS = 10.0
_SHORT = timedelta(seconds=6)


class Changes:
    """Renews and revokes certificates of a running fleet, and checks the effect."""

    def __init__(self, stage: Stage, authority: pki.Authority) -> None:
        self._stage = stage
        self._authority = authority
        self._home = stage.home
        self._log = stage.home / "inventory.log"
        # Revoking the first certificate also revokes those that were renewed from it.
        self._inventory_began_with = self._in_use("inventory").serial_number

    async def play_renewal(self) -> list[Row]:
        """Renew a server's certificate while calls run."""
        done = self._home / "renewed"
        running = asyncio.create_task(
            self._stage.ask(
                "gateway", "orders", "/shop.v1.Orders/GetOrder", do="repeat", until=str(done)
            )
        )
        before = await self._served_serial("orders")
        await self._renew("orders")
        after = await self._wait_for_new_serial("orders", before)
        done.touch()
        answer = await running
        return [
            _row(
                "gateway",
                "orders",
                f"orders is renewed meanwhile: {answer['details']}",
                "ALLOWED",
                answer["reason"],
            ),
            _row(
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
            served = await self._served_serial("inventory")
            ours = await self._renew("auditor")
            await self._renew("inventory")
            theirs = await self._wait_for_new_serial("inventory", served)
            used = await self._call_until_logged("auditor", ours)
            await self._stage.ask("warehouse", "inventory", "/shop.v1.Inventory/Restock")
            message = await self._stage.ask("auditor", "inventory", WATCH, do="read")
            continued = message["reason"] if used and theirs != served else "UNCHANGED"
            what = f"stream continues after rotation {number} of both: {ours[:6]}.., {theirs[:6]}.."
            rows.append(self._auditor(what, "ALLOWED", continued))
        ending = asyncio.create_task(self._until_end())
        begun = time.monotonic()
        await asyncio.to_thread(self._revoke, began_with)
        ended = await ending
        took = round(1000 * (time.monotonic() - begun))
        rows.append(
            self._auditor(
                f"its first certificate is revoked: ended in {took} ms",
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
        folder = self._home / "watcher"
        self._authority.issue("audit").save(folder)
        await self._stage.fleet.start_caller("watcher")
        await self._stage.ask("watcher", "inventory", GET_STOCK)
        # Only now, because starting a process takes a good part of such a short lifetime.
        short = self._authority.issue("audit", lifetime=_SHORT)
        short.save(folder)
        await self._call_until_logged("watcher", f"{short.leaf.serial_number:x}")
        begin = self._log.stat().st_size
        watching = asyncio.create_task(
            self._stage.ask("watcher", "inventory", WATCH, do="watch", reopened="CREDENTIAL_ENDED")
        )
        # The stream must be open before the next certificate is issued.
        await read_log(self._log, begin, f"{short.leaf.serial_number:x}")
        self._authority.issue("audit").save(folder)
        answer = await watching
        row = _row("watcher", "inventory", answer["details"], "ALLOWED", answer["reason"])
        return [row]

    async def play_revoked_server(self) -> list[Row]:
        """Revoke a server's certificate: its callers check revocation themselves."""
        await asyncio.to_thread(self._revoke, self._inventory_began_with)
        answer = await self._stage.ask("orders", "inventory", "/shop.v1.Inventory/Reserve")
        for _ in range(40):
            if answer["reason"] != "ALLOWED":
                break
            await asyncio.sleep(0.05)
            answer = await self._stage.ask("orders", "inventory", "/shop.v1.Inventory/Reserve")
        what = "the server is revoked"
        return [_row("orders", "inventory", what, "SERVER_CERTIFICATE_REJECTED", answer["reason"])]

    @staticmethod
    def _auditor(what: str, expected: str, got: str) -> Row:
        return _row("auditor", "inventory", what, expected, got, role="audit")

    async def _renew(self, name: str) -> str:
        """Renew the certificate in a directory; return the new serial number, in hex."""
        renewed = await asyncio.to_thread(self._authority.renew, self._in_use(name))
        await asyncio.to_thread(renewed.save, self._home / name)
        return f"{renewed.leaf.serial_number:x}"

    def _in_use(self, name: str) -> x509.Certificate:
        return load_credential(self._home / name).credential.leaf

    def _revoke(self, serial: int) -> None:
        self._authority.revoke(serial, reason="key-compromise")
        for service in self._stage.fleet.addresses:
            aside = self._home / service / ".crl.new"
            shutil.copy(self._home / "ca" / "crl.pem", aside)
            aside.replace(self._home / service / "crl.pem")

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

    async def _served_serial(self, server: str) -> str:
        """Return the serial number of the certificate that a server uses in a new handshake."""
        return await asyncio.to_thread(
            served_serial, self._stage.fleet.addresses[server], self._home / "gateway"
        )

    async def _wait_for_new_serial(self, server: str, before: str) -> str:
        after = before
        for _ in range(100):
            after = await self._served_serial(server)
            if after != before:
                break
            await asyncio.sleep(0.05)
        return after


def served_serial(address: str, credential: Path) -> str:
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


def _row(caller: str, server: str, what: str, expected: str, got: str, *, role: str = "-") -> Row:
    return Row(caller, server, what, role, expected, got, "")
