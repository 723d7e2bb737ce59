"""A CA that is served in this process, on free loopback ports, and what its users do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from pki.authority import Authority
from pki.authority.enrollment import create_registration, create_token
from pki.authority.registrations import Caller, Registration
from pki.clock import Clock, system_clock
from pki.daemon import CaService, CaSettings
from pki.identity import SpiffeId
from pki.proofs import EnrollmentToken
from tests.ready_made import ReadyMade

OPERATOR = Caller("the operator", is_admin=True)
POLICY = """\
trust_domain = "shop.internal"

[roles]
ca-admin  = ["spiffe://shop.internal/ops"]
registrar = ["spiffe://shop.internal/ci"]

[[grant]]
role = "ca-admin"
methods = [
  "/handfast.ca.v1.Audit/*",
  "/handfast.ca.v1.Authority/*",
  "/handfast.ca.v1.Registrations/*",
  "/handfast.ca.v1.Rotation/*",
]

[[grant]]
role = "registrar"
methods = [
  "/handfast.ca.v1.Authority/CreateToken",
  "/handfast.ca.v1.Authority/IssueBatch",
  "/handfast.ca.v1.Authority/ListCertificates",
  "/handfast.ca.v1.Registrations/*",
]
scopes = ["register:/prod"]
"""


@dataclass
class Served:
    """A CA that is served."""

    authority: Authority
    service: CaService
    policy: Path
    loop: asyncio.AbstractEventLoop

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.service.port}"

    @property
    def enroll_address(self) -> str:
        return f"127.0.0.1:{self.service.enroll_port}"

    def register(self, path: str, **settings: Any) -> Registration:
        registration = Registration(SpiffeId.of_path(self.authority.trust_domain, path), **settings)
        create_registration(self.authority.context, OPERATOR, registration)
        return registration

    def token(self, path: str, **lifetime: timedelta) -> str:
        """Make a token; register the workload if it is not."""
        context = self.authority.context
        spiffe_id = SpiffeId.of_path(self.authority.trust_domain, path)
        with context.ledger.transaction() as transaction:
            is_known = transaction.registrations.get(spiffe_id) is not None
        if not is_known:
            self.register(path)
        made = create_token(context, OPERATOR, spiffe_id, **lifetime)
        parts = self.service.parts
        return str(
            EnrollmentToken(
                self.enroll_address,
                self.authority.trust_domain,
                parts.root_fingerprint(),
                made.credential,
            )
        )


_READY_MADE = ReadyMade(lambda home: Authority.create(home, "shop.internal").close())


@contextmanager
def served_ca(
    folder: Path,
    *,
    clock: Clock = system_clock,
    policy: str = POLICY,
    heartbeat: timedelta = timedelta(seconds=0.5),
    ports: tuple[int, int] = (0, 0),
    oidc: Path | None = None,
    host: str = "127.0.0.1",
    advertised: str = "",
    passphrase: bytes | None = None,
) -> Iterator[Served]:
    """Serve a CA in a folder; make the CA if there is none.

    ``advertised`` is the host that workloads are told, if it is not the one that is listened on.
    """
    home = folder / "ca"
    if not home.exists() and clock is not system_clock:
        Authority.create(home, "shop.internal", clock=clock).close()
    elif not home.exists():
        _READY_MADE.write(home)
    authority = Authority.open(home, clock=clock, passphrase=passphrase)
    file = folder / "ca-policy.toml"
    if not file.exists():
        file.write_text(policy)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="ca-loop", daemon=True)
    thread.start()
    with authority:
        settings = CaSettings(
            file,
            f"{host}:{ports[0]}",
            f"{host}:{ports[1]}",
            f"{advertised}:{ports[0]}" if advertised else "",
            f"{advertised}:{ports[1]}" if advertised else "",
            heartbeat=heartbeat,
            oidc=oidc,
        )
        service = CaService(authority, settings, clock)
        try:
            asyncio.run_coroutine_threadsafe(service.start(), loop).result(30)
            yield Served(authority, service, file, loop)
        finally:
            asyncio.run_coroutine_threadsafe(service.stop(0.5), loop).result(30)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
