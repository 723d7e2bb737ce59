"""The CA of the demo: served by a process of its own, with an operator beside it.

The operator works in two ways, as people do: on the CA's folder, and over the network with the
certificate of an admin.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives import hashes

import pki
from pki._proto.handfast.ca.v1 import authority_pb2, authority_pb2_grpc
from pki.authority.enrollment import create_token, get_registration, update_registration
from pki.authority.registrations import Registration
from pki.ca_client import CaIdentity
from pki.identity import SpiffeId
from pki.proofs import EnrollmentToken
from services.demo.cast import OPERATOR
from services.demo.fleet import Fleet

_HEARTBEAT = "1s"
_SECONDS = 10.0


class ServedCa:
    """The CA in ``home/ca``, while its process runs and while it does not.

    Args:
        fleet: starts the process.
        home: the demo's folder.
        authority: the open CA, for what is done on its folder.
    """

    def __init__(self, fleet: Fleet, home: Path, authority: pki.Authority) -> None:
        self._fleet = fleet
        self._home = home
        self._authority = authority
        self.address = self._enroll_address = "127.0.0.1:0"

    async def start(self) -> None:
        """Start ``handfast ca serve``; on the ports of the last time, if there was one."""
        line = await self._fleet.start_command(
            "ca",
            [
                *("ca", "serve", f"--heartbeat={_HEARTBEAT}"),
                f"--listen={self.address}",
                f"--enroll-listen={self._enroll_address}",
            ],
            "Serving",
        )
        words = line.replace(",", "").split()
        self.address, self._enroll_address = words[-4], words[-1]

    async def kill(self) -> None:
        """Kill the process: no goodbye, no drain."""
        await self._fleet.kill("ca")

    def token(self, name: str) -> str:
        """Make an enrollment token, good once."""
        made = create_token(self._authority.context, OPERATOR, self._spiffe_id(name))
        root = self._authority.trust()[0].all_roots()[0]
        domain = self._authority.trust_domain
        fingerprint = root.fingerprint(hashes.SHA256())
        return str(EnrollmentToken(self._enroll_address, domain, fingerprint, made.credential))

    def token_file(self, name: str, folder: str = "") -> Path:
        """Write a token to a file that a process reads when it starts for the first time."""
        file = self._home / f"{folder or name}.token"
        file.touch(mode=0o600)
        file.write_text(self.token(name))
        return file

    def enroll(self, name: str, folder: str) -> None:
        """Enroll a folder by a token, as ``handfast enroll`` does."""
        with CaIdentity(self._home / folder, token=EnrollmentToken.parse(self.token(name))):
            pass

    def set_lifetime(self, name: str, lifetime: timedelta) -> None:
        """Change how long the next certificates of a workload live."""
        spiffe_id = self._spiffe_id(name)
        _, revision = get_registration(self._authority.context, OPERATOR, spiffe_id)
        update_registration(
            self._authority.context,
            OPERATOR,
            Registration(spiffe_id, lifetime=lifetime),
            revision=revision.number,
        )

    async def revoke(self, serial: int) -> None:
        """Revoke over the network, with the certificate of the admin."""
        request = authority_pb2.RevokeRequest(serial=f"{serial:x}", reason="key-compromise")
        async with (
            pki.Workload.from_directory(self._home / "ops") as me,
            me.channel(self.address, peer="handfast/ca") as channel,
        ):
            stub = authority_pb2_grpc.AuthorityStub(channel)
            await stub.Revoke(request, timeout=_SECONDS)

    async def revoke_on_folder(self, serial: int) -> None:
        """Revoke on the CA's machine: that works while nothing is served, too."""
        await asyncio.to_thread(self._authority.revoke, serial, reason="key-compromise")

    def _spiffe_id(self, name: str) -> SpiffeId:
        return SpiffeId.of_path(self._authority.trust_domain, name)
