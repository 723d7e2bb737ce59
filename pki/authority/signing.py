"""Sign certificates: nothing else in the CA does. Every order passes admission here first.

With a key in this process, a leaf is admitted, signed and recorded in one transaction. What an
external signer signs can't be taken back, so there are three steps (ADR 17), which
:mod:`pki.authority.signing_steps` takes:

1. A first transaction admits the leaf, chooses its serial number, and records the intent to sign.
2. The signer signs, while no transaction is open.
3. A second transaction admits the leaf again, because much may have changed meanwhile, and records
   it in place of the intent. Only then is it handed out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509

from pki.authority.admission import Admission
from pki.authority.ledger import (
    IssuerRecord,
    SigningIntent,
    Transaction,
)
from pki.authority.ledger.hierarchy import is_usable
from pki.authority.ledger.records import NewCertificate
from pki.authority.lifetimes import check_issuing_lifetime, check_within_root
from pki.authority.orders import IssuerOrder, LeafOrder
from pki.authority.signers import ExternalSigner, Signer
from pki.authority.signers.planned import PlannedCertificate
from pki.errors import NotPermittedError, StateError
from pki.identity import TrustDomain
from pki.keys import PrivateKey, public_key_fingerprint
from pki.x509.decoding import public_key_of
from pki.x509.profiles import IssuingProfile, RootProfile
from pki.x509.profiles.builder import Validity


@dataclass(frozen=True, slots=True)
class SigningCa:
    """A certificate of the CA with its key."""

    record: IssuerRecord
    signer: Signer

    @classmethod
    def of(cls, record: IssuerRecord, signer: Signer, what: str) -> SigningCa:
        """Return a certificate of the CA with its key, which ``what`` names in errors.

        Raises:
            StateError: if the key is another one's.
        """
        expected = public_key_fingerprint(public_key_of(record.certificate))
        if public_key_fingerprint(signer.key.public_key()) != expected:
            raise StateError(f"{what} does not belong to its certificate")
        return cls(record, signer)

    @property
    def key(self) -> PrivateKey:
        """The key, for the builders of certificates and CRLs."""
        return self.signer.key

    @property
    def is_external(self) -> bool:
        """Whether the key signs outside this process."""
        return isinstance(self.signer, ExternalSigner)


@dataclass(frozen=True, slots=True)
class PlannedLeaf:
    """A leaf that is admitted, and about to be signed."""

    order: LeafOrder
    by: SigningCa
    validity: Validity
    certificate: PlannedCertificate

    def sign(self) -> SignedLeaf:
        """Sign the leaf."""
        return SignedLeaf(self, self.certificate.sign())


@dataclass(frozen=True, slots=True)
class SignedLeaf:
    """A leaf that is signed, and not recorded yet."""

    planned: PlannedLeaf
    leaf: x509.Certificate


class Signing:
    """Signs the certificates that admission permits.

    Args:
        admission: the rules on names and keys.
        backdate: how long before its signing a certificate begins, because clocks differ.
    """

    def __init__(self, admission: Admission, backdate: timedelta) -> None:
        self.admission = admission
        self._backdate = backdate
        self.before_signing: Callable[[], object] = lambda: None
        """Refuses to sign as long as a revocation is pending that may forbid it."""

    def plan_leaf(
        self, order: LeafOrder, by: SigningCa, transaction: Transaction, *, now: datetime
    ) -> PlannedLeaf:
        """Admit a leaf; for an external signer, choose its serial number and record the intent.

        Raises:
            NotPermittedError: if admission refuses the order.
            StateError: if the clock is outside the issuing CA's validity.
        """
        transaction.once(self.before_signing)
        validity = self.leaf_validity(order.lifetime, by.record.certificate, now=now)
        self.admission.admit_leaf(order, transaction, until=validity.not_after, now=now)
        planned = _plan(order, by, validity)
        if by.is_external:
            _record_intent(planned, transaction, now=now)
        return planned

    def record_leaf(
        self, signed: SignedLeaf, transaction: Transaction, *, now: datetime
    ) -> NewCertificate:
        """Record a signed leaf; hand it out only after the transaction commits.

        Raises:
            NotPermittedError: if an external signer signed it, and meanwhile it, its issuer or its
                key was revoked, or its names went to another workload.
        """
        planned, certificate = signed.planned, signed.leaf
        if planned.by.is_external:
            transaction.once(self.before_signing)
            until = planned.validity.not_after
            self.admission.admit_leaf(planned.order, transaction, until=until, now=now)
            _complete_intent(planned.by, certificate, transaction)
        order = planned.order
        line_id = order.line_id or transaction.lines.start(
            str(order.spiffe_id), proof=order.proof.value, at=now
        )
        new = _record(signed, line_id, now=now)
        transaction.add_certificate(new)
        return new

    def leaf_validity(
        self, lifetime: timedelta, issuer: x509.Certificate, *, now: datetime
    ) -> Validity:
        """Return a leaf's validity, which is always within its issuer's.

        Raises:
            StateError: if the clock is outside the issuer's validity.
        """
        now = now.replace(microsecond=0)
        check_validity(issuer, now, what="issuing CA")
        return Validity(
            max(now - self._backdate, issuer.not_valid_before_utc),
            min(now + lifetime, issuer.not_valid_after_utc),
        )

    def admit_issuer(
        self,
        order: IssuerOrder,
        transaction: Transaction,
        *,
        root: x509.Certificate,
        now: datetime,
    ) -> None:
        """Admit an issuing CA, before a root is asked to sign it and before it is recorded.

        Raises:
            NotPermittedError: if admission refuses the order.
            StateError: if the clock is outside the root's validity.
        """
        self.before_signing()
        self.admission.admit_issuer(order, transaction)
        check_validity(root, now, what="root")

    def issuer_validity(
        self, lifetime: timedelta, root: x509.Certificate, *, now: datetime
    ) -> Validity:
        """Return an issuing CA's validity, which is always within its root's.

        Raises:
            InputError: if the lifetime is too short for its leaves, or the root ends sooner.
            StateError: if the clock is outside the root's validity.
        """
        now = now.replace(microsecond=0)
        check_validity(root, now, what="root")
        check_issuing_lifetime(lifetime)
        check_within_root(lifetime, root.not_valid_after_utc, now=now)
        return Validity(max(now - self._backdate, root.not_valid_before_utc), now + lifetime)

    def sign_root(
        self, trust_domain: TrustDomain, key: PrivateKey, *, subject: x509.Name, validity: Validity
    ) -> x509.Certificate:
        """Sign a root certificate with its own key."""
        return RootProfile.build(trust_domain, key, subject=subject, validity=validity)


def _plan(order: LeafOrder, by: SigningCa, validity: Validity) -> PlannedLeaf:
    def build(key: PrivateKey, serial: int | None) -> x509.Certificate:
        return order.profile.build(
            order.names(),
            order.key.public_key,
            issuer=by.record.certificate,
            issuer_key=key,
            validity=validity,
            serial=serial,
        )

    return PlannedLeaf(order, by, validity, PlannedCertificate.plan(by.signer, build))


def _record(signed: SignedLeaf, line_id: str, *, now: datetime) -> NewCertificate:
    order = signed.planned.order
    return NewCertificate(
        signed.planned.by.record.id,
        str(order.spiffe_id),
        order.profile.name,
        signed.leaf,
        order.key.fingerprint,
        now,
        line_id,
        order.renewed_from,
    )


def _record_intent(planned: PlannedLeaf, transaction: Transaction, *, now: datetime) -> None:
    order, certificate, names = planned.order, planned.certificate, planned.order.names()
    assert certificate.unsigned is not None
    transaction.intents.add(
        SigningIntent(
            f"{certificate.unsigned.serial_number:x}",
            planned.by.record.id,
            str(order.spiffe_id),
            (
                *(name.name for name in names.dns_names),
                *(str(address) for address in names.ip_addresses),
                str(names.subject),
            ),
            order.profile.name,
            order.key.fingerprint,
            certificate.tbs_sha256,
            certificate.unsigned.not_valid_after_utc,
            now,
        )
    )


def _complete_intent(
    by: SigningCa, certificate: x509.Certificate, transaction: Transaction
) -> None:
    issuer = next(item for item in transaction.issuers() if item.id == by.record.id)
    if not is_usable(issuer):
        raise NotPermittedError(
            f"issuing CA {issuer.key_id} was {issuer.status.value} while it signed",
            remedy="Ask again",
        )
    if not transaction.intents.complete(certificate):
        raise NotPermittedError(
            f"certificate {certificate.serial_number:x} was revoked while it was signed",
            remedy="Make a new key, and ask for a certificate again",
        )


def sign_issuer(
    order: IssuerOrder,
    *,
    subject: x509.Name,
    root: x509.Certificate,
    root_key: PrivateKey,
    serial: int | None,
) -> x509.Certificate:
    """Sign an issuing CA with the root's key, wherever that is; the CA has admitted it before."""
    return IssuingProfile.build(
        order.limits,
        order.public_key,
        subject=subject,
        issuer=root,
        issuer_key=root_key,
        validity=order.validity,
        serial=serial,
    )


def check_validity(ca: x509.Certificate, now: datetime, *, what: str) -> None:
    """Check that the clock is within a CA certificate's validity.

    Args:
        ca: the certificate.
        now: the time.
        what: names the CA in the error: ``issuing CA`` or ``root``.

    Raises:
        StateError: if it is not.
    """
    if not ca.not_valid_before_utc <= now < ca.not_valid_after_utc:
        remedy = "rotate the issuing CA" if what == "issuing CA" else "make a new CA elsewhere"
        raise StateError(
            f"the clock says {now}, and the {what} is valid from {ca.not_valid_before_utc} to "
            f"{ca.not_valid_after_utc}",
            remedy=f"Set the clock right, or {remedy}",
        )
