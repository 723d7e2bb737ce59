"""What a CA's users do about revocation: revoke, sign CRLs, import those that receivers hold."""

from __future__ import annotations

from collections.abc import Sequence

from pki.authority import recovery, revocation
from pki.authority.ledger import CertificateRecord
from pki.authority.pending.record import PendingRevocation
from pki.authority.publishing import revoking as publishing
from pki.authority.publishing.pending_lists import publish_pending
from pki.authority.publishing.refreshing import refresh_crls, sign_missing
from pki.authority.reader import AuthorityReader
from pki.errors import PkiError
from pki.identity import SpiffeId
from pki.x509 import CrlSet


class RevokingAuthority(AuthorityReader):
    """An open CA that can revoke. Each operation takes effect as a whole or not at all."""

    def revoke(
        self, serial: int | str, *, reason: str = "unspecified", whole_line: bool = False
    ) -> tuple[CertificateRecord, ...]:
        """Revoke a certificate with all its renewals, and publish the CRLs.

        If the ledger can't be written now, the revocation is published all the same, and recorded
        as soon as it can be: see :meth:`pending_revocations`.

        The CRLs are written into the CA's own directory alone: credential directories get them from
        ``handfast crl`` or ``handfast renew``.

        Args:
            serial: the serial number, as a number or in hex.
            reason: one of RFC 5280's reasons, e.g. ``key-compromise``.
            whole_line: revoke also the certificates from which this one was renewed. One of them
                may be valid still, and a stream may have begun with it.

        Returns:
            All certificates that are revoked now, those included that were revoked before.

        Raises:
            InputError: if there is no such certificate or reason.
        """
        return self.revoke_all([serial], reason=reason, whole_line=whole_line)

    def revoke_all(
        self,
        serials: Sequence[int | str],
        *,
        reason: str = "unspecified",
        whole_line: bool = False,
    ) -> tuple[CertificateRecord, ...]:
        """Revoke several certificates in one commit; as :meth:`revoke`.

        Raises:
            InputError: if one is not there, or there is no such reason; then none is revoked.
        """
        texts = [
            f"{item:x}" if isinstance(item, int) else revocation.parse_serial(item)
            for item in serials
        ]
        flag = revocation.parse_reason(reason)
        revoked = publishing.revoke(self._context, texts, flag, whole_line=whole_line)
        self._publish()
        return revoked

    def revoke_workload(
        self, name: str, *, reason: str = "unspecified"
    ) -> tuple[CertificateRecord, ...]:
        """Revoke every certificate of a workload that has not ended; as :meth:`revoke`.

        Args:
            name: the workload: a path such as ``orders``, or a whole SPIFFE ID.
            reason: as :meth:`revoke`.

        Raises:
            InputError: if it has none, or the name is not valid, or there is no such reason.
        """
        spiffe_id = SpiffeId.parse_name(name, self.trust_domain)
        flag = revocation.parse_reason(reason)
        revoked = publishing.revoke_workload(self._context, spiffe_id, flag)
        self._publish()
        return revoked

    def pending_revocations(self) -> tuple[PendingRevocation, ...]:
        """Return the revocations that are in force, and that the ledger does not hold yet."""
        return self._context.pending.known().records

    def pending_problem(self) -> PkiError | None:
        """Return why more may be pending than is known; None if nothing else is."""
        return self._context.pending.known().error

    def is_pending_kept(self) -> bool:
        """Return whether what is pending is kept beyond the end of this process."""
        return self._context.pending.is_on_disk_alone()

    def _publish(self) -> None:
        if not self._context.pending.is_empty():
            publish_pending(self._context)
            return
        self._context.publish()
        if not self._context.signs_lists_later:
            # A list that could not be signed has undone nothing: here its error is told.
            sign_missing(self._context)

    def certificates_of(self, spiffe_id: SpiffeId) -> tuple[CertificateRecord, ...]:
        """Return the certificates of a workload that have not ended, oldest first."""
        with self._context.ledger.snapshot(newest=True) as transaction:
            return transaction.certificates_of_workload(
                str(spiffe_id), ends_after=self._context.now()
            )

    def certificates_with_serial(self, prefix: str) -> tuple[CertificateRecord, ...]:
        """Return the certificates whose serial number begins so, oldest first.

        Args:
            prefix: hex; colons, ``0x``, leading zeros and dots at the end are left out.
        """
        digits, _ = revocation.parse_serial_prefix(prefix)
        with self._context.ledger.snapshot(newest=True) as transaction:
            return transaction.certificates_with_serial(digits)

    def import_crls(self, crls: CrlSet) -> bool:
        """Import this CA's CRLs, as receivers hold them, into the ledger, and publish the result.

        A CRL that is newer than the ledger proves that the whole directory, the ledger's mark
        included, is an older copy. What that CRL revokes is revoked here too, and later CRLs have
        higher numbers.

        Returns:
            Whether a CRL held something new.

        Raises:
            StateError: if a new CRL must be signed, and the key for it is not there.
        """
        is_new = recovery.import_held_crls(self._context, crls)
        if is_new:
            self._context.publish()
        return is_new

    def refresh_crls(self, *, force: bool = False) -> int:
        """Sign a new CRL for each issuing CA whose CRL is past half of its lifetime, and publish.

        Args:
            force: sign all of them.

        Returns:
            How many were signed.

        Raises:
            StateError: if the key for one of them is not there.
        """
        signed = refresh_crls(self._context, force=force)
        self._context.publish()
        return signed
