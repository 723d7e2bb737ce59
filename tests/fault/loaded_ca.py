"""A CA that is served in a process of its own, and registrars who ask it for certificates."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from cryptography import x509

import pki
from pki._proto.handfast.ca.v1 import authority_pb2, authority_pb2_grpc
from pki.authority import Authority
from pki.authority.enrollment import create_registration
from pki.authority.ledger.databases.place import LedgerPlace
from pki.authority.registrations import Caller, Proof, Registration
from pki.ca_client.received import read_crls
from pki.identity import SpiffeId, TrustDomain
from pki.x509 import CrlSet
from pki.x509.revocation import IssuerId
from tests.interop.shop import reason
from tests.served_process import Running, running

DOMAIN = TrustDomain("shop.internal")
REVOKED_EACH = 10  # of so many certificates, one is revoked
_OPERATOR = Caller("the operator", is_admin=True)
_SECONDS = 60.0
_POLICY = """\
trust_domain = "shop.internal"
[roles]
ca-admin = ["spiffe://shop.internal/ops"]
[[grant]]
role = "ca-admin"
methods = ["/handfast.ca.v1.Authority/*", "/handfast.ca.v1.Registrations/*"]
"""


@dataclass
class Held:
    """What clients of a CA have in their hands.

    Args:
        leaves: the certificates that were handed out.
        revoked: the serial numbers that the CA has said to be revoked.
        lists: the highest number that was seen of each issuer's list.
        failed: how calls failed, the newest last.
        went_back: which lists were older than one that was out before.
    """

    leaves: list[x509.Certificate] = field(default_factory=list)
    revoked: set[int] = field(default_factory=set)
    lists: dict[IssuerId, int] = field(default_factory=dict)
    failed: list[Exception] = field(default_factory=list)
    went_back: list[str] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def see(self, crls: CrlSet) -> None:
        """Note the numbers of lists. Others may have seen higher ones at the same time."""
        with self.changed:
            for issuer, crl in crls.crls.items():
                self.lists[issuer] = max(self.lists.get(issuer, 0), crl.number)

    def compare(self, crls: CrlSet, known: Mapping[IssuerId, int]) -> None:
        """Note lists whose numbers are lower than those that were out when they were asked for."""
        for issuer, number in known.items():
            found = crls.crls.get(issuer)
            if found is None or found.number < number:
                seen = "no list" if found is None else f"list {found.number}"
                self.went_back.append(f"{seen} after list {number}")
        self.see(crls)

    def wait_for(self, certificates: int) -> None:
        """Wait until so many certificates are held, or a call has failed."""
        with self.changed:
            assert self.changed.wait_for(
                lambda: len(self.leaves) >= certificates or self.failed, _SECONDS
            )
            assert not self.failed, self.failed[-1]


def make_ca(
    home: Path, clients: int, *, ledger: LedgerPlace | None = None, passphrase: bytes | None = None
) -> None:
    """Make a CA in a folder, with workloads that an admin may obtain certificates for."""
    with Authority.create(home / "ca", "shop.internal", ledger=ledger, passphrase=passphrase) as ca:
        for number in range(clients):
            registration = Registration(
                SpiffeId.of_path(DOMAIN, f"load/{number}"),
                proofs=frozenset({Proof.REGISTRAR, Proof.RENEWAL}),
            )
            create_registration(ca.context, _OPERATOR, registration)
        ca.issue("ops").save(home / "ops")
    (home / "ca-policy.toml").write_text(_POLICY)


@contextmanager
def served(
    home: Path, environment: dict[str, str] | None = None, *options: str
) -> Iterator[tuple[Running, str]]:
    """Serve the CA in a folder; give its process, and where admins call."""
    serve = ("ca", "serve", "--listen=127.0.0.1:0", "--enroll-listen=127.0.0.1:0")
    policy = f"--policy={home / 'ca-policy.toml'}"
    with running(home, *serve, policy, *options, name="serve", environment=environment) as process:
        found = re.search(r"127\.0\.0\.1:\d+", process.line("Serving"))
        assert found is not None
        yield process, found[0]


@contextmanager
def admins(
    home: Path, address: str, number: int
) -> Iterator[list[authority_pb2_grpc.AuthorityStub]]:
    """Connect an admin several times."""
    with ExitStack() as stack:
        me = stack.enter_context(pki.Workload.from_directory(home / "ops"))
        channels = [
            stack.enter_context(me.sync_channel(address, peer=SpiffeId.of_ca(DOMAIN)))
            for _ in range(number)
        ]
        yield [authority_pb2_grpc.AuthorityStub(channel) for channel in channels]


def issue_one(stub: authority_pb2_grpc.AuthorityStub, place: int, der: bytes, held: Held) -> int:
    """Obtain one certificate, and hold it; return its serial number.

    Raises:
        grpc.RpcError: if the call fails: then nothing is held.
        LedgerHeldError: if it is to be asked again.
    """
    item = authority_pb2.BatchItem(spiffe_id=f"spiffe://shop.internal/load/{place}", request=der)
    asked = authority_pb2.IssueBatchRequest(items=[item])
    with held.changed:
        known = dict(held.lists)
    (result,) = stub.IssueBatch(asked, timeout=_SECONDS).results
    if "held all the time" in result.refused.message:
        raise LedgerHeldError(result.refused.message)
    if not result.HasField("certificate"):
        raise AssertionError(str(result.refused))
    leaf = x509.load_der_x509_certificate(result.certificate.chain[0])
    held.compare(read_crls(result.certificate.crls) or CrlSet.none(), known)
    with held.changed:
        held.leaves.append(leaf)
        held.changed.notify_all()
    return leaf.serial_number


def revoke_one(stub: authority_pb2_grpc.AuthorityStub, serial: int, held: Held) -> None:
    """Revoke one certificate, and hold that it was said to be revoked."""
    request = authority_pb2.RevokeRequest(serial=f"{serial:x}", reason="superseded")
    answer = stub.Revoke(request, timeout=_SECONDS)
    assert [item.serial for item in answer.certificates] == [f"{serial:x}"]
    with held.changed:
        held.revoked.add(serial)


class LedgerHeldError(AssertionError):
    """The CA waited in vain for the ledger, e.g. because it stood still meanwhile."""


def code_of(error: Exception) -> grpc.StatusCode | None:
    """Return the status of a call that failed; None if something else has."""
    code = getattr(error, "code", None)
    return code() if code is not None else None


def _stood_still(error: Exception) -> bool:
    """Return whether a call failed because the CA stood still, and is to be asked again.

    If it stood still for longer than what is in force may be unread, it refuses all until it has
    read that.
    """
    if isinstance(error, LedgerHeldError):
        return True
    if not isinstance(error, grpc.RpcError):
        return False
    is_late = code_of(error) is grpc.StatusCode.DEADLINE_EXCEEDED
    return is_late or reason(error) in {"REVOCATION_STALE", "POLICY_UNAVAILABLE"}


@contextmanager
def load(home: Path, address: str, clients: int, held: Held, ders: list[bytes]) -> Iterator[None]:
    """Ask from several connections at once, until the CA fails or there is nothing left to ask."""

    def work(place: int, stub: authority_pb2_grpc.AuthorityStub) -> None:
        while ders and not ending.is_set():
            try:
                serial = issue_one(stub, place, ders.pop(), held)
                if serial % REVOKED_EACH == 0:
                    revoke_one(stub, serial, held)
            except IndexError:
                return
            except (grpc.RpcError, AssertionError) as error:
                if _stood_still(error):
                    # It goes on. What it may have recorded, nobody holds.
                    ending.wait(0.05)
                    continue
                with held.changed:
                    held.failed.append(error)
                    held.changed.notify_all()
                return

    ending = threading.Event()
    with admins(home, address, clients) as stubs:
        threads = [threading.Thread(target=work, args=item) for item in enumerate(stubs)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            ending.set()
            for thread in threads:
                thread.join()


def check_held(home: Path, held: Held, *, passphrase: bytes | None = None) -> None:
    """Hold what clients have in their hands against a CA that is served no more."""
    with Authority.open(home / "ca", passphrase=passphrase) as ca:
        records = {item.serial: item for item in ca.certificates(with_ended=True)}
        for leaf in held.leaves:
            record = records.get(f"{leaf.serial_number:x}")
            assert record is not None, "a certificate is out that the ledger does not hold"
            assert record.certificate == leaf
        held.compare(ca.trust()[1], held.lists)
        # The service records a revocation and answers; a list is signed within the next second.
        ca.refresh_crls(force=True)
        _, crls = ca.trust()
        held.compare(crls, held.lists)
        published = CrlSet.read((home / "ca" / "crl.pem").read_bytes())
        assert {key: item.number for key, item in published.crls.items()} == held.lists
        listed = {serial for item in crls.crls.values() for serial in item.revoked}
        assert held.revoked <= listed, "what was said to be revoked is so no more"
        assert {item.serial for item in records.values() if item.revoked_at} <= {
            f"{serial:x}" for serial in listed
        }
        assert not held.went_back
        assert ca.verify_audit_log().findings == ()
