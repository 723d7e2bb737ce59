"""Between the messages of ``handfast.ca.v1`` and the values of the CA."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.serialization import Encoding
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from pki._proto.handfast.ca.v1 import authority_pb2, certificate_pb2, registrations_pb2
from pki.authority.enrollment import Obtained
from pki.authority.ledger import CertificateRecord, IssuerRecord
from pki.authority.lifetimes import DEFAULT_LEAF
from pki.authority.registrations import (
    DEFAULT_PROOFS,
    OidcRule,
    Proof,
    RecoveryRule,
    Registration,
    Revision,
)
from pki.errors import InputError, quote_untrusted
from pki.identity import DnsName, SpiffeId
from pki.x509 import WORKLOAD, IpAddress, LeafProfile
from pki.x509.profiles import LEAF_PROFILES

_MOST_CRL_BYTES = 2 * 1024 * 1024
_MOST = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the CA is reached, as gRPC names it.

    Args:
        authority: by workloads that have a certificate.
        enrollment: by those that have none.
    """

    authority: str
    enrollment: str


def timestamp(moment: datetime) -> Timestamp:
    """Return a time as a message."""
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def issued_certificate(
    obtained: Obtained,
    window: tuple[datetime, datetime],
    *,
    bundle_number: int,
    addresses: Addresses,
) -> certificate_pb2.IssuedCertificate:
    """Return a certificate as its workload receives it."""
    issued = obtained.issued
    crls = [crl.der for crl in issued.crls.crls.values()]
    return certificate_pb2.IssuedCertificate(
        chain=[item.public_bytes(Encoding.DER) for item in issued.chain],
        renewal=certificate_pb2.RenewalWindow(begin=timestamp(window[0]), end=timestamp(window[1])),
        bundle_number=bundle_number,
        roots=[root.public_bytes(Encoding.DER) for root in issued.bundle.all_roots()],
        crls=crls if sum(map(len, crls)) <= _MOST_CRL_BYTES else [],
        recovery_id=str(obtained.recovery_id) if obtained.recovery_id else "",
        recoveries_left=obtained.recoveries_left,
        notes=obtained.issued.notes,
        authority_address=addresses.authority,
        enrollment_address=addresses.enrollment,
    )


def certificate_summary(
    record: CertificateRecord, issuers: Iterable[IssuerRecord]
) -> authority_pb2.CertificateSummary:
    """Return what is said of a certificate in a list."""
    summary = authority_pb2.CertificateSummary(
        serial=record.serial,
        spiffe_id=record.spiffe_id,
        profile=record.profile,
        not_before=timestamp(record.not_before),
        not_after=timestamp(record.not_after),
        issued_at=timestamp(record.issued_at),
        issuer=next((item.key_id for item in issuers if item.id == record.issuer_id), ""),
    )
    if record.revoked_at is not None:
        summary.revoked_at.CopyFrom(timestamp(record.revoked_at))
        summary.reason = record.reason or ""
    return summary


def read_registration(message: registrations_pb2.Registration) -> Registration:
    """Read a registration.

    Raises:
        InputError: if a field is malformed; the message names it.
    """
    recovery = RecoveryRule()
    if message.HasField("recovery"):
        recovery = RecoveryRule(
            message.recovery.times,
            read_duration(message.recovery.within, recovery.within, "recovery.within"),
            read_duration(message.recovery.max_sleep, recovery.max_sleep, "recovery.max_sleep"),
        )
    oidc = None
    if message.HasField("oidc"):
        oidc = OidcRule(message.oidc.issuer, tuple(sorted(message.oidc.claims.items())))
    return Registration(
        SpiffeId.parse(message.spiffe_id),
        tuple(DnsName(name) for name in message.dns_names),
        tuple(_address(text) for text in message.ip_addresses),
        read_duration(message.lifetime, DEFAULT_LEAF, "lifetime"),
        _profile(message.profile),
        frozenset(_proof(text) for text in message.proofs) or DEFAULT_PROOFS,
        oidc,
        recovery,
    )


def registration_message(
    registration: Registration, revision: Revision
) -> registrations_pb2.Registration:
    """Return a registration as a message."""
    recovery = registration.recovery
    message = registrations_pb2.Registration(
        spiffe_id=str(registration.spiffe_id),
        dns_names=[name.name for name in registration.dns_names],
        ip_addresses=[str(address) for address in registration.ip_addresses],
        lifetime=duration_message(registration.lifetime),
        profile=registration.profile.name,
        proofs=sorted(proof.value for proof in registration.proofs),
        recovery=registrations_pb2.RecoveryRule(
            times=recovery.times,
            within=duration_message(recovery.within),
            max_sleep=duration_message(recovery.max_sleep),
        ),
        revision=revision.number,
        created_at=timestamp(revision.created_at),
        created_by=revision.created_by,
    )
    if registration.oidc is not None:
        message.oidc.issuer = registration.oidc.issuer
        message.oidc.claims.update(dict(registration.oidc.claims))
    return message


def page_number(token: str) -> int | None:
    """Return the number in the ledger after which a page begins; None for the first page.

    Raises:
        InputError: if it is no token of this CA's.
    """
    if not token:
        return None
    if not token.isascii() or not token.isdigit() or len(token) > 18:
        raise InputError("page_token is not one that this CA gave")
    return int(token)


def duration_message(value: timedelta) -> Duration:
    """Return a duration as a message."""
    message = Duration()
    message.FromTimedelta(value)
    return message


def read_duration(
    message: Duration, default: timedelta, name: str, *, most: timedelta = _MOST
) -> timedelta:
    """Return a duration; the default if it is zero, which is how an unset one reads.

    Raises:
        InputError: if it is no whole number of seconds, or longer than ``most``.
    """
    if not message.seconds and not message.nanos:
        return default
    if message.nanos or not 0 < message.seconds <= most.total_seconds():
        raise InputError(f"{name} must be a whole number of seconds, more than none")
    return timedelta(seconds=message.seconds)


def _address(text: str) -> IpAddress:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise InputError(f"{quote_untrusted(text)} is no IP address") from None


def _profile(name: str) -> LeafProfile:
    if not name:
        return WORKLOAD
    if name not in LEAF_PROFILES:
        raise InputError(
            f"there is no profile {quote_untrusted(name)}",
            remedy=f"Use one of {', '.join(LEAF_PROFILES)}",
        )
    return LEAF_PROFILES[name]


def _proof(text: str) -> Proof:
    try:
        return Proof(text)
    except ValueError:
        raise InputError(f"there is no proof {quote_untrusted(text)}") from None
