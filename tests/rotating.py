"""What the tests of rotations share: a CA on a clock that is moved, and roots kept elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from cryptography import x509

from pki.authority import Authority, Issued
from pki.authority.rotation.answers import RootAnswer
from pki.authority.rotation.requests import RootRequest
from pki.authority.rotation.root import RootKeys, make_root, sign_request
from pki.errors import VerificationError
from pki.identity import SpiffeId
from pki.keys import PrivateKey, generate_key, read_private_key
from pki.x509 import WORKLOAD, ChainVerifier, CrlSet, Purpose, TrustBundle
from tests.support import NOW, SHOP, Clock, make_authority


def spiffe(path: str) -> SpiffeId:
    return SpiffeId.of_path(SHOP, path)


def serial(issued: Issued) -> str:
    return f"{issued.leaf.serial_number:x}"


def accepts(trust: tuple[TrustBundle, CrlSet], issued: Issued, ca: Authority) -> bool:
    try:
        ChainVerifier(*trust).verify(
            issued.chain, profile=WORKLOAD, purpose=Purpose.SERVER, at=ca.now()
        )
    except VerificationError:
        return False
    return True


def statuses(ca: Authority) -> list[tuple[str, str]]:
    return [(item.kind.value, item.status.value) for item in ca.issuers()]


@dataclass
class Offline:
    """A CA, and its roots' keys on another machine."""

    ca: Authority
    clock: Clock
    old_key: PrivateKey
    new_key: PrivateKey
    new: x509.Certificate

    def prepare_root(self) -> RootRequest:
        prepared = self.ca.prepare_root(self.new)
        assert prepared.issuer is None
        assert prepared.request is not None
        return prepared.request

    def prepare_issuer(self) -> RootRequest:
        prepared = self.ca.request_issuer()
        assert prepared.request is not None
        return prepared.request

    def sign(self, request: RootRequest, *keys: PrivateKey) -> RootAnswer:
        """Sign a request that has travelled as a file, and let the answer travel back."""
        read = RootRequest.read(request.encode() + b"\n")
        assert read == request
        held = RootKeys.of(*(keys or (self.old_key, self.new_key)))
        answer = sign_request(read, held, now=self.clock.at)
        assert RootAnswer.read(answer.encode() + b"\n").encode() == answer.encode()
        return answer

    def import_all(self, *answers: RootAnswer, force: bool = False) -> None:
        self.ca.import_answers([item.encode() for item in answers], force=force)


@contextmanager
def offline_ca(folder: Path) -> Iterator[Offline]:
    """Make a CA, and take its root's key away; a second root is there for it."""
    clock = Clock()
    with make_authority(folder, clock) as ca:
        path = folder / "ca" / "root.key.pem"
        old_key, new_key = read_private_key(path.read_bytes()), generate_key()
        path.unlink()
        new = make_root(
            SHOP,
            new_key,
            lifetime=timedelta(days=3650),
            issuing_lifetime=timedelta(days=365),
            backdate=timedelta(minutes=1),
            now=NOW,
        )
        yield Offline(ca, clock, old_key, new_key, new)
