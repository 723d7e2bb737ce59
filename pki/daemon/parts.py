"""What the handlers of the CA share: the CA itself, its budgets, its threads, what it tells."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta

from cryptography.hazmat.primitives import hashes

from pki._proto.handfast.ca.v1 import (
    authority_pb2,
    certificate_pb2,
    enrollment_pb2,
    trust_pb2,
)
from pki.access.peer import Peer
from pki.authority.audit import RefusalSums
from pki.authority.context import AuthorityContext
from pki.authority.enrollment import Obtained
from pki.authority.ledger import CertificateRecord, IssuerRecord
from pki.authority.ledger.commits.urgency import Urgency
from pki.authority.publishing.pending_lists import publish_pending
from pki.authority.publishing.recording import record_pending
from pki.authority.publishing.refreshing import refresh_crls, sign_missing
from pki.authority.registrations import Caller
from pki.authority.rotation.reports import new_reports, record_trust
from pki.background import defer
from pki.credentials.periodic import PeriodicTask
from pki.daemon.callers import caller_of
from pki.daemon.limits.budgets import Budget, Budgets
from pki.daemon.limits.one_each import OneEach
from pki.daemon.limits.renewal_queue import RenewalQueue
from pki.daemon.limits.renewal_slots import RenewalSlots
from pki.daemon.lists.announcing import announce_revoked
from pki.daemon.log_witnesses import LogWitnesses
from pki.daemon.messages import Addresses, certificate_summary, issued_certificate
from pki.daemon.oidc import JwtVerifier
from pki.daemon.request_counters import RequestCounters
from pki.daemon.trust_feed import TrustFeed
from pki.errors import (
    InputError,
    LedgerError,
    NotPermittedError,
    PkiError,
    quote_untrusted,
)
from pki.x509 import Credential

log = logging.getLogger("handfast.ca")

_PUBLISH_AGAIN_SECONDS = 30.0
_SIGN_SECONDS, _SUM_SECONDS, _REQUEST_SECONDS = 3600.0, 5.0, 5.0
_SHARING_THREADS = 16
"""As many requests share a commit: each waits for it in a thread."""
_BUNDLES = 16
_MOST_NUMBER = 2**63 - 1


def _waiting(context: AuthorityContext, urgency: Urgency) -> AuthorityContext:
    # Callers wait fifteen seconds: they are to hear that the ledger is held, not nothing.
    return replace(context, ledger=context.ledger.waiting(_REQUEST_SECONDS, urgency))


class CaParts:
    """The parts that the handlers share.

    Args:
        context: the CA.
        feed: what followers are told.
        addresses: where the CA is reached.
        own_credential: returns the CA's own credential.
        heartbeat: how often a follower hears something at least.
        jwts: verifies JWTs as proofs.
        workers: how many processes of this machine serve the CA.
    """

    def __init__(
        self,
        context: AuthorityContext,
        feed: TrustFeed,
        *,
        addresses: Addresses,
        own_credential: Callable[[], Credential],
        heartbeat: timedelta,
        jwts: JwtVerifier,
        workers: int = 1,
    ) -> None:
        self.jwts = jwts
        self.workers = workers
        self.context = _waiting(context, Urgency.REVOCATION)
        """For revocations, and for the CA's own upkeep."""
        self.for_renewals = _waiting(context, Urgency.RENEWAL)
        self.for_registrars = _waiting(context, Urgency.REGISTRAR)
        self.for_strangers = _waiting(context, Urgency.STRANGER)
        # The ledger is tried again and again, so no attempt waits for long.
        self._impatient = replace(context, ledger=context.ledger.waiting(context.revocation_wait))
        self.feed = feed
        self.addresses = addresses
        self.own_credential = own_credential
        self.heartbeat = heartbeat
        self.budgets = Budgets(workers=workers)
        self.counters = RequestCounters()
        self.slots = RenewalSlots()
        self.witnesses = LogWitnesses(context)
        self.is_stopping = False
        with context.ledger.transaction() as transaction:
            self.mac_key = transaction.proofs.mac_key()
        # Threads of their own, so that none of them takes another's.
        self.renewing = ThreadPoolExecutor(_SHARING_THREADS, "handfast-renew")
        self.renewals = RenewalQueue(_SHARING_THREADS, context.now)
        self.recovering = ThreadPoolExecutor(_SHARING_THREADS, "handfast-recover")
        self.revoking = ThreadPoolExecutor(2, "handfast-revoke")
        """For admins alone: no workload takes a thread of theirs."""
        self.distrusting = ThreadPoolExecutor(2, "handfast-distrust")
        self.revoking_own = OneEach(2, "handfast-revoke-own")
        self.operating = ThreadPoolExecutor(2, "handfast-operate")
        self.listening = ThreadPoolExecutor(2, "handfast-listen")
        """For what all workloads tell and ask regularly: no admin waits behind it."""
        self.issuing = ThreadPoolExecutor(_SHARING_THREADS, "handfast-issue")
        self.enrolling = ThreadPoolExecutor(_SHARING_THREADS, "handfast-enroll")
        self.attesting = ThreadPoolExecutor(2, "handfast-attest")
        self.refusals = RefusalSums(context.clock)
        """Counts what strangers are refused: the audit log gets one entry a minute and reason."""
        self.refused_workloads = RefusalSums(context.clock)
        """Counts what workloads without a role are refused; apart, so that none hides another."""
        self._signing = PeriodicTask(_SIGN_SECONDS, self._sign_lists, "handfast-sign-lists")
        self._summing = PeriodicTask(_SUM_SECONDS, self._record_refusals, "handfast-refusals")
        self._signing.start()
        self._summing.start()

    def close(self) -> None:
        """Stop the threads, after what they do now."""
        self.is_stopping = True
        self._signing.stop(5.0)
        self._summing.stop(5.0)
        self._record_refusals(at_end=True)
        self.witnesses.save()
        for executor in self._executors():
            executor.shutdown(wait=True, cancel_futures=True)
        self.revoking_own.shutdown()

    def _executors(self) -> tuple[ThreadPoolExecutor, ...]:
        return (
            self.renewing,
            self.recovering,
            self.revoking,
            self.distrusting,
            self.operating,
            self.listening,
            self.issuing,
            self.enrolling,
            self.attesting,
        )

    def issued(self, obtained: Obtained) -> certificate_pb2.IssuedCertificate:
        """Return a certificate as its workload receives it, with the time to renew it."""
        now = self.context.now()
        obtained = self._with_fresh_lists(obtained)
        if not obtained.is_repeated:
            self.counters.count_issued(now)
        issued_at = obtained.issued.leaf.not_valid_after_utc - obtained.lifetime
        window = self.slots.window(issued_at if obtained.is_repeated else now, obtained.lifetime)
        return issued_certificate(
            obtained, window, bundle_number=self.bundle_number(), addresses=self.addresses
        )

    def _with_fresh_lists(self, obtained: Obtained) -> Obtained:
        """Return what was obtained with lists that have not ended.

        With a list that has ended, a workload would accept nobody, the CA included. This process
        signs lists in time; but the machine may have slept until a moment ago.
        """
        now, issued = self.context.now(), obtained.issued
        if all(crl.next_update >= now for crl in issued.crls.crls.values()):
            return obtained
        try:
            refresh_crls(self.context, force=False)
            with self.context.ledger.snapshot() as transaction:
                _, crls = self.context.trust(transaction)
        except PkiError as error:
            # What was issued is in the ledger, and the workload fetches lists by itself.
            defer(log.error, "revocation lists have ended, and can't be signed: %s", error)
            return obtained
        return replace(obtained, issued=replace(issued, crls=crls))

    def summaries(
        self, records: Iterable[CertificateRecord]
    ) -> list[authority_pb2.CertificateSummary]:
        """Return what is said of certificates in a list."""
        issuers: tuple[IssuerRecord, ...] = ()
        try:
            # Without the lock: a revocation is answered whoever holds the ledger.
            with self.context.ledger.snapshot(newest=True) as transaction:
                issuers = transaction.issuers()
        except PkiError as error:
            # It is in force by now: better told without an issuer's name than as a failure.
            defer(log.error, "the ledger could not be read for an answer: %s", error)
        return [certificate_summary(record, issuers) for record in records]

    def tell_revoked(self) -> None:
        """Announce what was revoked just now, and have it listed. It is in force whatever fails.

        Raises:
            NotAnnouncedError: as :func:`announce_revoked`.
        """
        try:
            announce_revoked(self.context, self.feed, workers=self.workers)
        finally:
            self.sign_lists_soon()

    def sign_lists_soon(self) -> None:
        """Sign the lists that lack a revocation, in a thread of its own."""
        self._signing.wake()

    def take_operation(self, caller: Caller) -> None:
        """Take a place in the budget of a registrar or admin.

        Raises:
            BudgetExhaustedError: if there is none.
        """
        self.budgets.take(Budget.OPERATIONS, caller.name.encode())

    def admin_caller(self, peer: Peer) -> Caller:
        """Return a peer as a caller of an operation that workloads may call for themselves."""
        return caller_of(peer)

    def root_fingerprint(self) -> bytes:
        """Return the SHA-256 of the root that the CA's own certificate chains to."""
        own = self.own_credential()
        name = own.chain[-1].issuer
        root = next(item for item in own.bundle.all_roots() if item.subject == name)
        return root.fingerprint(hashes.SHA256())

    def own_leaf_not_after(self) -> datetime:
        """Return the end of the CA's own certificate."""
        return self.own_credential().leaf.not_valid_after_utc

    def bundle_number(self) -> int:
        """Return the number of the newest trust bundle; 0 before the first."""
        return self.feed.state.bundle_number

    def bundles_since(self, number: int) -> enrollment_pb2.GetBundleResponse:
        """Return the signed trust bundles after a number: a page of them."""
        if number > _MOST_NUMBER:
            raise InputError(f"no trust bundle has the number {number}")
        # For reading alone: strangers ask, and take no turn of those who change something.
        with self.context.ledger.snapshot(newest=True) as transaction:
            found = transaction.rotation.bundles(since=number, most=_BUNDLES + 1)
        return enrollment_pb2.GetBundleResponse(
            bundles=[item.bundle.encode() for item in found[:_BUNDLES]],
            more=len(found) > _BUNDLES,
        )

    def report_trust(self, caller: Peer, report: trust_pb2.ReportTrustRequest) -> None:
        """Record what a workload trusts and uses. It counts for itself alone.

        Raises:
            NotPermittedError: if it names a certificate of another line, e.g. another instance's.
            InputError: if there is no bundle of that number.
        """
        if not report.bundle_number:
            # It follows no signed bundles, and trusts the roots that came with its certificate.
            return
        with self.context.ledger.snapshot() as transaction:
            own = transaction.certificate_by_serial(f"{caller.serial:x}")
            named = transaction.certificate_by_serial(report.serial)
            if own is None or named is None or own.line_id != named.line_id:
                raise NotPermittedError(
                    f"{quote_untrusted(report.serial)} is no certificate of this caller's line"
                )
            held = [(caller.spiffe_id, report.serial)]
            if not new_reports(transaction, held, report.bundle_number):
                return
        record_trust(self.for_registrars, held, report.bundle_number)

    def _record_refusals(self, *, at_end: bool = False) -> None:
        for sums in (self.refusals, self.refused_workloads):
            entries = sums.take_due(at_end=at_end)
            if not entries:
                continue
            try:
                with self.context.ledger.transaction() as transaction:
                    for entry in entries:
                        transaction.audit.append(entry)
            except PkiError as error:
                sums.put_back(entries)
                defer(log.error, "refusals could not be recorded: %s", error)

    def _sign_lists(self) -> float | None:
        is_recorded, is_writable = self._record_pending()
        if not is_writable:
            self.counters.lists_failed = self.context.now()
            self.feed.refresh()
            return None
        # Also if what is pending can't be read: what the ledger holds is listed all the same.
        try:
            sign_missing(self.context)
            self.counters.lists_signed = self.context.now()
        except PkiError as error:
            self.counters.lists_failed = self.context.now()
            defer(log.error, "revocation lists could not be signed: %s", error)
        self.feed.refresh()
        try:
            if is_recorded:
                self.context.publish()
            else:
                # The file beside the ledger can't be read whole: what is known is published.
                publish_pending(self.context)
        except PkiError as error:
            defer(log.error, "lists could not be published: %s", error)
            # What is recorded wakes this no more: else the folder would lack it for an hour.
            return _PUBLISH_AGAIN_SECONDS
        return None

    def _record_pending(self) -> tuple[bool, bool]:
        """Record what is pending; if that can't be done yet, sign and publish lists with it.

        Returns:
            Whether nothing is pending any more, and whether the ledger can be written, or nothing
            that is known waits for it.
        """
        is_held = False
        try:
            record_pending(self._impatient)
        except PkiError as error:
            is_held = isinstance(error, LedgerError) and bool(self.context.pending.known().records)
            defer(log.error, "a pending revocation could not be recorded: %s", error)
        else:
            return True, True
        try:
            publish_pending(self.context)
        except PkiError as error:
            defer(log.error, "lists with a pending revocation could not be published: %s", error)
        return False, not is_held
