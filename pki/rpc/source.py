"""Where a workload's credential comes from, and what is accepted as its next one."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from pki.errors import CredentialError, PkiError, StateError, VerificationError, shown
from pki.files import (
    KeyMode,
    Layout,
    LoadedCredential,
    load_credential,
    read_bounded,
    write_durably,
)
from pki.files.atomic import PRIVATE
from pki.identity import SpiffeId
from pki.x509 import (
    WORKLOAD,
    ChainVerifier,
    Credential,
    Purpose,
    RevocationLists,
    RevocationMode,
)
from pki.x509.readers import MAX_LISTS_BYTES, to_pem

log = logging.getLogger("handfast.rpc")
_SEEN = ".handfast-crl-seen.pem"


@dataclass(frozen=True, slots=True)
class DirectorySource:
    """A credential directory, whoever writes it.

    Args:
        directory: where it lies.
        layout: its layout; None tells it by the file names.
        key_mode: whether a key file that others may read is refused.
        revocation: what to do where a revocation list is missing.
        passphrase: for an encrypted key.
    """

    directory: Path
    layout: Layout | None = None
    key_mode: KeyMode = KeyMode.STRICT
    revocation: RevocationMode = RevocationMode.REQUIRED
    passphrase: bytes | None = None

    def first(self, now: datetime) -> Credential:
        """Read the credential at start.

        Raises:
            PkiError: if it can't be used: then the workload does not start.
        """
        loaded = self._load()
        for warning in loaded.warnings:
            log.warning("%s", warning)
        credential = self._remembering(loaded.credential, self._seen())
        check_own(credential, now)
        if credential.lists is None and self.revocation is RevocationMode.REQUIRED:
            raise CredentialError(
                f"{shown(self.directory)} holds no revocation lists ({loaded.layout.lists})",
                remedy="Bring them (handfast renew), or set revocation to when-present or "
                "short-lived",
            )
        return credential

    def next(self, current: Credential, now: datetime) -> Credential:
        """Read the directory again.

        Trust and lists are taken in whenever they can be read. Key and chain are taken in if they
        are good by themselves and for the same SPIFFE ID; else the ones in use are kept, loudly.

        Raises:
            PkiError: if the files can't be read; then everything in use is kept.
        """
        loaded = self._load().credential
        found = self._remembering(loaded, current.lists)
        if loaded.chain == current.chain:
            return found
        try:
            check_own(found, now)
            if found.spiffe_id != current.spiffe_id:
                raise CredentialError(
                    f"certificate is for {found.spiffe_id}, and this workload is "
                    f"{current.spiffe_id}",
                    remedy="Start a workload anew for another identity",
                )
        except PkiError as error:
            log.warning("new certificate refused, the one in use is kept: %s", error)
            return replace(found, key=current.key, chain=current.chain)
        return found

    def _load(self) -> LoadedCredential:
        return load_credential(
            self.directory,
            layout=self.layout,
            key_mode=self.key_mode,
            passphrase=self.passphrase,
        )

    def _remembering(self, found: Credential, seen: RevocationLists | None) -> Credential:
        """Never go back behind a list that was seen, and remember the newest on disk."""
        if found.lists is None:
            # Once a list was seen, its absence is stale too: the old one goes on counting, and
            # ends.
            return replace(found, lists=seen)
        # A forged list with a huge number would shut out the true ones for good.
        issuers = (*found.chain[1:], *found.bundle.all_roots())
        merged, refused = (seen or RevocationLists.none()).followed_by(found.lists, issuers=issuers)
        for line in refused:
            log.error("%s: %s", shown(self.directory), line)
        if seen is None or merged.lists != seen.lists:
            self._remember(merged)
        return replace(found, lists=merged)

    def _remember(self, lists: RevocationLists) -> None:
        try:
            pem = to_pem([item.crl for item in lists.lists.values()])
            write_durably(self.directory / _SEEN, pem, mode=PRIVATE)
        except StateError as error:
            # A read-only volume: remembered in memory alone, as long as the process lives.
            log.info("lists seen can't be kept on disk: %s", error)

    def _seen(self) -> RevocationLists | None:
        try:
            data, _ = read_bounded(self.directory / _SEEN, max_bytes=MAX_LISTS_BYTES)
        except FileNotFoundError:
            return None
        return RevocationLists.read(data)


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
                remedy=error.remedy or "Issue or renew it: handfast renew DIR",
            ) from error
    spiffe_id = verified.names.spiffe_id
    if spiffe_id is None:
        raise CredentialError("own certificate holds no SPIFFE ID")
    return spiffe_id


def half_life_passed(lists: RevocationLists, now: datetime) -> datetime | None:
    """Give the end of the first list to end, once it is past half of its life."""
    for item in sorted(lists.lists.values(), key=lambda found: found.next_update):
        if now > item.this_update + (item.next_update - item.this_update) / 2:
            return item.next_update
    return None
