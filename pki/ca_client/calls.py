"""The calls to the CA: each builds a request for a key, proves who asks, and reads the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from pki._proto.handfast.ca.v1 import (
    authority_pb2,
    authority_pb2_grpc,
    enrollment_pb2,
    enrollment_pb2_grpc,
)
from pki.ca_client.contact import stranger_channel, verify_ca
from pki.ca_client.received import Received, read_certificate, read_roots
from pki.error_info import read_reason, read_retry_after
from pki.errors import CaRefusedError, CaUnreachableError, CertificateError
from pki.identity import SpiffeId
from pki.keys import PrivateKey
from pki.proofs import (
    EnrollmentToken,
    Purpose,
    RecoveryId,
    RecoveryStatement,
    bind_request,
    encode_recovery_key,
    sign_recovery,
)
from pki.x509 import Credential, TrustBundle

_SECONDS = 15.0
_LATER = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.ABORTED,
    }
)
_Answer = TypeVar("_Answer")


class BusyCaError(CaUnreachableError):
    """The CA can't answer now.

    Args:
        message: why.
        retry_after: seconds until it wants to be asked again; None if it did not say.
    """

    def __init__(self, message: str, retry_after: float | None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of a request: they are on disk before it is sent.

    Args:
        leaf: for the certificate.
        recovery: for the next recovery; None for no recovery.
    """

    leaf: PrivateKey
    recovery: PrivateKey | None


def enroll(token: EnrollmentToken, keys: Keys, *, now: datetime) -> Received:
    """Obtain the first certificate of a line.

    Raises:
        CaUnreachableError: if the CA can't be reached or can't answer now.
        CaRefusedError: if somebody else is there, or the CA refuses.
        CertificateError: if what it sent is not right.
    """
    domain = token.trust_domain
    root = verify_ca(token.address, domain, now=now, fingerprint=token.root)
    request = signing_request(keys.leaf)
    binding = bind_request(
        keys.leaf, Purpose.ENROLL, domain, proof=token.credential.id, request=request
    )
    message = enrollment_pb2.EnrollRequest(
        token=token.credential.encode(),
        request=request,
        binding=binding,
        recovery_key=_public(keys.recovery),
    )
    with stranger_channel(token.address, domain, root) as channel:
        stub = enrollment_pb2_grpc.EnrollmentStub(channel)
        answer = call(lambda: stub.Enroll(message, timeout=_SECONDS)).certificate
    bundle = read_roots(answer)
    if root not in bundle.roots_of(domain):
        raise CertificateError("the CA sent roots without the one that the token names")
    return read_certificate(answer, keys.leaf, bundle, expected=None, now=now)


@dataclass(frozen=True, slots=True)
class JwtProof:
    """A JWT as a proof, and what a token would say besides.

    Args:
        address: where the CA takes enrollments, as gRPC names it.
        roots: the roots of its trust domain.
        spiffe_id: the workload to enroll.
        jwt: the JWT.
    """

    address: str
    roots: TrustBundle
    spiffe_id: SpiffeId
    jwt: str = field(repr=False)


def enroll_by_jwt(proof: JwtProof, keys: Keys, *, now: datetime) -> Received:
    """Obtain the first certificate of a line with a JWT; as :func:`enroll`."""
    domain = proof.spiffe_id.trust_domain
    root = verify_ca(proof.address, domain, now=now, roots=proof.roots.roots_of(domain))
    request = signing_request(keys.leaf)
    message = enrollment_pb2.EnrollRequest(
        jwt=proof.jwt,
        spiffe_id=str(proof.spiffe_id),
        request=request,
        binding=bind_request(
            keys.leaf, Purpose.ENROLL, domain, proof=proof.jwt.encode(), request=request
        ),
        recovery_key=_public(keys.recovery),
    )
    with stranger_channel(proof.address, domain, root) as channel:
        stub = enrollment_pb2_grpc.EnrollmentStub(channel)
        answer = call(lambda: stub.Enroll(message, timeout=_SECONDS)).certificate
    return read_certificate(answer, keys.leaf, proof.roots, expected=proof.spiffe_id, now=now)


