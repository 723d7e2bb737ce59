"""An admin who replaces the CA's root over the network; the roots' keys lie in another folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

import pki
from pki._proto.handfast.ca.v1 import rotation_pb2, rotation_pb2_grpc
from pki.authority.ledger.audit import AuditEntry
from pki.authority.rotation.requests import RootRequest
from pki.authority.rotation.root import RootKeys, make_root, sign_request
from pki.ca_client import CaIdentity
from pki.clock import system_clock
from pki.identity import SpiffeId
from pki.keys import generate_key, read_private_key
from pki.proofs import EnrollmentToken
from tests.ca_service import Served
from tests.command import Capture, run_command, run_json
from tests.interop.asking import reason
from tests.interop.shop import SECONDS, eventually

OPS = "spiffe://shop.internal/ops"


class Roots:
    """The folder with the roots' keys. The CA never sees it."""

    def __init__(self, ca: Served, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700)
        shutil.move(ca.authority.path / "root.key.pem", folder)
        self.domain = ca.authority.trust_domain
        self.keys = [read_private_key((folder / "root.key.pem").read_bytes())]

    def new_root(self) -> bytes:
        """Make a root here; return its certificate, DER."""
        key = generate_key()
        root = make_root(
            self.domain,
            key,
            lifetime=timedelta(days=3650),
            issuing_lifetime=timedelta(days=365),
            backdate=timedelta(minutes=1),
            now=system_clock(),
        )
        self.keys.append(key)
        return root.public_bytes(Encoding.DER)

    def sign(self, request: bytes) -> bytes:
        """Sign a request with all keys that are here; return the answer."""
        keys = RootKeys.of(*self.keys)
        return sign_request(RootRequest.read(request), keys, now=system_clock()).encode()


class Admin:
    """Calls of an admin, and commands with ``--ca``."""

    def __init__(self, ca: Served, folder: Path, channel: grpc.Channel) -> None:
        self.ca = ca
        self.folder = folder
        self.stub = rotation_pb2_grpc.RotationStub(channel)

    def command(self, capsys: Capture, *arguments: str | Path) -> tuple[int, str, str]:
        return run_command(capsys, *arguments, *self._options())

    def json(self, capsys: Capture, *arguments: str | Path) -> dict[str, Any]:
        return run_json(capsys, *arguments, *self._options())

    def prepare_root(self, root: bytes) -> bytes:
        request = rotation_pb2.PrepareRootRequest(root=root)
        return self.stub.PrepareRoot(request, timeout=SECONDS).request

    def prepare_issuer(self, **how: Any) -> bytes:
        request = rotation_pb2.PrepareIssuerRequest(**how)
        return self.stub.PrepareIssuer(request, timeout=SECONDS).request

    def import_answers(self, *answers: bytes, force: bool = False) -> rotation_pb2.Imported:
        request = rotation_pb2.ImportAnswersRequest(answers=answers, force=force)
        return self.stub.ImportAnswers(request, timeout=SECONDS)

    def activate_root(self, key_id: str = "", *, force: bool = False) -> rotation_pb2.ActivatedRoot:
        request = rotation_pb2.ActivateRootRequest(key_id=key_id, force=force)
        return self.stub.ActivateRoot(request, timeout=SECONDS)

    def activate_issuer(self, key_id: str = "") -> rotation_pb2.IssuingCa:
        request = rotation_pb2.ActivateIssuerRequest(key_id=key_id)
        return self.stub.ActivateIssuer(request, timeout=SECONDS)

    def withdraw_root(self, key_id: str = "", *, force: bool = False) -> rotation_pb2.WithdrawnRoot:
        request = rotation_pb2.WithdrawRootRequest(key_id=key_id, force=force)
        return self.stub.WithdrawRoot(request, timeout=SECONDS)

    def distrust(self, key_id: str) -> rotation_pb2.Distrusted:
        request = rotation_pb2.DistrustRequest(key_id=key_id)
        return self.stub.Distrust(request, timeout=SECONDS)

    def renew_root_lists(self) -> bytes:
        request = rotation_pb2.RenewRootListsRequest()
        return self.stub.RenewRootLists(request, timeout=SECONDS).request

    def acknowledge_restored_log(self) -> bytes:
        request = rotation_pb2.AcknowledgeRestoredLogRequest()
        return self.stub.AcknowledgeRestoredLog(request, timeout=SECONDS).request

    def get_request(self) -> bytes:
        request = rotation_pb2.GetRootRequestRequest()
        return self.stub.GetRootRequest(request, timeout=SECONDS).request

    def status(self, **page: Any) -> rotation_pb2.RotationStatus:
        request = rotation_pb2.GetRotationStatusRequest(**page)
        return self.stub.GetRotationStatus(request, timeout=SECONDS)

    def _options(self) -> tuple[str | Path, ...]:
        return "--ca", self.ca.address, "--credential", self.folder


@contextmanager
def admin(ca: Served, folder: Path, name: str = "ops") -> Iterator[Admin]:
    """Connect as a workload whose credential an operator made."""
    ca.authority.issue(name).save(folder / name)
    with connected(ca, folder / name) as asked:
        yield asked


@contextmanager
def following_admin(ca: Served, folder: Path) -> Iterator[Admin]:
    """Connect as an admin whose identity follows the CA, as every other workload's does."""
    token = EnrollmentToken.parse(ca.token("ops"))
    with CaIdentity(folder / "ops", token=token) as identity, connected(ca, folder / "ops") as it:
        begun = system_clock()
        assert eventually(lambda: identity.last_heard > begun)
        yield it


@contextmanager
def connected(ca: Served, folder: Path) -> Iterator[Admin]:
    with pki.Workload.from_directory(folder) as me:
        peer = SpiffeId.of_ca(me.spiffe_id.trust_domain)
        with me.sync_channel(ca.address, peer=peer) as channel:
            yield Admin(ca, folder, channel)


def details(call: Callable[[], Any]) -> str:
    """Return what the CA says of a step whose turn it is not."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    assert reason(caught.value) == "WRONG_STEP"
    found: Any = caught.value
    assert found.code() is grpc.StatusCode.FAILED_PRECONDITION
    return str(found.details())


def entries(ca: Served, action: str) -> list[AuditEntry]:
    """Return the entries of one kind in the audit log."""
    return [item for _, item in ca.authority.audit_entries() if item.action == action]
