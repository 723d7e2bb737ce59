"""The one place where the CA signs certificates. Every order passes admission here first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509

from pki.authority.admission import Admission
from pki.authority.ledger import IssuerRecord, Transaction
from pki.authority.ledger.records import NewCertificate
from pki.authority.orders import IssuerOrder, LeafOrder
from pki.errors import StateError
from pki.identity import TrustDomain
from pki.keys import PrivateKey, public_key_fingerprint
from pki.x509.profiles import IssuingProfile, RootProfile
from pki.x509.profiles.builder import Validity


@dataclass(frozen=True, slots=True)
class SigningCa:
    """A CA certificate of ours together with its key."""

    record: IssuerRecord
    key: PrivateKey


class Signing:
    """Signs what admission lets through.

    Args:
        admission: decides on the names.
        backdate: how far ``notBefore`` is set back, for clocks that differ.
    """

    def __init__(self, admission: Admission, backdate: timedelta) -> None:
        self._admission = admission
        self._backdate = backdate

    def sign_leaf(
        self, order: LeafOrder, by: SigningCa, transaction: Transaction, *, now: datetime
    ) -> x509.Certificate:
        """Admit, sign, check and record a leaf; it may be handed out once the transaction commits.

        Raises:
            NotPermittedError: if admission refuses.
            StateError: if the clock is outside the issuing CA's own time.
        """
        issuer = by.record.certificate
        validity = self.leaf_validity(order.lifetime, issuer, now=now)
        self._admission.admit_leaf(order, transaction, until=validity.not_after, now=now)
        certificate = order.profile.build(
            order.names(), order.public_key, issuer=issuer, issuer_key=by.key, validity=validity
        )
        transaction.add_certificate(
            NewCertificate(
                by.record.id,
                str(order.spiffe_id),
                order.profile.name,
                certificate,
                public_key_fingerprint(order.public_key),
                now,
                order.renewed_from,
            )
        )
        return certificate

    def leaf_validity(
        self, lifetime: timedelta, issuer: x509.Certificate, *, now: datetime
    ) -> Validity:
        """Return a leaf's times: never outside its issuer's own.

        Raises:
            StateError: if the clock stands outside them.
        """
        now = now.replace(microsecond=0)
        check_within(issuer, now, what="issuing CA")
        return Validity(
            max(now - self._backdate, issuer.not_valid_before_utc),
            min(now + lifetime, issuer.not_valid_after_utc),
        )

    def sign_issuer(
        self,
        order: IssuerOrder,
        by: SigningCa,
        transaction: Transaction,
        *,
        subject: x509.Name,
        now: datetime,
    ) -> x509.Certificate:
        """Admit and sign an issuing CA with the root's key."""
        self._admission.admit_issuer(order, transaction)
        root = by.record.certificate
        now = now.replace(microsecond=0)
        check_within(root, now, what="root")
        return IssuingProfile.build(
            order.limits,
            order.public_key,
            subject=subject,
            issuer=root,
            issuer_key=by.key,
            validity=Validity(
                max(now - self._backdate, root.not_valid_before_utc),
                min(order.not_after, root.not_valid_after_utc),
            ),
        )

    def sign_root(
        self, trust_domain: TrustDomain, key: PrivateKey, *, subject: x509.Name, validity: Validity
    ) -> x509.Certificate:
        """Sign a root with its own key."""
        return RootProfile.build(trust_domain, key, subject=subject, validity=validity)


def check_within(ca: x509.Certificate, now: datetime, *, what: str) -> None:
    """Check that the clock stands within a CA certificate's own time.

    Raises:
        StateError: if it does not.
    """
    if not ca.not_valid_before_utc <= now < ca.not_valid_after_utc:
        remedy = "rotate the issuing CA" if what == "issuing CA" else "make a new CA elsewhere"
        raise StateError(
            f"the clock says {now}, and the {what} counts from {ca.not_valid_before_utc} to "
            f"{ca.not_valid_after_utc}",
            remedy=f"Set the clock right, or {remedy}",
        )
