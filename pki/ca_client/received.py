"""What the CA hands out, checked before it is used: the CA is trusted, the bytes are not."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from google.protobuf.timestamp_pb2 import Timestamp

from pki._proto.handfast.ca.v1 import certificate_pb2
from pki.background import defer
from pki.ca_client.bundles import Anchor
from pki.errors import CertificateError, PkiError, VerificationError
from pki.identity import SpiffeId
from pki.keys import PrivateKey
from pki.tls.target import Target
from pki.x509 import (
    WORKLOAD,
    ChainVerifier,
    Credential,
    Crl,
    CrlSet,
    Purpose,
    RevocationMode,
    TrustBundle,
    read_names,
)
from pki.x509.decoding import UNREADABLE
from pki.x509.readers import MAX_CHAIN_LENGTH

log = logging.getLogger("handfast.ca_client")

_MOST_ROOTS = 64


@dataclass(frozen=True, slots=True)
class Received:
    """A certificate from the CA, whose chain, key and name were checked.

    Args:
        credential: with the lists that came with it.
        spiffe_id: the workload.
        renew_begin: when to renew it: not before this time.
        renew_end: and until this one.
        recovery_id: names the line for a recovery; empty if it can't recover.
        recoveries_left: how many recoveries are left in the present period.
        authority_address: where workloads with a certificate reach the CA.
        enrollment_address: where those without reach it.
        notes: what differs from what was asked for.
        anchor: the roots of the credential, and the signed bundle that they come from.
    """

    credential: Credential
    spiffe_id: SpiffeId
    renew_begin: datetime
    renew_end: datetime
    recovery_id: str
    recoveries_left: int
    authority_address: str
    enrollment_address: str
    notes: tuple[str, ...]
    anchor: Anchor

    def log_notes(self) -> None:
        """Log what differs from what was asked for."""
        for note in self.notes:
            defer(log.warning, "%s", note)


class EndedCertificateError(PkiError):
    """The CA handed out a certificate again that has ended meanwhile."""


def read_certificate(
    message: certificate_pb2.IssuedCertificate,
    key: PrivateKey,
    anchor: Anchor,
    *,
    expected: SpiffeId | None,
    now: datetime,
) -> Received:
    """Read a certificate that the CA handed out for our key.

    Args:
        message: from the CA.
        key: ours.
        anchor: what we trust.
        expected: who we are; None if only the CA knows.
        now: the time.

    Raises:
        CertificateError: if it is malformed, not for our key, or not for us, or peers would refuse
            it.
        EndedCertificateError: if it was issued before, and has ended meanwhile.
    """
    if not 1 <= len(message.chain) <= MAX_CHAIN_LENGTH:
        raise CertificateError(f"the CA sent a chain of {len(message.chain)} certificates")
    chain, bundle = tuple(_certificate(der) for der in message.chain), anchor.trust()
    credential = Credential(key, chain, bundle, read_crls(message.crls))
    if chain[0].not_valid_after_utc < now:
        raise EndedCertificateError("the certificate has ended meanwhile")
    verifier = ChainVerifier(bundle, mode=RevocationMode.WHEN_PRESENT)
    for purpose in Purpose:
        try:
            verifier.verify(chain, profile=WORKLOAD, purpose=purpose, at=now, expected=expected)
        except VerificationError as error:
            raise CertificateError(
                f"the CA sent a certificate that peers would refuse: {error.message}",
                remedy=error.remedy,
            ) from error
    spiffe_id = read_names(chain[0]).spiffe_id
    assert spiffe_id is not None  # the profile demands it
    for address in (message.authority_address, message.enrollment_address):
        Target.parse(address)
    return Received(
        credential,
        spiffe_id,
        read_moment(message.renewal.begin),
        read_moment(message.renewal.end),
        message.recovery_id,
        message.recoveries_left,
        message.authority_address,
        message.enrollment_address,
        tuple(message.notes),
        anchor,
    )


def read_roots(
    message: certificate_pb2.IssuedCertificate,
) -> tuple[x509.Certificate, ...]:
    """Read the roots that came with the first certificate of a line.

    Raises:
        CertificateError: if one of them is no root.
    """
    if not 1 <= len(message.roots) <= _MOST_ROOTS:
        raise CertificateError(f"the CA sent {len(message.roots)} roots")
    return TrustBundle.of_roots(_certificate(der) for der in message.roots).all_roots()


def read_crls(ders: Iterable[bytes]) -> CrlSet | None:
    """Read revocation lists; None if there are none.

    Raises:
        CertificateError: if one of them is malformed.
    """
    crls = [read_crl(der) for der in ders]
    return CrlSet.of(crls) if crls else None


def read_crl(der: bytes) -> Crl:
    """Read a revocation list.

    Raises:
        CertificateError: if it is malformed.
    """
    try:
        return Crl.of(x509.load_der_x509_crl(der))
    except UNREADABLE:
        raise CertificateError("the CA sent a revocation list that can't be decoded") from None


def _certificate(der: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(der)
    except UNREADABLE:
        raise CertificateError("the CA sent a certificate that can't be decoded") from None


def read_moment(message: Timestamp) -> datetime:
    """Read a time.

    Raises:
        CertificateError: if there is no such time.
    """
    try:
        return message.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise CertificateError("the CA sent a time that can't be read") from None
