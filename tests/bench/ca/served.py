"""handfast's CA as it is served: a process of the command, with registrars that load it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pki.authority import Authority
from pki.authority.enrollment import create_registration
from pki.authority.registrations import Caller, Proof, Registration
from pki.identity import SpiffeId, TrustDomain
from tests.served_process import running
from tests.worker_processes import workers_of

CONNECTIONS = 16
_SHOP = TrustDomain("shop.internal")
OPERATOR = Caller("the operator", is_admin=True)
_POLICY = """\
trust_domain = "shop.internal"
[roles]
registrar = ["spiffe://shop.internal/ci/*"]
[[grant]]
role = "registrar"
methods = ["/handfast.ca.v1.Authority/IssueBatch"]
scopes = ["register:/load"]
"""
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class ServedCa:
    """A CA that is served.

    Args:
        pids: of its processes.
        address: where workloads with a certificate call.
        registrars: the credential directories of the registrars.
    """

    pids: list[int]
    address: str
    registrars: list[str]


@contextmanager
def served_ca(home: Path, *, workers: int = 1, callers: int = CONNECTIONS) -> Iterator[ServedCa]:
    """Make a CA with registrars and registrations in a folder, and serve it."""
    with Authority.create(home / "ca", "shop.internal") as authority:
        for number in range(callers):
            registration = Registration(
                SpiffeId.of_path(_SHOP, f"load/{number}"),
                proofs=frozenset({Proof.REGISTRAR, Proof.RENEWAL}),
            )
            create_registration(authority.context, OPERATOR, registration)
            authority.issue(f"ci/{number}").save(home / f"ci-{number}")
    policy = home / "ca-policy.toml"
    policy.write_text(_POLICY)
    serve = ("ca", "serve", "--listen=127.0.0.1:0", "--enroll-listen=127.0.0.1:0")
    options = (f"--policy={policy}", f"--workers={workers}")
    with running(home, *serve, *options, name="ca") as process:
        found = re.search(r"127\.0\.0\.1:\d+", process.line("Serving"))
        assert found is not None
        folders = [str(home / f"ci-{number}") for number in range(callers)]
        pids = [process.process.pid, *workers_of(process)]
        yield ServedCa(pids, found[0], folders)


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the processor time that processes have used."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS
