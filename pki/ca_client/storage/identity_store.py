"""A workload's identity on disk: its credential, and what it needs to renew and to recover it.

Beside the credential (``key.pem``, ``chain.pem``, ``bundle.pem``, ``crl.pem``) lie

- ``.handfast-ca.json``: where the CA is, when to renew, the id for a recovery;
- ``.handfast-bundle.json``: the signed trust bundle that the roots in ``bundle.pem`` are of;
- ``.handfast-announced.json``: the revocations that were announced and that no list holds yet;
- ``.handfast-enrolling``: which proof's answer is waited for; the keys of its request beside it;
- ``.handfast-recovery.pem``: the recovery key, and ``.handfast-recovery.next.pem``: the one that
  replaces it. Like every key, the next one is written before a request names it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography import x509

from pki.ca_client.bundles import Anchor
from pki.ca_client.calls import Keys
from pki.ca_client.received import Received
from pki.ca_client.storage.announced_store import AnnouncedStore, AnnouncedUntil
from pki.ca_client.storage.ca_state import CaState
from pki.errors import InputError, PkiError, StateError, quote_untrusted
from pki.files import (
    HANDFAST,
    BusyFolderError,
    ensure_pending_key,
    hold_lock,
    load_credential,
    read_bounded,
    remove_durably,
    save_credential,
    save_trust,
    write_durably,
    writer_lock,
)
from pki.files.open_folder import PRIVATE
from pki.files.overwrite import CredentialOwner, refuse_overwrite
from pki.identity import SpiffeId, TrustDomain
from pki.keys import PrivateKey, generate_key, private_key_to_pem, read_private_key
from pki.x509 import Credential, CrlSet, TrustBundle, read_names
from pki.x509.bundle_chain import BundleRefusedError, SignedBundle
from pki.x509.bundle_chain.signed import MAX_BUNDLE_BYTES

STATE = ".handfast-ca.json"
SIGNED_BUNDLE = ".handfast-bundle.json"
IN_USE = ".handfast-identity.lock"
ENROLLING = ".handfast-enrolling"
ENROLLING_KEY, ENROLLING_RECOVERY = f"{ENROLLING}.key.pem", f"{ENROLLING}.recovery.pem"
RECOVERY_KEY = ".handfast-recovery.pem"
NEXT_RECOVERY_KEY = ".handfast-recovery.next.pem"
_MOST_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Stored:
    """What an identity's directory holds.

    Args:
        credential: with the roots of the signed bundle, if there is one.
        spiffe_id: the workload.
        state: what the workload knows of its CA.
        anchor: the CA's roots, and the signed bundle that they come from.
        announced: the revocations that were announced, and that no list held yet.
    """

    credential: Credential
    spiffe_id: SpiffeId
    state: CaState
    anchor: Anchor
    announced: AnnouncedUntil


class IdentityStore:
    """The directory of a workload's identity.

    Args:
        directory: made if it is missing, when something is written.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()

    @property
    def is_enrolled(self) -> bool:
        """Whether the directory holds what an enrollment leaves there."""
        try:
            return (self.directory / STATE).exists()
        except OSError:
            # No permission, for example: who opens the directory next says so.
            return True

    def hold(self) -> Callable[[], None]:
        """Keep all other processes from renewing this identity, until the returned function runs.

        Two that renew one certificate, each with a key of its own, look like a theft to the CA.

        Raises:
            StateError: if it was not enrolled, or somebody keeps it fresh already, here or in
                another process.
        """
        if not self.is_enrolled:
            raise self._not_enrolled()
        try:
            return hold_lock(self.directory, name=IN_USE)
        except BusyFolderError:
            raise StateError(
                f"{quote_untrusted(self.directory)} is kept fresh by another process, or by this "
                "one already",
                remedy="Stop the other one; or read what it keeps fresh with "
                "pki.Workload.from_directory()",
            ) from None

    def load(self) -> Stored:
        """Read everything, whether the certificate has ended or not.

        Raises:
            PkiError: if something is missing or damaged.
        """
        credential = self.load_credential()
        spiffe_id = credential.spiffe_id
        if spiffe_id is None:
            raise StateError("the certificate holds no SPIFFE ID, so it is no workload's")
        domain = spiffe_id.trust_domain
        path = self.directory / STATE
        try:
            data, _ = read_bounded(path, max_bytes=_MOST_BYTES)
        except FileNotFoundError:
            raise self._not_enrolled() from None
        state = CaState.read(data, path)
        bundle = self._read_bundle(domain)
        anchor = Anchor(domain, roots=credential.bundle.roots_of(domain))
        if bundle is not None:
            # A process that ended between the two files left older roots in bundle.pem.
            anchor = Anchor(domain, roots=bundle.content.roots, bundle=bundle)
            newest = anchor.trust(beside=credential.bundle)
            credential = replace(credential, bundle=newest)
        return Stored(credential, spiffe_id, state, anchor, AnnouncedStore(self.directory).load())

    def load_credential(self) -> Credential:
        """Read the credential alone.

        Raises:
            PkiError: if something is missing or damaged.
        """
        return load_credential(self.directory, layout=HANDFAST).credential

    def enrollment_keys(self, proof: str, *, with_recovery: bool) -> Keys:
        """Return the keys for an enrollment, on disk: those of an earlier try with this proof.

        They lie in files of their own: an enrollment that comes to nothing leaves the line that is
        here as it was, and what it has asked for.

        Args:
            proof: names it; 64 hex digits.
            with_recovery: whether there is a recovery key.
        """
        with writer_lock(self.directory):
            if self._read_text(ENROLLING) != proof:
                self._end_enrollment()
                self._write(ENROLLING, proof.encode())
            leaf = self._ensure_key(ENROLLING_KEY)
            return Keys(leaf, self._ensure_key(ENROLLING_RECOVERY) if with_recovery else None)

    def replace(self, received: Received, keys: Keys) -> None:
        """Write what an enrollment brought over whatever there is of the same workload.

        Until all of it is written the keys stay beside it: the same proof may be shown again.

        Raises:
            StateError: as :meth:`save`; or if the directory holds another workload's credential.
        """
        with writer_lock(self.directory):
            present = None
            with suppress(PkiError):
                present = self.load_credential()
            if present is not None and present.spiffe_id != received.spiffe_id:
                # The keys are certified for the other one by now.
                self._end_enrollment()
                raise StateError(
                    f"{quote_untrusted(self.directory)} holds the credential of "
                    f"{present.spiffe_id}, and the proof was for {received.spiffe_id}",
                    remedy="Choose another directory; the proof may be used up",
                )
            beside = received.anchor.trust(beside=present.bundle) if present is not None else None
            if keys.recovery is not None:
                self._write_key(RECOVERY_KEY, keys.recovery)
            remove_durably(self.directory / NEXT_RECOVERY_KEY)
            # Between the chain and the key, a reader takes the one that waits.
            self.drop_pending_key()
            ensure_pending_key(self.directory, keys.leaf)
            if received.anchor.bundle is None:
                remove_durably(self.directory / SIGNED_BUNDLE)
            self.save(
                received,
                new_recovery_key=False,
                bundle=beside,
                former=present.chain[1:] if present is not None else (),
            )
            self._end_enrollment()

    def keys(self, *, with_recovery: bool) -> Keys:
        """Return the keys for the next request; they are on disk when this returns.

        Those of a request whose answer was lost are used again.
        """
        with writer_lock(self.directory):
            leaf = ensure_pending_key(self.directory, generate_key())
            recovery = None
            if with_recovery:
                recovery = self._ensure_key(NEXT_RECOVERY_KEY)
            return Keys(leaf, recovery)

    def renewal_key(self) -> PrivateKey:
        """Return the key for a renewal; it is on disk when this returns."""
        return ensure_pending_key(self.directory, generate_key())

    def recovery_key(self) -> PrivateKey | None:
        """Return the line's recovery key; None if there is none."""
        return self._read_key(RECOVERY_KEY)

    def save(
        self,
        received: Received,
        *,
        new_recovery_key: bool,
        anchor: Anchor | None = None,
        bundle: TrustBundle | None = None,
        crls: CrlSet | None = None,
        former: Sequence[x509.Certificate] = (),
    ) -> None:
        """Write what the CA handed out: first what a recovery needs, then the credential.

        Args:
            received: from the CA.
            new_recovery_key: whether the next recovery key is the line's from now on.
            anchor: what is trusted now; None for what was trusted when it was handed out.
            bundle: all roots; None for the CA's alone.
            crls: all lists; None for those that were handed out with it.
            former: the issuers of the credential that it replaces, for one of another root.

        Raises:
            StateError: if a file can't be written, or the directory holds a credential of another
                workload or another CA; the files there still work then.
        """
        anchor = anchor or received.anchor
        credential = replace(
            received.credential,
            bundle=bundle or anchor.trust(),
            crls=crls if crls is not None and crls.crls else received.credential.crls,
        )
        owner = CredentialOwner(received.spiffe_id, read_names(credential.leaf).subject)
        issuers = (*credential.chain[1:], *anchor.roots, *former)
        with writer_lock(self.directory):
            refuse_overwrite(self.directory, owner, layout=HANDFAST, ca_certificates=issuers)
            if new_recovery_key:
                self.promote_recovery_key()
            self._write(STATE, CaState.of(received).encode())
            if anchor.bundle is not None:
                self._write(SIGNED_BUNDLE, anchor.bundle.encode())
            save_credential(credential, self.directory, layout=HANDFAST)

    def save_trust(self, anchor: Anchor, bundle: TrustBundle, crls: CrlSet) -> None:
        """Write the signed bundle, all roots and the revocation lists."""
        with writer_lock(self.directory):
            if anchor.bundle is not None:
                self._write(SIGNED_BUNDLE, anchor.bundle.encode())
            # A file without a list would be no lists at all.
            save_trust(bundle, crls if crls.crls else None, self.directory, layout=HANDFAST)

    def save_announced(self, announced: AnnouncedUntil) -> None:
        """Write the revocations that were announced, and that no list holds yet."""
        AnnouncedStore(self.directory).save(announced)

    def promote_recovery_key(self) -> None:
        """Put the next recovery key in the place of the present one."""
        with writer_lock(self.directory):
            key = self._read_key(NEXT_RECOVERY_KEY)
            if key is not None:
                self._write_key(RECOVERY_KEY, key)
                remove_durably(self.directory / NEXT_RECOVERY_KEY)

    def drop_pending_key(self) -> None:
        """Remove the key of a request that came to nothing."""
        with writer_lock(self.directory):
            remove_durably(self.directory / HANDFAST.next_key)

    def _not_enrolled(self) -> StateError:
        return StateError(
            f"{quote_untrusted(self.directory / STATE)} is not there: this directory was not "
            "enrolled",
            remedy="Enroll it: handfast enroll TOKEN --out DIR; or pass token=TOKEN to "
            "pki.Workload.from_ca()",
        )

    def _read_bundle(self, domain: TrustDomain) -> SignedBundle | None:
        path = self.directory / SIGNED_BUNDLE
        try:
            data, _ = read_bounded(path, max_bytes=MAX_BUNDLE_BYTES)
        except FileNotFoundError:
            return None
        try:
            # It was verified before it was written, by roots that may have ended since.
            bundle = SignedBundle.read(data)
        except BundleRefusedError as error:
            raise InputError(
                f"{quote_untrusted(path)} is damaged: {error.message}",
                remedy="Enroll again: handfast enroll TOKEN --out DIR",
            ) from None
        if bundle.content.trust_domain != domain:
            raise InputError(
                f"{quote_untrusted(path)} is of {bundle.content.trust_domain}, and the certificate "
                f"of {domain}"
            )
        return bundle

    def _read_key(self, name: str) -> PrivateKey | None:
        with suppress(FileNotFoundError):
            data, _ = read_bounded(self.directory / name, max_bytes=_MOST_BYTES)
            return read_private_key(data)
        return None

    def _read_text(self, name: str) -> str:
        with suppress(FileNotFoundError):
            data, _ = read_bounded(self.directory / name, max_bytes=_MOST_BYTES)
            return data.decode("ascii", "replace")
        return ""

    def _ensure_key(self, name: str) -> PrivateKey:
        key = self._read_key(name)
        if key is None:
            key = generate_key()
            self._write_key(name, key)
        return key

    def _end_enrollment(self) -> None:
        for name in (ENROLLING_KEY, ENROLLING_RECOVERY, ENROLLING):
            remove_durably(self.directory / name)

    def _write_key(self, name: str, key: PrivateKey) -> None:
        self._write(name, private_key_to_pem(key))

    def _write(self, name: str, data: bytes) -> None:
        write_durably(self.directory / name, data, mode=PRIVATE, like=HANDFAST.key)
