"""What happens in the demo, scene by scene, and what the policy says should come of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from pki.authz import Policy, Principal
from pki.identity import SpiffeId, derive_names
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

    def __init__(self, fleet: Fleet, policy: Policy, home: Path) -> None:
        self.fleet = fleet
        self._policy = policy
        self.home = home

    async def play(self, scene: Scene) -> Row:
        """Make one call, and hold it against the policy."""
        answer = await self.ask(scene.caller, scene.server, scene.method)
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
        for server in self.fleet.addresses:
            got = {caller: (await self.ask(caller, server, method))["reason"] for caller in FLEET}
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
        log = self.home / "orders.log"
        for caller, (what, cause) in HANDSHAKES.items():
            told_before = log.stat().st_size
            answer = await self.ask(caller, "orders", method)
            words = await told(log, told_before, cause)
            refused = answer["reason"] == "UNAVAILABLE" and cause in words
            got = cause if refused else f"{answer['reason']} {words}"
            rows.append(Row(caller, "orders", what, "none", cause, got, answer["words"]))
        target = self.fleet.addresses["inventory"]
        answer = await self.fleet.ask(
            "orders", do="call", method="/shop.v1.Payments/Settle", target=target, peer="payments"
        )
        rows.append(
            Row(
                "orders",
                "inventory",
                "inventory at the address of payments",
                "orders",
                "SERVER_CERTIFICATE_REJECTED",
                answer["reason"],
                answer["words"],
            )
        )
        return rows

    async def ask(self, caller: str, server: str, method: str, **how: str) -> dict[str, str]:
        """Have a caller do something with a server, and give what came of it."""
        target = self.fleet.addresses[server]
        order = {"do": "call", **how}
        return await self.fleet.ask(caller, method=method, target=target, peer=server, **order)

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


async def told(log: Path, offset: int, cause: str, *, tries: int = 60) -> str:
    """Read what a log says from an offset on; the server may write it after the caller is told."""
    found = ""
    for _ in range(tries):
        found = await asyncio.to_thread(_read_from, log, offset)
        if cause in found:
            break
        await asyncio.sleep(0.05)
    return found


def _read_from(path: Path, offset: int) -> str:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read().decode(errors="replace")


def _title(method: str) -> str:
    service, name = method[1:].split("/")
    return f"{service.rpartition('.')[2]}.{name} ({KINDS.get(method, 'unary')})"
