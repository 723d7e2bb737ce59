"""The steps of rotations as messages: for the service, and for commands on the CA's folder.

Each takes a message and an open CA, and returns a message. So a command says the same of the CA in
the folder and of one over the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from cryptography.hazmat.primitives.serialization import Encoding

from pki._proto.handfast.ca.v1 import rotation_pb2 as messages
from pki.authority.ledger import IssuerKind, IssuerRecord, IssuerStatus
from pki.authority.lifetimes import DEFAULT_ISSUING
from pki.authority.rotation.issuing import Prepared
from pki.authority.rotation.operations import RotatingAuthority
from pki.authority.rotation.readiness import Holder, last_end
from pki.authority.rotation.requests import RootRequest
from pki.authority.rotation.status import Due, RotationStatus
from pki.authority.signers.new_key import KeyPlace
from pki.daemon.messages import read_duration, timestamp
from pki.errors import InputError, NotFoundError, quote_untrusted
from pki.keys import KeyType
from pki.x509.readers import MAX_CERTIFICATE_BYTES, decode_certificate

_MOST_NAMED = 10_000
_MOST_KEY_ID = 64
_MOST_LIFETIME = timedelta(days=36_500)


def get_status(
    authority: RotatingAuthority, *, after: int = 0, most: int | None = None
) -> messages.RotationStatus:
    """Return where rotations stand.

    Args:
        authority: the CA.
        after: the number in the ledger of the last holder's certificate on the page before.
        most: how many holders to return; None returns all.
    """
    status = authority.rotation_status()
    now = authority.now()
    rest = [item for item in status.holders if item.certificate.id > after]
    shown = rest if most is None else rest[:most]
    has_more = bool(shown) and len(shown) < len(rest)
    message = messages.RotationStatus(
        bundle_number=status.bundle_number,
        bundle_roots=status.bundle_roots,
        dues=[due_message(due, due.needed(now)) for due in status.dues],
        next_page_token=str(shown[-1].certificate.id) if has_more else "",
    )
    if status.pending is not None:
        message.pending.CopyFrom(pending_message(status.pending))
    for step in status.steps:
        added = message.steps.add(
            name=step.name, state=step.state.value, hindered=len(step.hindered_by)
        )
        if step.free_at is not None:
            added.free_at.CopyFrom(timestamp(step.free_at))
    message.holders.extend(_holder_messages(status, shown))
    return message


def get_request(authority: RotatingAuthority) -> messages.RootRequest:
    """Return the request that waits for the roots.

    Raises:
        NotFoundError: if there is none.
    """
    request = authority.pending_request()
    if request is None:
        raise NotFoundError(
            "no request waits to be signed where the roots are",
            remedy="See where the rotation stands: handfast ca rotate status",
        )
    return messages.RootRequest(request=request.encode())


def prepare_issuer(
    authority: RotatingAuthority,
    request: messages.PrepareIssuerRequest,
    place: KeyPlace | None = None,
) -> messages.Prepared:
    """Make the next issuing CA, or a request for it."""
    key_type = _key_type(request.key_type)
    lifetime = read_duration(request.lifetime, DEFAULT_ISSUING, "lifetime", most=_MOST_LIFETIME)
    if request.at_once:
        record = authority.prepare_issuer(key_type=key_type, lifetime=lifetime, place=place)
        return _prepared(authority, Prepared(record, None))
    prepared = authority.request_issuer(key_type=key_type, lifetime=lifetime, place=place)
    return _prepared(authority, prepared)


def activate_issuer(
    authority: RotatingAuthority, request: messages.ActivateIssuerRequest
) -> messages.IssuingCa:
    """Sign leaves with the prepared issuing CA."""
    record = authority.activate_issuer(_key_id(request.key_id) or None)
    return _issuing_ca(authority, record)


def distrust(
    authority: RotatingAuthority, request: messages.DistrustRequest
) -> messages.Distrusted:
    """Revoke an issuing CA."""
    before = _active(authority)
    record = authority.distrust(_key_id(request.key_id))
    active = _active(authority)
    return messages.Distrusted(
        issuing_ca=_issuing_ca(authority, record),
        activated=active if active != before else "",
        needs_rotation=not active,
    )


def prepare_root(
    authority: RotatingAuthority,
    request: messages.PrepareRootRequest,
    here: timedelta | None = None,
) -> messages.Prepared:
    """Put a new root beside the present one, or make a request for that.

    Args:
        authority: the CA.
        request: the message.
        here: make the root on this machine, with this lifetime; the message holds none then.

    Raises:
        InputError: if the message holds no root.
    """
    key_type = _key_type(request.key_type)
    lifetime = read_duration(
        request.issuing_lifetime, DEFAULT_ISSUING, "issuing_lifetime", most=_MOST_LIFETIME
    )
    if here is not None:
        prepared = authority.prepare_root(
            key_type=key_type, root_lifetime=here, issuing_lifetime=lifetime
        )
        return _prepared(authority, prepared)
    if not 0 < len(request.root) <= MAX_CERTIFICATE_BYTES:
        raise InputError(
            f"the new root's certificate must have 1 to {MAX_CERTIFICATE_BYTES} bytes of DER, not "
            f"{len(request.root)}",
            remedy="Make a root where roots are kept: handfast ca root new",
        )
    certificate = decode_certificate(request.root, what="new root")
    if certificate.public_bytes(Encoding.DER) != request.root:
        raise InputError("the new root's certificate is not in DER, its one encoding")
    return _prepared(
        authority,
        authority.prepare_root(certificate, key_type=key_type, issuing_lifetime=lifetime),
    )


def import_answers(
    authority: RotatingAuthority, request: messages.ImportAnswersRequest
) -> messages.Imported:
    """Record what the roots signed."""
    answered, stranded = authority.import_answers(list(request.answers), force=request.force)
    return messages.Imported(
        purpose=answered.purpose.value,
        digest=answered.digest,
        made_at=timestamp(answered.made_at),
        bundle_number=authority.bundle_number(),
        stranded=_names(stranded),
    )


def activate_root(
    authority: RotatingAuthority, request: messages.ActivateRootRequest
) -> messages.ActivatedRoot:
    """Issue leaves under the prepared root."""
    record, stranded = authority.activate_root(_key_id(request.key_id) or None, force=request.force)
    message = messages.ActivatedRoot(
        root=record.key_id, status=record.status.value, stranded=_names(stranded)
    )
    free = authority.rotation_status().steps[3].free_at
    if free is not None:
        message.withdraw_free_at.CopyFrom(timestamp(free))
    return message


def withdraw_root(
    authority: RotatingAuthority, request: messages.WithdrawRootRequest
) -> messages.WithdrawnRoot:
    """Take a root out of the trust bundle, or make a request for that."""
    made, holders = authority.withdraw_root(_key_id(request.key_id) or None, force=request.force)
    message = messages.WithdrawnRoot(
        request=made.encode() if made is not None else b"",
        bundle_number=authority.bundle_number(),
        holders=_names(holders),
        number_of_holders=len(holders),
    )
    free = last_end(holders)
    if free is not None:
        message.free_at.CopyFrom(timestamp(free))
    return message


def renew_root_lists(authority: RotatingAuthority) -> messages.RenewedRootLists:
    """Have the roots sign their lists anew."""
    request = authority.renew_root_crls()
    return messages.RenewedRootLists(request=request.encode() if request is not None else b"")


def acknowledge_restored_log(authority: RotatingAuthority) -> messages.AcknowledgedLog:
    """Have the roots acknowledge that the audit log was restored."""
    request = authority.acknowledge_restored_log()
    return messages.AcknowledgedLog(
        request=request.encode() if request is not None else b"",
        bundle_number=authority.bundle_number(),
    )


def due_message(due: Due, due_now: str) -> messages.SuccessorDue:
    """Return when a successor is due."""
    return messages.SuccessorDue(
        kind=due.issuer.kind.value,
        key_id=due.issuer.key_id,
        prepare_from=timestamp(due.prepare),
        activate_by=timestamp(due.activate),
        prepared=due.prepared.key_id if due.prepared is not None else "",
        due_now=due_now,
    )


def pending_message(request: RootRequest) -> messages.PendingRequest:
    """Return what is said of a request that waits."""
    issuing = request.issuing
    return messages.PendingRequest(
        purpose=request.purpose.value,
        digest=request.digest,
        made_at=timestamp(request.made_at),
        issuing_ca=issuing.key_id() if issuing is not None else "",
        serial=f"{issuing.serial:x}" if issuing is not None and issuing.serial else "",
    )


def _holder_messages(status: RotationStatus, holders: Sequence[Holder]) -> list[messages.Holder]:
    hindered = {
        step.name: {item.certificate.id for item in step.hindered_by} for step in status.steps
    }
    found = []
    for holder in holders:
        certificate = holder.certificate
        message = messages.Holder(
            spiffe_id=certificate.spiffe_id,
            serial=certificate.serial,
            not_after=timestamp(certificate.not_after),
            issuing_ca=holder.issuer.key_id,
            issuing_ca_status=holder.issuer.status.value,
            root=holder.root.key_id,
            bundle_number=holder.bundle_number,
            hinders=[name for name, ids in hindered.items() if certificate.id in ids],
        )
        if holder.reported_at is not None:
            message.reported_at.CopyFrom(timestamp(holder.reported_at))
        found.append(message)
    return found


def _prepared(authority: RotatingAuthority, prepared: Prepared) -> messages.Prepared:
    number = authority.bundle_number()
    if prepared.request is not None:
        return messages.Prepared(request=prepared.request.encode(), bundle_number=number)
    assert prepared.issuer is not None
    return messages.Prepared(
        issuing_ca=_issuing_ca(authority, prepared.issuer), bundle_number=number
    )


def _issuing_ca(authority: RotatingAuthority, record: IssuerRecord) -> messages.IssuingCa:
    return messages.IssuingCa(
        key_id=record.key_id,
        status=record.status.value,
        not_after=timestamp(record.certificate.not_valid_after_utc),
        key_place=authority.key_place(record),
    )


def _active(authority: RotatingAuthority) -> str:
    """Return the key id of the active issuing CA; empty if there is none."""
    for item in authority.issuers():
        if item.kind is IssuerKind.ISSUING and item.status is IssuerStatus.ACTIVE:
            return item.key_id
    return ""


def _names(holders: Sequence[Holder]) -> list[str]:
    return [str(holder) for holder in holders[:_MOST_NAMED]]


def _key_type(text: str) -> KeyType:
    try:
        return KeyType(text or KeyType.ECDSA_P256)
    except ValueError:
        raise InputError(
            f"there is no kind of key {quote_untrusted(text)}",
            remedy=f"Use one of {', '.join(KeyType)}",
        ) from None


def _key_id(text: str) -> str:
    if len(text) > _MOST_KEY_ID:
        raise InputError("a key id has 16 hexadecimal digits")
    return text
