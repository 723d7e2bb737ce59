"""Decides what is accepted from a source: as a workload's first credential, and as an update.

The rules, the same for every source:

1. The first credential must be one that peers would accept: profile, time, path. Otherwise the
   workload does not start.
2. An update must meet the same conditions, and be for the same SPIFFE ID. Otherwise it is refused
   and an error is logged; the credential and the trust bundle in use are kept. Its revocation lists
   are accepted all the same, also where nothing else can be read.
3. A revocation list never replaces a newer one that was read before and that a trusted issuer
   signed.

A source may be slow, and may raise anything. Reading it is one step and deciding is another, so
that the snapshot in force is locked only while something is decided, never while a source is read.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import datetime

from cryptography import x509

from pki.background import defer
from pki.credentials.source import Source, renewal_of
from pki.errors import (
    CertificateError,
    CredentialError,
    PkiError,
    VerificationError,
    quote_untrusted,
)
from pki.identity import SpiffeId
from pki.x509 import (
    WORKLOAD,
    ChainVerifier,
    Credential,
    CrlSet,
    Fault,
    Purpose,
    RevocationMode,
    TrustBundle,
)
from pki.x509.revocation import IssuerId

log = logging.getLogger("handfast.credentials")


@dataclass(frozen=True, slots=True)
class OnDisk:
    """What a source returned last, accepted or not.

    Args:
        leaf: the workload's certificate.
        crls: the issuers whose revocation lists came with it.
    """

    leaf: x509.Certificate
    crls: frozenset[IssuerId]

    @classmethod
    def of(cls, credential: Credential) -> OnDisk:
        """Return the summary of a credential."""
        crls = credential.crls
        return cls(credential.leaf, frozenset(crls.crls) if crls else frozenset())


class CredentialLoader:
    """Loads credentials from one source.

    Args:
        source: fetches them.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self._warnings: frozenset[str] = frozenset()
        self._path_verifier: ChainVerifier | None = None
        self._last_merge: _Merge | None = None
        self.on_disk: OnDisk | None = None
        self.remembered: CrlSet | None = None

    def load_initial(self, now: datetime) -> Credential:
        """Return the credential to start with.

        Raises:
            PkiError: if it can't be used: then the workload does not start.
        """
        loaded = self.load()
        self._check_own(loaded, now)
        self.remembered = self.source.load_stored_crls()
        credential = self._with_newest_crls(loaded, self.remembered)
        if credential.crls is None and self.source.revocation is RevocationMode.REQUIRED:
            raise CredentialError(
                f"{self.source.name} holds no revocation lists",
                remedy=f"Bring them ({renewal_of(self.source)}), or set revocation to "
                "when-present or short-lived",
            )
        self._check_every_issuer_has_a_crl(credential)
        return credential

    def _check_every_issuer_has_a_crl(self, credential: Credential) -> None:
        """Check that a peer with the same issuers could be accepted at all.

        Raises:
            CredentialError: if a list is missing, and the revocation mode requires each.
        """
        if self.source.revocation is not RevocationMode.REQUIRED or credential.crls is None:
            return
        for certificate in credential.chain:
            if credential.crls.crl_for(certificate) is None:
                issuer = quote_untrusted(certificate.issuer.rfc4514_string())
                raise CredentialError(
                    f"{self.source.name} holds no revocation list of {issuer}: every peer under it "
                    "would be refused",
                    remedy=f"Bring that list too ({renewal_of(self.source)}), or set revocation "
                    "to when-present or short-lived",
                )

    def load(self) -> Credential:
        """Read the credential from the source.

        Raises:
            Exception: whatever the source raises.
        """
        credential, warnings = self.source.load()
        self.on_disk = OnDisk.of(credential)
        for warning in warnings:
            if warning not in self._warnings:
                defer(log.warning, "%s", warning)
        self._warnings = frozenset(warnings)
        return credential

    def load_update(
        self, loaded: Credential, current: Credential, now: datetime
    ) -> tuple[Credential, str]:
        """Decide on the credential that the source returned just now.

        Returns:
            The credential to use from now on, and why the source's was refused; empty if it was
            accepted.
        """
        if loaded.bundle.roots == current.bundle.roots:
            # The same object as long as nothing is new: what was verified by it need not be again.
            loaded = replace(loaded, bundle=current.bundle)
        if loaded.chain != current.chain:
            try:
                self._check_own(loaded, now)
                if loaded.spiffe_id != current.spiffe_id:
                    raise CredentialError(
                        f"certificate is for {loaded.spiffe_id}, and this workload is "
                        f"{current.spiffe_id}",
                        remedy="Bring back the credential of this workload, or restart the process "
                        "to use the other identity",
                    )
            except PkiError as error:
                kept = replace(current, crls=loaded.crls)
                return self._with_newest_crls(kept, current.crls), str(error)
        return self._with_newest_crls(loaded, current.crls), ""

    def load_crl_update(self, crls: CrlSet | None, current: Credential) -> tuple[Credential, str]:
        """Decide on the revocation lists alone.

        Returns:
            The credential with the lists to use from now on, and which lists were refused; empty
            if none was.
        """
        if crls is None:
            return current, ""
        merged, refused = self._merged(replace(current, crls=crls), crls, current.crls)
        return replace(current, crls=merged), "; ".join(refused)

    def _check_own(self, credential: Credential, now: datetime) -> None:
        verifier = self._path_verifier
        if verifier is None or verifier.bundle is not credential.bundle:
            verifier = self._path_verifier = own_path_verifier(credential.bundle)
        check_own_credential(credential, now, renewal_of(self.source), verifier)

    def _with_newest_crls(self, credential: Credential, current: CrlSet | None) -> Credential:
        if credential.crls is None:
            # A source can't make a list that was read before disappear: the list stays in force,
            # and becomes stale at its end.
            return replace(credential, crls=current)
        merged, refused = self._merged(credential, credential.crls, current)
        for line in refused:
            defer(log.error, "%s: %s", self.source.name, line)
        return replace(credential, crls=merged)

    def _merged(
        self, credential: Credential, crls: CrlSet, current: CrlSet | None
    ) -> tuple[CrlSet, tuple[str, ...]]:
        # Only lists of trusted issuers are accepted: a forged list with a huge number would
        # otherwise keep the true lists out for good.
        issuers = (*credential.chain[1:], *credential.bundle.all_roots())
        last = self._last_merge
        if last is None or not last.is_of(issuers, crls, current):
            merged, refused = (current or CrlSet.none()).merge_newer(crls, issuers=issuers)
            if current is not None and merged == current:
                # The same object as long as nothing is new: a change is found by its identity.
                merged = current
            last = self._last_merge = _Merge(issuers, crls, current, merged, refused)
        return last.merged, last.refused


