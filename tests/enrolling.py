"""A workload that asks the CA for certificates, with real keys, requests and signatures."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from pki.authority.context import AuthorityContext
from pki.authority.enrollment import (
    Enrollment,
    NewToken,
    Nonces,
    Obtained,
    Recovery,
    VerifiedJwt,
    create_registration,
    create_token,
    enroll,
    issue_for_registrar,
    recover,
    renew_own,
)
from pki.authority.enrollment.renew import Admit
from pki.authority.registrations import Caller, Registration
from pki.errors import PkiError
from pki.identity import SpiffeId
from pki.keys import PrivateKey, generate_key
from pki.proofs import (
    Purpose,
    RecoveryId,
    RecoveryStatement,
    TokenCredential,
    bind_request,
    encode_recovery_key,
    sign_recovery,
)
from tests.support import SHOP, request_for

ADMIN = Caller("spiffe://shop.internal/ops", is_admin=True)
REGISTRAR = Caller("spiffe://shop.internal/ci", prefixes=frozenset({("prod",)}))


def workload_id(path: str) -> SpiffeId:
    return SpiffeId.of_path(SHOP, path)


def mac_key(context: AuthorityContext) -> bytes:
    with context.ledger.transaction() as transaction:
        return transaction.proofs.mac_key()


def obtain(
    context: AuthorityContext, caller: Caller, spiffe_id: SpiffeId, request: bytes
) -> Obtained:
    """Have a registrar obtain one certificate for the request of a workload."""
    [result] = issue_for_registrar(context, caller, [(str(spiffe_id), request)])
    if isinstance(result, PkiError):
        raise result
    return result


def register(
    context: AuthorityContext, path: str, caller: Caller = ADMIN, **settings: object
) -> Registration:
    registration = Registration(workload_id(path), **settings)  # type: ignore[arg-type]
    create_registration(context, caller, registration)
    return registration


def token_for(context: AuthorityContext, path: str, caller: Caller = ADMIN) -> NewToken:
    return create_token(context, caller, workload_id(path))


def request_of(key: PrivateKey, *names: x509.GeneralName) -> bytes:
    return request_for(key, names).public_bytes(serialization.Encoding.DER)


@dataclass
class Enrolling:
    """A workload with its keys. It sends the same requests again as long as they are the same."""

    context: AuthorityContext
    key: PrivateKey = field(default_factory=generate_key)
    recovery_key: PrivateKey | None = field(default_factory=generate_key)
    recovery_id: RecoveryId | None = None
    leaf: x509.Certificate | None = None
    names: tuple[x509.GeneralName, ...] = ()

    def enroll(
        self, proof: TokenCredential | VerifiedJwt, spiffe_id: SpiffeId | None = None
    ) -> Obtained:
        request = request_of(self.key, *self.names)
        bound_to = proof.id if isinstance(proof, TokenCredential) else proof.data
        binding = bind_request(self.key, Purpose.ENROLL, SHOP, proof=bound_to, request=request)
        public = b""
        if self.recovery_key is not None:
            public = encode_recovery_key(self.recovery_key.public_key())
        enrollment = Enrollment(proof, request, binding, public, spiffe_id)
        return self._took(enroll(self.context, enrollment, mac_key=mac_key(self.context)))

    def renew(self, next_key: PrivateKey | None = None, **admitted_by: Admit) -> Obtained:
        """Renew with a new key, which is in use afterwards."""
        assert self.leaf is not None
        key = next_key or generate_key()
        request = request_of(key, *self.names)
        presented = self.leaf.public_bytes(serialization.Encoding.DER)
        binding = bind_request(key, Purpose.RENEW, SHOP, proof=presented, request=request)
        result = renew_own(self.context, self.leaf, request, binding, **admitted_by)
        self.key = key
        return self._took(result)

    def recover(
        self,
        next_key: PrivateKey | None = None,
        next_recovery_key: PrivateKey | None = None,
        *,
        nonce: bytes | None = None,
        at: datetime | None = None,
    ) -> Obtained:
        """Recover with new keys, which are in use afterwards."""
        key, next_recovery = next_key or generate_key(), next_recovery_key or generate_key()
        assert self.recovery_id is not None
        assert self.recovery_key is not None
        secret = mac_key(self.context)
        nonce = nonce or Nonces(secret).make(self.recovery_id, now=at or self.context.now())
        request = request_of(key, *self.names)
        public = encode_recovery_key(next_recovery.public_key())
        made = RecoveryStatement(SHOP, self.recovery_id, nonce, request, public)
        recovery = Recovery(
            self.recovery_id,
            nonce,
            request,
            bind_request(key, Purpose.RECOVER, SHOP, proof=nonce, request=request),
            sign_recovery(self.recovery_key, made),
            public,
        )
        result = recover(self.context, recovery, mac_key=secret)
        self.key, self.recovery_key = key, next_recovery
        return self._took(result)

    def _took(self, result: Obtained) -> Obtained:
        self.leaf = result.issued.leaf
        self.recovery_id = result.recovery_id or self.recovery_id
        return result


def enrolled(context: AuthorityContext, path: str) -> Enrolling:
    """Return a workload that enrolled by token; register it if it is not."""
    with context.ledger.transaction() as transaction:
        is_registered = transaction.registrations.get(workload_id(path)) is not None
    if not is_registered:
        register(context, path)
    it = Enrolling(context)
    it.enroll(token_for(context, path).credential)
    return it
