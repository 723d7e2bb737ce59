"""What happens in the demo, scene by scene, and what the policy says should come of it."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pki
from pki.authz import Policy, Principal
from pki.identity import SpiffeId, derive_names
from pki.x509 import read_certificate
from services.demo.calls import KINDS
from services.demo.fleet import Fleet

# A client sees nothing of why a server refused its handshake; the reason stands in the server's own
# log, in these words of BoringSSL's. The last is the client's own, who refused the server.
HANDSHAKES = MappingProxyType(
    {
        "impostor": ("same names, another CA", "unable to get local issuer certificate"),
        "nobody": ("no client certificate", "PEER_DID_NOT_RETURN_A_CERTIFICATE"),
        "latecomer": ("certificate has expired", "certificate has expired"),
    }
)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    caller: str
    server: str
    what: str
    role: str
    expected: str
    got: str
    words: str

    @property
    def as_expected(self) -> bool:
        """Whether what happened is what the policy says."""
        return self.got == self.expected


@dataclass(frozen=True, slots=True)
class Scene:
    """One call: who calls whom, under which name, and what."""

    caller: str
    identity: str
    server: str
    method: str


# Caller processes whose identity has the role fleet, and that identity.
FLEET = MappingProxyType(
    {
        "storefront": "storefront",
        "gateway": "gateway",
        "orders": "orders",
        "warehouse": "warehouse",
        "auditor": "audit",
    }
)
CALLS = (
    Scene("storefront", "storefront", "gateway", "/shop.v1.Gateway/Checkout"),
    Scene("gateway", "gateway", "orders", "/shop.v1.Orders/PlaceOrder"),
    Scene("gateway", "gateway", "orders", "/shop.v1.Orders/GetOrder"),
    Scene("orders", "orders", "inventory", "/shop.v1.Inventory/Reserve"),
    Scene("orders", "orders", "payments", "/shop.v1.Payments/Settle"),
    Scene("warehouse", "warehouse", "inventory", "/shop.v1.Inventory/Restock"),
    Scene("auditor", "audit", "orders", "/shop.v1.Orders/GetOrder"),
    Scene("auditor", "audit", "inventory", "/shop.v1.Inventory/GetStock"),
    Scene("auditor", "audit", "inventory", "/shop.v1.Inventory/WatchStock"),
    Scene("storefront", "storefront", "audit", "/shop.v1.Audit/GetReport"),
    Scene("auditor", "audit", "inventory", "/shop.v1.Inventory/Restock"),
    Scene("auditor", "audit", "orders", "/shop.v1.Orders/PlaceOrder"),
    Scene("gateway", "gateway", "payments", "/shop.v1.Payments/Settle"),
    Scene("stranger", "guests/stranger", "orders", "/shop.v1.Orders/GetOrder"),
    Scene("orders", "orders", "inventory", "/shop.v1.Payments/Settle"),
)


class Stage:
    """Plays the scenes on a running fleet."""

    def __init__(self, fleet: Fleet, policy: Policy, authority: pki.Authority, home: Path) -> None:
        self._fleet = fleet
        self._policy = policy
        self._authority = authority
        self._home = home

    async def play(self, scene: Scene) -> Row:
        """Make one call, and hold it against the policy."""
        answer = await self._ask(scene.caller, scene.server, scene.method)
        caller = self._principal(scene.identity)
        return Row(
            scene.caller,
            scene.server,
            _title(scene.method),
            self._role(caller, scene.method),
            self._expected(caller, self._principal(scene.server), scene.method),
            answer["reason"],
            answer["words"],
        )

    async def play_health(self) -> list[Row]:
        """Have everybody of the fleet ask every service whether it is well."""
        method = "/grpc.health.v1.Health/Check"
        rows = []
        for server in self._fleet.addresses:
            got = {caller: (await self._ask(caller, server, method))["reason"] for caller in FLEET}
            expected = {
                self._expected(self._principal(name), self._principal(server), method)
                for name in FLEET.values()
            }
            differing = {reason for reason in got.values() if reason not in expected}
            rows.append(
                Row(
                    f"{len(FLEET)} callers",
                    server,
                    _title(method),
                    "fleet",
                    ", ".join(sorted(expected)),
                    ", ".join(sorted(differing)) or ", ".join(sorted(expected)),
                    "",
                )
            )
        return rows

    async def play_handshakes(self) -> list[Row]:
        """Try it without a certificate that counts, and to a server that is another."""
        method = "/shop.v1.Orders/GetOrder"
        rows = []
        log = self._home / "orders.log"
        for caller, (what, cause) in HANDSHAKES.items():
            told_before = log.stat().st_size
            answer = await self._ask(caller, "orders", method)
            told = await _told(log, told_before, cause)
            refused = answer["reason"] == "UNAVAILABLE" and cause in told
            got = cause if refused else f"{answer['reason']} {told}"
            rows.append(Row(caller, "orders", what, "none", cause, got, answer["words"]))
        target = self._fleet.addresses["inventory"]
        answer = await self._fleet.ask(
            "orders", do="call", method="/shop.v1.Payments/Settle", target=target, peer="payments"
        )
        rows.append(
            Row(
                "orders",
                "inventory",
                "inventory at the address of payments",
                "orders",
                "SERVER_REFUSED",
                answer["reason"],
                answer["words"],
            )
        )
        return rows

    async def play_renewal(self) -> list[Row]:
        """Renew the server's certificate while calls run."""
        done = self._home / "renewed"
        target = self._fleet.addresses["orders"]
        method = "/shop.v1.Orders/GetOrder"
        running = asyncio.create_task(
            self._fleet.ask(
                "gateway", do="repeat", method=method, target=target, peer="orders", until=str(done)
            )
        )
        before = await self._serial_served("orders")
        folder = self._home / "orders"
        old = pki.Workload.from_directory(folder)
        old.close()
        await asyncio.to_thread(self._renew, old, folder)
        after = before
        for _ in range(100):
            after = await self._serial_served("orders")
            if after != before:
                break
            await asyncio.sleep(0.05)
        done.touch()
        answer = await running
        return [
            Row(
                "gateway",
                "orders",
                f"orders is renewed meanwhile: {answer['words']}",
                "gateway",
                "ALLOWED",
                answer["reason"],
                answer["words"],
            ),
            Row(
                "orders",
                "orders",
                "new handshakes show the new certificate",
                "-",
                "RENEWED",
                "RENEWED" if after != before else "UNCHANGED",
                f"serial {before[:8]}.. became {after[:8]}..",
            ),
        ]

    async def play_revocation(self) -> list[Row]:
        """Revoke a certificate while its holder is connected, with a stream open."""
        method = "/shop.v1.Inventory/GetStock"
        rows = []
        opened = await self._ask("auditor", "inventory", method, do="open")
        rows.append(self._revocation_row("stream open", "ALLOWED", opened))
        with pki.Workload.from_directory(self._home / "auditor") as holder:
            serial = holder.credential.leaf.serial_number
        await asyncio.to_thread(self._revoke, serial)
        ended = await self._ask("auditor", "inventory", method, do="read")
        rows.append(self._revocation_row("the same stream, revoked", "CERTIFICATE_REVOKED", ended))
        again = await self._ask("auditor", "inventory", method)
        rows.append(self._revocation_row("the next call", "CERTIFICATE_REVOKED", again))
        return rows

    def _renew(self, old: pki.Workload, folder: Path) -> None:
        self._authority.renew(old.credential.leaf).save(folder)

    def _revoke(self, serial: int) -> None:
        self._authority.revoke(serial, reason="key-compromise")
        for service in self._fleet.addresses:
            aside = self._home / service / ".crl.new"
            shutil.copy(self._home / "ca" / "crl.pem", aside)
            aside.replace(self._home / service / "crl.pem")

    async def _ask(self, caller: str, server: str, method: str, do: str = "call") -> dict[str, str]:
        target = self._fleet.addresses[server]
        return await self._fleet.ask(caller, do=do, method=method, target=target, peer=server)

    async def _serial_served(self, server: str) -> str:
        """Look at the certificate that a server shows to a new connection."""
        return await asyncio.to_thread(
            served_serial, self._fleet.addresses[server], self._home / "gateway"
        )

    def _principal(self, path: str) -> Principal:
        spiffe_id = SpiffeId.of_path(self._policy.trust_domain, path)
        derived = derive_names(spiffe_id)
        dns = frozenset({derived.dns} if derived.dns else ())
        return Principal(spiffe_id, dns, derived.subject)

    def _expected(self, caller: Principal, server: Principal, method: str) -> str:
        served = self._policy.decide_served_by(server, method[1:].partition("/")[0])
        if not served.allowed:
            return served.reason.value
        return self._policy.decide(caller, method).reason.value

    def _role(self, caller: Principal, method: str) -> str:
        decision = self._policy.decide(caller, method)
        return decision.role or ", ".join(decision.roles) or "none"

    @staticmethod
    def _revocation_row(what: str, expected: str, answer: dict[str, str]) -> Row:
        return Row(
            "auditor", "inventory", what, "audit", expected, answer["reason"], answer["words"]
        )


def served_serial(address: str, credential: Path) -> str:
    """Give the serial number, in hex, of the certificate that a server shows."""
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context(cafile=str(credential / "bundle.pem"))
    context.check_hostname = False
    context.load_cert_chain(credential / "chain.pem", credential / "key.pem")
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host, int(port)), timeout=5) as plain,
        context.wrap_socket(plain) as secured,
    ):
        der = secured.getpeercert(binary_form=True)
    if der is None:
        raise RuntimeError(f"{address} showed no certificate")
    return f"{read_certificate(der).serial_number:x}"


async def _told(log: Path, offset: int, cause: str) -> str:
    """Read what a log says from an offset on; the server may write it after the caller is told."""
    told = ""
    for _ in range(60):
        told = await asyncio.to_thread(_read_from, log, offset)
        if cause in told:
            break
        await asyncio.sleep(0.05)
    return told


def _read_from(path: Path, offset: int) -> str:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read().decode(errors="replace")


def _title(method: str) -> str:
    service, name = method[1:].split("/")
    return f"{service.rpartition('.')[2]}.{name} ({KINDS.get(method, 'unary')})"
