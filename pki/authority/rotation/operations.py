"""What a CA's operator does about rotation. Each takes effect as a whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

from cryptography import x509

from pki.authority.audit import recorded_refusals
from pki.authority.ledger import IssuerRecord
from pki.authority.ledger.audit import AuditAction
from pki.authority.ledger.audit.entry import shorten
from pki.authority.lifetimes import DEFAULT_ISSUING, DEFAULT_ROOT
from pki.authority.revoking import RevokingAuthority
from pki.authority.rotation import importing, issuing, reports, root_crls, roots
from pki.authority.rotation.answers import RootAnswer
from pki.authority.rotation.issuing import Prepared
from pki.authority.rotation.issuing_keys import ended_keys_removed
from pki.authority.rotation.pending import pending_request
from pki.authority.rotation.readiness import Holder
from pki.authority.rotation.requests import RootRequest
from pki.authority.rotation.root import key_id_of_root
from pki.authority.rotation.status import RotationStatus, rotation_status
from pki.authority.signers.new_key import KeyPlace
from pki.errors import InputError
from pki.identity import SpiffeId
from pki.keys import KeyType
from pki.x509.bundle_chain import SignedBundle


class RotatingAuthority(RevokingAuthority):
    """An open CA whose issuing CAs and roots can be replaced."""

    def prepare_issuer(
        self,
        *,
        key_type: KeyType = KeyType.ECDSA_P256,
        lifetime: timedelta = DEFAULT_ISSUING,
        place: KeyPlace | None = None,
    ) -> IssuerRecord:
        """Make the next issuing CA and publish its CRL; it signs no leaf yet.

        Args:
            key_type: of its key.
            lifetime: six days or more, and within what is left of the root.
            place: where its key shall live; None: where that of the newest issuing CA lives.

        Raises:
            StateError: if the root's key is not there, or a token can't be used.
            InputError: if the lifetime does not fit.
        """
        with self._asked("prepare"):
            prepared = issuing.prepare_issuer(
                self._context, key_type=key_type, lifetime=lifetime, place=place
            )
        self._publish_step()
        assert prepared.issuer is not None
        return prepared.issuer

    def request_issuer(
        self,
        *,
        key_type: KeyType = KeyType.ECDSA_P256,
        lifetime: timedelta = DEFAULT_ISSUING,
        place: KeyPlace | None = None,
    ) -> Prepared:
        """Prepare the next issuing CA; without the root's key, keep a request for it.

        The same again within an hour is the same request.

        Args:
            key_type: as :meth:`prepare_issuer`.
            lifetime: as :meth:`prepare_issuer`.
            place: as :meth:`prepare_issuer`.

        Raises:
            WrongStepError: if another one is prepared already.
            InputError: if the lifetime does not fit.
        """
        with self._asked("prepare"):
            prepared = issuing.prepare_issuer(
                self._context, key_type=key_type, lifetime=lifetime, place=place, may_wait=True
            )
        self._publish_step()
        return prepared

    def activate_issuer(self, key_id: str | None = None) -> IssuerRecord:
        """Make the prepared issuing CA the one that signs leaves.

        Args:
            key_id: its whole key id; None takes the one that is prepared. One that is active
                already stays so.

        Raises:
            WrongStepError: if none is prepared, or another one.
        """
        with self._asked("activate", issuing_ca=shorten(key_id or "")):
            record = issuing.activate_issuer(self._context, key_id)
        self._publish_step()
        return record

    def rotate(
        self,
        *,
        key_type: KeyType = KeyType.ECDSA_P256,
        lifetime: timedelta = DEFAULT_ISSUING,
        place: KeyPlace | None = None,
    ) -> IssuerRecord:
        """Make a new issuing CA and activate it at once.

        Args:
            key_type: as :meth:`prepare_issuer`.
            lifetime: as :meth:`prepare_issuer`.
            place: as :meth:`prepare_issuer`.

        Raises:
            StateError: if the root's key is not there.
        """
        self.prepare_issuer(key_type=key_type, lifetime=lifetime, place=place)
        return self.activate_issuer()

    def distrust(self, key_id: str) -> IssuerRecord:
        """Distrust an issuing CA with all certificates that it signed, and publish the root's CRL.

        If it was the active one, a prepared one takes its place at once.

        Args:
            key_id: the issuing CA's key id, or a prefix of it that fits no other.

        Raises:
            InputError: if the key id names none.
            WrongStepError: if the root's key is not there, and no CRL was signed ahead for this
                case.
            NotRecordedError: if the ledger can't record it now.
        """
        with ended_keys_removed(self._context):
            record, _ = issuing.distrust_issuer(self._context, key_id)
        self._publish_step()
        return record

    def prepare_root(
        self,
        certificate: x509.Certificate | None = None,
        *,
        key_type: KeyType = KeyType.ECDSA_P256,
        root_lifetime: timedelta = DEFAULT_ROOT,
        issuing_lifetime: timedelta = DEFAULT_ISSUING,
    ) -> Prepared:
        """Prepare a new root: a trust bundle with both roots, and an issuing CA under the new one.

        Args:
            certificate: the new root's; None makes the root in the CA's directory.
            key_type: of the issuing CA's key, and of a root's that is made here.
            root_lifetime: of a root that is made here.
            issuing_lifetime: of the issuing CA.

        Returns:
            The issuing CA, or the request that the roots must sign first.

        Raises:
            WrongStepError: if another root's rotation is under way.
            InputError: if the certificate can't take the active root's place.
        """
        plan = roots.RootPlan(key_type, root_lifetime, issuing_lifetime)
        name = key_id_of_root(certificate) if certificate is not None else ""
        with self._asked("prepare", root=name):
            prepared = roots.prepare_root(self._context, certificate, plan)
        self._publish_step()
        return prepared

    def activate_root(
        self, key_id: str | None = None, *, force: bool = False
    ) -> tuple[IssuerRecord, tuple[Holder, ...]]:
        """Issue leaves under the prepared root from now on.

        Args:
            key_id: its whole key id; None takes the one that is prepared. One that is active
                already stays so.
            force: do it even if that strands workloads.

        Returns:
            The active root, and the holders that this has stranded.

        Raises:
            WrongStepError: if no root is prepared, or another one, or a workload would be
                stranded.
        """
        with (
            self._asked("activate", root=shorten(key_id or "")),
            ended_keys_removed(self._context),
        ):
            result = roots.activate_root(self._context, key_id, force=force)
        self._publish_step()
        return result

    def withdraw_root(
        self, key_id: str | None = None, *, force: bool = False
    ) -> tuple[RootRequest | None, tuple[Holder, ...]]:
        """Take a root out of the trust bundle.

        Args:
            key_id: of the root, or a prefix; None takes the superseded one.
            force: do it even if that strands workloads.

        Returns:
            The request that a root must sign first, if there is one; and the holders that hang on
            the root now.

        Raises:
            InputError: if there is no such root.
            WrongStepError: if it is not the root's turn, or a workload would be stranded.
        """
        with (
            self._asked("withdraw", root=shorten(key_id or "")),
            ended_keys_removed(self._context),
        ):
            result = roots.withdraw_root(self._context, key_id, force=force)
        self._publish_step()
        return result

    def renew_root_crls(self, *, audit_key: bytes | None = None) -> RootRequest | None:
        """Have the trusted roots sign their CRLs anew; return the request if it must wait.

        Args:
            audit_key: a new key of the audit log (Ed25519), for a new trust bundle.
        """
        with self._asked("root-crls"), ended_keys_removed(self._context):
            request = root_crls.renew_root_crls(self._context, audit_key=audit_key)
        self._publish_step()
        return request

    def acknowledge_restored_log(self) -> RootRequest | None:
        """Acknowledge that the audit log was restored, about which followers alarm.

        Returns:
            The request, if a root's key is not here; None if it is acknowledged.

        Raises:
            WrongStepError: if there is nothing to acknowledge.
        """
        with self._asked("bundle"), ended_keys_removed(self._context):
            request = root_crls.acknowledge_restored_log(self._context)
        self._publish_step()
        return request

    def import_answers(
        self, answers: Sequence[bytes], *, force: bool = False
    ) -> tuple[RootRequest, tuple[Holder, ...]]:
        """Check what the roots signed of the pending request, record and publish it.

        Args:
            answers: what ``handfast ca root sign`` wrote, on one machine or on several.
            force: complete a withdrawal even if it strands workloads.

        Returns:
            The request that is answered, and the holders that this has stranded. What was
            imported before is imported once, and then has stranded nobody.

        Raises:
            InputError: if a part is not what was requested.
            WrongStepError: if no request is pending, the CA has changed since, a part is missing,
                or a workload would be stranded.
        """
        with self._asked("root-answer"):
            parsed = [RootAnswer.read(answer) for answer in answers]
            result = importing.import_answers(self._context, parsed, force=force)
        self._publish_step()
        return result

    def rotation_status(self) -> RotationStatus:
        """Return where rotations stand: steps, holders of certificates, and what is due."""
        return rotation_status(self._context)

    def pending_request(self) -> RootRequest | None:
        """Return the request that waits to be signed where the roots are; None if there is none."""
        with self._context.ledger.transaction() as transaction:
            return pending_request(self._context, transaction)

    def bundles(self, *, since: int = 0, most: int | None = None) -> tuple[SignedBundle, ...]:
        """Return the signed trust bundles with higher numbers, in order.

        Args:
            since: the number of the bundle that a follower trusts.
            most: how many to return at most.

        Raises:
            InputError: if the number is negative.
        """
        if since < 0:
            raise InputError(f"no trust bundle has the number {since}")
        with self._context.ledger.snapshot(newest=True) as transaction:
            records = transaction.rotation.bundles(since=since, most=most)
        return tuple(item.bundle for item in records)

    def bundle_number(self) -> int:
        """Return the number of the newest trust bundle; 0 before the first."""
        with self._context.ledger.snapshot(newest=True) as transaction:
            newest = transaction.rotation.newest_bundle()
        return newest.bundle.number if newest is not None else 0

    def report_trust(self, held: Iterable[tuple[SpiffeId, str]], bundle_number: int) -> int:
        """Record which trust bundle workloads hold; return for how many certificates that is new.

        Args:
            held: each workload, as its own certificate proves it, with the serial number (lower-
                case hex) of a certificate that it uses.
            bundle_number: of the newest bundle that they trust, with the CRLs of its roots.

        Raises:
            NotPermittedError: if a certificate is not one of its workload.
            InputError: if there is no bundle of that number.
        """
        return reports.report_trust(self._context, held, bundle_number)

    def _publish_step(self) -> None:
        """Bring what a step has changed to the CA's own files."""
        self._context.publish()

    def _asked(self, asked: str, **details: str) -> AbstractContextManager[None]:
        """Record a refusal of what the block does."""
        known: dict[str, Any] = {name: value for name, value in details.items() if value}
        entry = self._context.audit_entry(AuditAction.REFUSE, asked=asked, **known)
        return recorded_refusals(self._context.ledger, entry)
