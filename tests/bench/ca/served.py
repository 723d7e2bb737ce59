"""handfast's CA as it is served: a process of the command, with registrars that load it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from pki.authority import Authority
from pki.authority.enrollment import create_registration
from pki.authority.ledger.databases.place import LedgerPlace
from pki.authority.registrations import Caller, Proof, Registration
from pki.clock import Clock, system_clock
from pki.identity import SpiffeId, TrustDomain
from pki.keys import PrivateKey, private_key_to_pem
from pki.x509.readers import to_pem
from tests.served_process import running
from tests.worker_processes import workers_of

CONNECTIONS = 16
SHOP = TrustDomain("shop.internal")
CA_ID, BARE = SpiffeId.of_ca(SHOP), SpiffeId.of_path(SHOP, "bare")
OPERATOR = Caller("the operator", is_admin=True)
_POLICY = """\
trust_domain = "shop.internal"
[roles]
registrar = ["spiffe://shop.internal/ci/*"]
ca-admin = ["spiffe://shop.internal/ops"]
[[grant]]
role = "registrar"
methods = ["/handfast.ca.v1.Authority/IssueBatch"]
scopes = ["register:/load"]
[[grant]]
role = "ca-admin"
methods = ["/handfast.ca.v1.Authority/*"]
"""
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class ServedCa:
    """A CA that is served.

    Args:
        pids: of its processes.
        address: where workloads with a certificate call.
        registrars: the credential directories of the registrars.
        bare: the credential directory of a server that may be compared with it.
        admin: the credential directory of an admin.
        root: a file with its root, PEM.
    """

    pids: list[int]
    address: str
    registrars: list[str]
    bare: Path
    admin: Path
    root: Path

    @property
    def pid(self) -> int:
        """Of the process that was started."""
        return self.pids[0]


def make_ca(
    home: Path,
    *,
    ledger: LedgerPlace | None = None,
    passphrase: bytes | None = None,
    clock: Clock = system_clock,
    callers: int = CONNECTIONS,
    also: Callable[[Authority], object] = lambda _: None,
) -> None:
    """Make a CA with registrars, an admin and registrations in a folder.

    Args:
        home: the folder.
        ledger: where its ledger is; None for a file.
        passphrase: of its keys.
        clock: returns the time.
        callers: how many registrars.
        also: does what else is to be done before it is served.
    """
    with Authority.create(
        home / "ca", "shop.internal", ledger=ledger, passphrase=passphrase, clock=clock
    ) as authority:
        for number in range(callers):
            registration = Registration(
                SpiffeId.of_path(SHOP, f"load/{number}"),
                proofs=frozenset({Proof.REGISTRAR, Proof.RENEWAL}),
            )
            create_registration(authority.context, OPERATOR, registration)
            authority.issue(f"ci/{number}").save(home / f"ci-{number}")
        authority.issue(BARE.path).save(home / "bare")
        authority.issue("ops").save(home / "ops")
        bundle, _ = authority.trust()
        (home / "root.pem").write_bytes(bundle.to_pem())
        also(authority)
    (home / "ca-policy.toml").write_text(_POLICY)


@contextmanager
def served_ca(
    home: Path,
    *,
    made: Path | None = None,
    environment: Mapping[str, str] | None = None,
    also: Callable[[Authority], object] = lambda _: None,
    workers: int = 1,
    callers: int = CONNECTIONS,
) -> Iterator[ServedCa]:
    """Serve a CA in a folder, after making one with registrars and registrations there.

    Args:
        home: the folder.
        made: the folder of :func:`make_ca` with the registrars and the policy; None to make it.
        environment: further variables of its process.
        also: as :func:`make_ca`.
        workers: how many processes serve it.
        callers: how many registrars.
    """
    if made is None:
        make_ca(home, callers=callers, also=also)
    of = made or home
    serve = ("ca", "serve", "--listen=127.0.0.1:0", "--enroll-listen=127.0.0.1:0")
    options = (f"--policy={of / 'ca-policy.toml'}", f"--workers={workers}")
    variables = dict(environment or {})
    with running(home, *serve, *options, name="ca", environment=variables) as process:
        found = re.search(r"127\.0\.0\.1:\d+", process.line("Serving"))
        assert found is not None
        folders = [str(of / f"ci-{number}") for number in range(callers)]
        pids = [process.process.pid, *workers_of(process)]
        files = (of / name for name in ("bare", "ops", "root.pem"))
        yield ServedCa(pids, found[0], folders, *files)


def save_pem(key: PrivateKey, chain: tuple[x509.Certificate, ...], file: Path) -> None:
    """Write a key and its chain into one file, as ``ssl.SSLContext`` reads them."""
    file.write_bytes(private_key_to_pem(key) + to_pem(chain))


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the processor time that processes have used."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def resident_bytes(pid: int) -> int:
    """Return how much memory a process has."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