def renew(
    stub: authority_pb2_grpc.AuthorityStub,
    present: Credential,
    key: PrivateKey,
    spiffe_id: SpiffeId,
    *,
    now: datetime,
) -> Received:
    """Renew the certificate of a connection to the CA.

    Args:
        stub: on a channel with the present certificate.
        present: the credential.
        key: the new key.
        spiffe_id: who we are.
        now: the time.

    Raises:
        CaUnreachableError: if the CA can't be reached or can't answer now.
        CaRefusedError: if the CA refuses.
        CertificateError: if what it sent is not right.
    """
    request = signing_request(key)
    proof = present.leaf.public_bytes(serialization.Encoding.DER)
    binding = bind_request(key, Purpose.RENEW, spiffe_id.trust_domain, proof=proof, request=request)
    message = authority_pb2.RenewRequest(request=request, binding=binding)
    answer = call(lambda: stub.Renew(message, timeout=_SECONDS)).certificate
    return read_certificate(answer, key, present.bundle, expected=spiffe_id, now=now)


@dataclass(frozen=True, slots=True)
class Line:
    """The line of certificates that is recovered.

    Args:
        recovery_id: as the CA gave it.
        recovery_key: the present one.
        bundle: the roots that we trust.
        spiffe_id: who we are.
    """

    recovery_id: RecoveryId
    recovery_key: PrivateKey
    bundle: TrustBundle
    spiffe_id: SpiffeId


def recover(address: str, line: Line, keys: Keys, *, now: datetime) -> Received:
    """Obtain a certificate for a line whose last one has ended.

    Args:
        address: where the CA takes recoveries.
        line: what is recovered.
        keys: the new keys.
        now: the time.

    Raises:
        CaUnreachableError: if the CA can't be reached or can't answer now.
        CaRefusedError: if somebody else is there, or the CA refuses.
        CertificateError: if what it sent is not right.
        EndedCertificateError: if the same recovery was made before, and its certificate has ended.
    """
    domain = line.spiffe_id.trust_domain
    root = verify_ca(address, domain, now=now, roots=line.bundle.roots_of(domain))
    request = signing_request(keys.leaf)
    next_key = _public(keys.recovery)
    with stranger_channel(address, domain, root) as channel:
        stub = enrollment_pb2_grpc.EnrollmentStub(channel)
        ask = enrollment_pb2.GetNonceRequest(recovery_id=str(line.recovery_id))
        nonce = call(lambda: stub.GetNonce(ask, timeout=_SECONDS)).nonce
        made = RecoveryStatement(domain, line.recovery_id, nonce, request, next_key)
        message = enrollment_pb2.RecoverRequest(
            recovery_id=str(line.recovery_id),
            nonce=nonce,
            request=request,
            binding=bind_request(keys.leaf, Purpose.RECOVER, domain, proof=nonce, request=request),
            proof=sign_recovery(line.recovery_key, made),
            next_recovery_key=next_key,
        )
        answer = call(lambda: stub.Recover(message, timeout=_SECONDS)).certificate
    return read_certificate(answer, keys.leaf, line.bundle, expected=line.spiffe_id, now=now)


def signing_request(key: PrivateKey) -> bytes:
    """Return a signing request for a key, DER. It asks for no names: the CA knows them."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def call(ask: Callable[[], _Answer]) -> _Answer:
    """Make a call to the CA; turn gRPC's errors into ours.

    Raises:
        CaUnreachableError: if the CA can't be reached or can't answer now.
        CaRefusedError: if the CA refuses.
    """
    try:
        return ask()
    except grpc.RpcError as error:
        raise of_rpc_error(error) from error


def of_rpc_error(error: grpc.RpcError) -> CaUnreachableError | CaRefusedError:
    """Return our error for one of gRPC's."""
    details = getattr(error, "details", lambda: "")() or "the call failed"
    metadata = getattr(error, "trailing_metadata", lambda: ())() or ()
    code = getattr(error, "code", lambda: grpc.StatusCode.UNKNOWN)()
    if code in _LATER:
        return BusyCaError(f"the CA can't answer now: {details}", read_retry_after(metadata))
    return CaRefusedError(f"the CA refused: {details}", reason=read_reason(metadata) or "")


def _public(key: PrivateKey | None) -> bytes:
    return b"" if key is None else encode_recovery_key(key.public_key())
