"""What is accepted of a source, as a workload's first credential and as its next one.

The rules, for every source alike:

1. The first credential must be one that peers would accept: profile, time, path. Else nothing
   starts.
2. A next one must be so too, and for the same SPIFFE ID. Else it is refused loudly, and the one in
   use is kept, its trust bundle too; revocation lists are taken in all the same, also where they
   are all that can be read.
3. Nobody goes back behind a revocation list that was seen, signed by an issuer that is believed.

A source may be slow, and may raise anything: asking it is one step, deciding another, so that what
is in force is locked while something is decided, and never while a source is asked.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime

from pki.access.snapshot import OnDisk
from pki.background import defer
from pki.credentials.source import Source
from pki.errors import CredentialError, PkiError, VerificationError, quote_untrusted
from pki.identity import SpiffeId
from pki.x509 import (
    WORKLOAD,
    ChainVerifier,
    Credential,
    CrlSet,
    Fault,
    Purpose,
    RevocationMode,
)

log = logging.getLogger("handfast.rpc")


class CredentialLoader:
    """Takes credentials in from one source.

    Args:
        source: fetches them.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self._told: frozenset[str] = frozenset()
        self.on_disk: OnDisk | None = None
        self.remembered: CrlSet | None = None

    def first(self, now: datetime) -> Credential:
        """Return the credential to start with.

        Raises:
            PkiError: if it can't be used: then the workload does not start.
        """
        loaded = self.load()
        check_own(loaded, now)
        self.remembered = self.source.remembered()
        credential = self._remembering(loaded, self.remembered)
        if credential.crls is None and self.source.revocation is RevocationMode.REQUIRED:
            raise CredentialError(
                f"{self.source.name} holds no revocation lists",
                remedy="Bring them (handfast renew), or set revocation to when-present or "
                "short-lived",
            )
        self._check_every_issuer_has_a_crl(credential)
        return credential

    def _check_every_issuer_has_a_crl(self, credential: Credential) -> None:
        """Check that somebody under the same CAs could be accepted at all.

        Raises:
            CredentialError: if a list is missing, and the user's word is that each is required.
        """
        if self.source.revocation is not RevocationMode.REQUIRED or credential.crls is None:
            return
        for certificate in credential.chain:
            if credential.crls.crl_for(certificate) is None:
                issuer = quote_untrusted(certificate.issuer.rfc4514_string())
                raise CredentialError(
                    f"{self.source.name} holds no revocation list of {issuer}: every peer under it "
                    "would be refused",
                    remedy="Bring that list too (handfast renew), or set revocation to "
                    "when-present or short-lived",
                )

    def load(self) -> Credential:
        """Ask the source for its credential.

        Raises:
            Exception: whatever the source raises.
        """
        credential, warnings = self.source.load()
        self.on_disk = OnDisk.of(credential)
        for words in warnings:
            if words not in self._told:
                defer(log.warning, "%s", words)
        self._told = frozenset(warnings)
        return credential

    def next(
        self, loaded: Credential, current: Credential, now: datetime
    ) -> tuple[Credential, str]:
        """Decide on what the source holds now.

        Returns:
            The credential to use from now on, and why the source's was refused; empty if it was
            not.
        """
        if loaded.chain != current.chain:
            try:
                check_own(loaded, now)
                if loaded.spiffe_id != current.spiffe_id:
                    raise CredentialError(
                        f"certificate is for {loaded.spiffe_id}, and this workload is "
                        f"{current.spiffe_id}",
                        remedy="Start a workload anew for another identity",
                    )
            except PkiError as error:
                kept = replace(current, crls=loaded.crls)
                return self._remembering(kept, current.crls), str(error)
        return self._remembering(loaded, current.crls), ""

    def next_crls(self, crls: CrlSet | None, current: Credential) -> tuple[Credential, str]:
        """Decide on the revocation lists alone.

        Returns:
            The credential with the lists that count now, and which lists were refused; empty if
            none was.
        """
        if crls is None:
            return current, ""
        merged, refused = self._merged(replace(current, crls=crls), crls, current.crls)
        return replace(current, crls=merged), "; ".join(refused)

    def _remembering(self, found: Credential, seen: CrlSet | None) -> Credential:
        if found.crls is None:
            # Once a list was seen, its absence is stale too: the old one goes on counting, and
            # ends.
            return replace(found, crls=seen)
        merged, refused = self._merged(found, found.crls, seen)
        for line in refused:
            defer(log.error, "%s: %s", self.source.name, line)
        return replace(found, crls=merged)

    def _merged(
        self, found: Credential, crls: CrlSet, seen: CrlSet | None
    ) -> tuple[CrlSet, tuple[str, ...]]:
        # A forged list with a huge number would shut out the true ones for good.
        issuers = (*found.chain[1:], *found.bundle.all_roots())
        merged, refused = (seen or CrlSet.none()).merge_newer(crls, issuers=issuers)
        if seen is not None and merged.crls == seen.crls:
            # The same object for as long as nothing is new.
            return seen, refused
        return merged, refused


def check_own(credential: Credential, now: datetime) -> SpiffeId:
    """Check a workload's own credential: profile, time and path; revocation is the peers' to judge.

    Raises:
        PkiError: if no peer would accept it.
    """
    verifier = ChainVerifier(credential.bundle, mode=RevocationMode.WHEN_PRESENT)
    for purpose in Purpose:
        try:
            verified = verifier.verify(credential.chain, profile=WORKLOAD, purpose=purpose, at=now)
        except VerificationError as error:
            raise CredentialError(
                f"own certificate would be refused: {error.message}",
                remedy=error.remedy or _remedy(error, credential, now),
            ) from error
    spiffe_id = verified.names.spiffe_id
    if spiffe_id is None:
        raise CredentialError("own certificate holds no SPIFFE ID")
    return spiffe_id


def _remedy(error: VerificationError, credential: Credential, now: datetime) -> str:
    """Return what to do about a fault of our own; of its times the clock may be the cause."""
    begins = max(item.not_valid_before_utc for item in credential.chain)
    if error.fault == Fault.NOT_YET_VALID:
        # Another certificate from the same CA would begin no sooner.
        return (
            f"Set the clock of this machine, which says {now:%Y-%m-%d %H:%M:%S} UTC, and that of "
            f"the CA by NTP: what it issued begins at {begins:%Y-%m-%d %H:%M:%S} UTC"
        )
    if error.fault == Fault.EXPIRED:
        return (
            "Issue or renew it: handfast renew DIR; or set the clock, if it is not "
            f"{now:%Y-%m-%d %H:%M:%S} UTC now"
        )
    return "Issue or renew it: handfast renew DIR"


def half_life_passed(crls: CrlSet, now: datetime) -> datetime | None:
    """Return the end of the first list to end, once it is past half of its life."""
    for item in sorted(crls.crls.values(), key=lambda found: found.next_update):
        if now > item.this_update + (item.next_update - item.this_update) / 2:
            return item.next_update
    return None
