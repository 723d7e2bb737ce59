"""What the tests of rotations share: a CA on a clock that is moved, and roots kept elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509

from pki.authority import Authority, Issued
from pki.authority.rotation.answers import RootAnswer
from pki.authority.rotation.requests import RootRequest
from pki.authority.rotation.root import RootKeys, sign_request
from pki.errors import VerificationError
from pki.identity import SpiffeId
from pki.keys import PrivateKey
from pki.x509 import WORKLOAD, ChainVerifier, CrlSet, Purpose, TrustBundle
from tests.support import SHOP, Clock


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
