"""The scenes of the demo, and the result that the policy demands of each."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from pki.authz import Policy, Principal
from pki.identity import SpiffeId, derive_names
from services.demo.calls import KINDS
from services.demo.fleet import Fleet

# A client does not learn why a server refused its handshake. The cause stands in the server's log,
# in these words of BoringSSL.
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
    details: str

    @property
    def as_expected(self) -> bool:
        """Whether the result is what the policy says."""
        return self.got == self.expected


@dataclass(frozen=True, slots=True)
class Scene:
    """One call: who calls whom, under which name, and which method."""

    caller: str
    identity: str
    server: str
    method: str


# Each caller process with the role fleet, and the identity that has the role.
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
        """Make one call, and compare the result with the policy."""
        answer = await self.ask(scene.caller, scene.server, scene.method)
        caller = self._principal(scene.identity)
        return Row(
            scene.caller,
            scene.server,
            _title(scene.method),
            self._role(caller, scene.method),
            self._expected(caller, self._principal(scene.server), scene.method),
            answer["reason"],
            answer["details"],
        )

    async def play_health(self) -> list[Row]:
        """Have each caller with the role fleet check the health of every service."""
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
        """Call without a good certificate, and call a server that is another workload."""
        method = "/shop.v1.Orders/GetOrder"
        rows = []
        log = self.home / "orders.log"
        for caller, (what, cause) in HANDSHAKES.items():
            log_size = log.stat().st_size
            answer = await self.ask(caller, "orders", method)
            text = await read_log(log, log_size, cause)
            refused = answer["reason"] == "UNAVAILABLE" and cause in text
            got = cause if refused else f"{answer['reason']} {text}"
            rows.append(Row(caller, "orders", what, "none", cause, got, answer["details"]))
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
                answer["details"],
            )
        )
        return rows

    async def ask(self, caller: str, server: str, method: str, **order: str) -> dict[str, str]:
        """Have a caller do something with a server, and return its answer."""
        target = self.fleet.addresses[server]
        order = {"do": "call", **order}
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


async def read_log(log: Path, offset: int, cause: str, *, tries: int = 60) -> str:
    """Read a log from an offset on; wait for the cause, which may be written after the answer."""
    text = ""
    for _ in range(tries):
        text = await asyncio.to_thread(_read_from, log, offset)
        if cause in text:
            break
        await asyncio.sleep(0.05)
    return text


def _read_from(path: Path, offset: int) -> str:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read().decode(errors="replace")


def _title(method: str) -> str:
    service, name = method[1:].split("/")
    return f"{service.rpartition('.')[2]}.{name} ({KINDS.get(method, 'unary')})"
