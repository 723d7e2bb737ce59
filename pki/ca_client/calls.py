"""The calls to the CA: each builds a request for a key, proves who asks, and reads the answer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from pki._proto.handfast.ca.v1 import (
    authority_pb2,
    authority_pb2_grpc,
    enrollment_pb2,
    enrollment_pb2_grpc,
)
from pki.ca_client.bundles import Anchor, meet_ca, newest_bundle, newest_bundle_at
from pki.ca_client.contact import stranger_channel
from pki.ca_client.received import Received, read_certificate, read_roots
from pki.ca_client.rpc_errors import call, call_again
from pki.errors import CertificateError, PkiError
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
from pki.x509 import TrustBundle

_SECONDS, _ENROLL_SECONDS = 15.0, 30.0


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of a request: they are on disk before it is sent.

    Args:
        leaf: for the certificate.
        recovery: for the next recovery; None for no recovery.
    """

    leaf: PrivateKey
    recovery: PrivateKey | None


def enroll(
    token: EnrollmentToken, keys: Keys, *, now: datetime, anchor: Anchor | None = None
) -> Received:
    """Obtain the first certificate of a line.

    Args:
        token: the proof.
        keys: of the request.
        now: the time.
        anchor: what is trusted; None for the root that the token names.

    Raises:
        CaUnreachableError: if the CA can't be reached or can't answer now.
        CaRefusedError: if somebody else is there, or the CA refuses.
        CertificateError: if what it sent is not right.
    """
    if anchor is None or anchor.trust_domain != token.trust_domain:
        anchor = Anchor(token.trust_domain, fingerprint=token.root)
    request = signing_request(keys.leaf)
    binding = bind_request(
        keys.leaf, Purpose.ENROLL, token.trust_domain, proof=token.credential.id, request=request
    )
    message = enrollment_pb2.EnrollRequest(
        token=token.credential.encode(),
        request=request,
        binding=binding,
        recovery_key=_public(keys.recovery),
    )
    return _enroll(token.address, anchor, message, keys, expected=None, now=now)


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


def enroll_by_jwt(
    proof: JwtProof, keys: Keys, *, now: datetime, anchor: Anchor | None = None
) -> Received:
    """Obtain the first certificate of a line with a JWT; as :func:`enroll`."""
    domain = proof.spiffe_id.trust_domain
    if anchor is None or anchor.trust_domain != domain:
        anchor = Anchor(domain, roots=proof.roots.roots_of(domain))
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
    return _enroll(proof.address, anchor, message, keys, expected=proof.spiffe_id, now=now)


@dataclass(frozen=True, slots=True)
class Presented:
    """The certificate that is renewed, and what its workload trusts.

    Args:
        leaf: the certificate.
        spiffe_id: the workload.
        anchor: what it trusts.
        enrollment: where the CA hands out trust bundles.
    """

    leaf: x509.Certificate
    spiffe_id: SpiffeId
    anchor: Anchor
    enrollment: str


def renew(
    stub: authority_pb2_grpc.AuthorityStub,
    present: Presented,
    key: PrivateKey,
    *,
    now: datetime,
) -> Received:
    """Renew the certificate of a connection to the CA.

    Args:
        stub: on a channel with the present certificate.
        present: what is renewed.
        key: the new key.
        now: the time.

    Raises:
        CaUnreachableError: if the CA can't be reached or can't answer now.
        CaRefusedError: if the CA refuses.
        CertificateError: if what it sent is not right.
    """
    request = signing_request(key)
    proof = present.leaf.public_bytes(serialization.Encoding.DER)
    domain = present.spiffe_id.trust_domain
    binding = bind_request(key, Purpose.RENEW, domain, proof=proof, request=request)
    message = authority_pb2.RenewRequest(request=request, binding=binding)
    answer = call(lambda: stub.Renew(message, timeout=_SECONDS)).certificate
    anchor = present.anchor
    notes: tuple[str, ...] = ()
    if answer.bundle_number > anchor.number:
        try:
            anchor = newest_bundle_at(present.enrollment, anchor, now=now)
        except PkiError as error:
            # The stream brings it too. Whether the certificate can be used now is seen below.
            notes = (f"trust bundle {answer.bundle_number} could not be fetched: {error}",)
    received = read_certificate(answer, key, anchor, expected=present.spiffe_id, now=now)
    return replace(received, notes=(*received.notes, *notes))


@dataclass(frozen=True, slots=True)
class RecoveryProof:
    """The line of certificates that is recovered.

    Args:
        recovery_id: as the CA gave it.
        recovery_key: the present one.
        anchor: what we trust.
        spiffe_id: who we are.
    """

    recovery_id: RecoveryId
    recovery_key: PrivateKey
    anchor: Anchor
    spiffe_id: SpiffeId


def recover(address: str, line: RecoveryProof, keys: Keys, *, now: datetime) -> Received:
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
    root, anchor = meet_ca(address, line.anchor, now=now)
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
        if answer.bundle_number > anchor.number:
            anchor = newest_bundle(stub, anchor, now=now)
    return read_certificate(answer, keys.leaf, anchor, expected=line.spiffe_id, now=now)


def _enroll(
    address: str,
    anchor: Anchor,
    message: enrollment_pb2.EnrollRequest,
    keys: Keys,
    *,
    expected: SpiffeId | None,
    now: datetime,
) -> Received:
    root, anchor = meet_ca(address, anchor, now=now)
    with stranger_channel(address, anchor.trust_domain, root) as channel:
        stub = enrollment_pb2_grpc.EnrollmentStub(channel)
        # The same request is given the same certificate, and nobody else tries again.
        answer = call_again(
            lambda seconds: stub.Enroll(message, timeout=seconds),
            each=_SECONDS,
            seconds=_ENROLL_SECONDS,
        ).certificate
        if answer.bundle_number > anchor.number:
            anchor = newest_bundle(stub, anchor, now=now)
    if anchor.bundle is None:
        # A CA without signed bundles: what the verified CA says is all there is.
        anchor = replace(anchor, roots=anchor.roots or read_roots(answer), fingerprint=None)
    if root not in anchor.roots:
        raise CertificateError("the CA sent roots without the one that it proved itself by")
    return read_certificate(answer, keys.leaf, anchor, expected=expected, now=now)


def signing_request(key: PrivateKey) -> bytes:
    """Return a signing request for a key, DER. It asks for no names: the CA knows them."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def _public(key: PrivateKey | None) -> bytes:
    return b"" if key is None else encode_recovery_key(key.public_key())