@dataclass(frozen=True, slots=True)
class _Merge:
    """What the lists that were read, and those before, have given."""

    issuers: tuple[x509.Certificate, ...]
    crls: CrlSet
    current: CrlSet | None
    merged: CrlSet
    refused: tuple[str, ...]

    def is_of(
        self, issuers: tuple[x509.Certificate, ...], crls: CrlSet, current: CrlSet | None
    ) -> bool:
        """Return whether these would give the same: the sets are compared by identity."""
        is_same = crls is self.crls and issuers == self.issuers
        return is_same and (current is self.current or current is self.merged)


def own_path_verifier(bundle: TrustBundle) -> ChainVerifier:
    """Return a verifier of paths alone: peers decide on revocation."""
    return ChainVerifier(bundle, mode=RevocationMode.WHEN_PRESENT)


def check_own_credential(
    credential: Credential,
    now: datetime,
    renewal: str = "handfast renew DIR",
    verifier: ChainVerifier | None = None,
) -> SpiffeId:
    """Check the profile, the times and the path of a workload's own credential.

    Revocation is not checked: peers decide on it.

    Args:
        credential: the credential.
        now: the time.
        renewal: the command that brings another one, for the remedy.
        verifier: that of :func:`own_path_verifier` for the credential's bundle; None makes one.

    Returns:
        The SPIFFE ID of the credential.

    Raises:
        PkiError: if no peer would accept it.
    """
    verifier = verifier or own_path_verifier(credential.bundle)
    first, *others = Purpose
    try:
        # The path is the same for every purpose; what the leaf is for is not.
        verified = verifier.verify(credential.chain, profile=WORKLOAD, purpose=first, at=now)
        for purpose in others:
            WORKLOAD.check(credential.leaf, purpose)
    except (VerificationError, CertificateError) as error:
        remedy = (
            _remedy(error, credential, now, renewal) if isinstance(error, VerificationError) else ""
        )
        raise CredentialError(
            f"this workload's own certificate would be refused by peers: {error.message}",
            remedy=error.remedy or remedy,
        ) from error
    spiffe_id = verified.names.spiffe_id
    if spiffe_id is None:
        raise CredentialError("own certificate holds no SPIFFE ID")
    return spiffe_id


def _remedy(error: VerificationError, credential: Credential, now: datetime, renewal: str) -> str:
    """Return the remedy for a fault in our own credential; a wrong clock may be the cause."""
    begins = max(item.not_valid_before_utc for item in credential.chain)
    if error.fault == Fault.NOT_YET_VALID:
        # Another certificate from the same CA would begin no sooner.
        return (
            f"Set the clock of this machine, which says {now:%Y-%m-%d %H:%M:%S} UTC, and that of "
            f"the CA by NTP: the chain becomes valid at {begins:%Y-%m-%d %H:%M:%S} UTC"
        )
    if error.fault == Fault.EXPIRED:
        return (
            f"Bring it back: {renewal}; or set the clock, if it is not "
            f"{now:%Y-%m-%d %H:%M:%S} UTC now"
        )
    return f"Bring another one: {renewal}"


def end_after_half_life(crls: CrlSet, now: datetime) -> datetime | None:
    """Return the end of the first list that is past half of its life; None if there is none."""
    for item in sorted(crls.crls.values(), key=lambda crl: crl.next_update):
        if now > item.this_update + (item.next_update - item.this_update) / 2:
            return item.next_update
    return None
