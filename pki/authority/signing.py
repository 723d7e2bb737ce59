"""Sign certificates: nothing else in the CA does. Every order passes admission here first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509

from pki.authority.admission import Admission
from pki.authority.ledger import IssuerRecord, Transaction
from pki.authority.ledger.records import NewCertificate
from pki.authority.lifetimes import check_issuing_lifetime, check_within_root
from pki.authority.orders import IssuerOrder, LeafOrder
from pki.errors import StateError
from pki.identity import TrustDomain
from pki.keys import PrivateKey, public_key_fingerprint
from pki.x509.profiles import IssuingProfile, RootProfile
from pki.x509.profiles.builder import Validity


@dataclass(frozen=True, slots=True)
class SigningCa:
    """A certificate of the CA with its key."""

    record: IssuerRecord
    key: PrivateKey


class Signing:
    """Signs the certificates that admission permits.

    Args:
        admission: the rules on names and keys.
        backdate: how long before its signing a certificate begins, because clocks differ.
    """

    def __init__(self, admission: Admission, backdate: timedelta) -> None:
        self.admission = admission
        self._backdate = backdate

    def sign_leaf(
        self, order: LeafOrder, by: SigningCa, transaction: Transaction, *, now: datetime
    ) -> x509.Certificate:
        """Admit, sign, check and record a leaf; hand it out only after the transaction commits.

        Raises:
            NotPermittedError: if admission refuses the order.
            StateError: if the clock is outside the issuing CA's validity.
        """
        issuer = by.record.certificate
        validity = self.leaf_validity(order.lifetime, issuer, now=now)
        self.admission.admit_leaf(order, transaction, until=validity.not_after, now=now)
        certificate = order.profile.build(
            order.names(), order.public_key, issuer=issuer, issuer_key=by.key, validity=validity
        )
        spiffe_id = str(order.spiffe_id)
        line_id = order.line_id or transaction.lines.start(
            spiffe_id, proof=order.proof.value, at=now
        )
        transaction.add_certificate(
            NewCertificate(
                by.record.id,
                spiffe_id,
                order.profile.name,
                certificate,
                public_key_fingerprint(order.public_key),
                now,
                line_id,
                order.renewed_from,
            )
        )
        return certificate

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


def sign_issuer(
    order: IssuerOrder, *, subject: x509.Name, root: x509.Certificate, root_key: PrivateKey
) -> x509.Certificate:
    """Sign an issuing CA with the root's key, wherever that is; the CA has admitted it before."""
    return IssuingProfile.build(
        order.limits,
        order.public_key,
        subject=subject,
        issuer=root,
        issuer_key=root_key,
        validity=order.validity,
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
