"""A workload's identity on disk: its credential, and what it needs to renew and to recover it.

Beside the credential (``key.pem``, ``chain.pem``, ``bundle.pem``, ``crl.pem``) lie

- ``.handfast-ca.json``: where the CA is, when to renew, the id for a recovery;
- ``.handfast-recovery.pem``: the recovery key, and ``.handfast-recovery.next.pem``: the one that
  replaces it. Like every key, the next one is written before a request names it.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pki.ca_client.calls import Keys
from pki.ca_client.received import Received
from pki.errors import InputError, PkiError, StateError, quote_untrusted
from pki.files import (
    HANDFAST,
    ensure_pending_key,
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
from pki.keys import PrivateKey, generate_key, private_key_to_pem, read_private_key
from pki.x509 import Credential, CrlSet, TrustBundle, read_names

STATE = ".handfast-ca.json"
RECOVERY_KEY = ".handfast-recovery.pem"
NEXT_RECOVERY_KEY = ".handfast-recovery.next.pem"
_VERSION = 1
_MOST_BYTES = 64 * 1024
_FIELDS = {
    "authority": str,
    "enrollment": str,
    "recovery_id": str,
    "renew_begin": int,
    "renew_end": int,
}


@dataclass(frozen=True, slots=True)
class CaState:
    """What a workload knows of its CA.

    Args:
        authority: where workloads with a certificate reach it.
        enrollment: where those without reach it.
        recovery_id: names the line for a recovery; empty if it can't recover.
        renew_begin: when to renew the certificate: not before this time, in seconds since 1970.
        renew_end: and until this one.
    """

    authority: str
    enrollment: str
    recovery_id: str
    renew_begin: int
    renew_end: int

    @classmethod
    def of(cls, received: Received) -> CaState:
        """Return what is to be kept of an answer of the CA."""
        return cls(
            received.authority_address,
            received.enrollment_address,
            received.recovery_id,
            int(received.renew_begin.timestamp()),
            int(received.renew_end.timestamp()),
        )

    def window(self) -> tuple[datetime, datetime]:
        """Return when to renew."""
        return (
            datetime.fromtimestamp(self.renew_begin, tz=UTC),
            datetime.fromtimestamp(self.renew_end, tz=UTC),
        )


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
        return (self.directory / STATE).exists()

    def load(self) -> tuple[Credential, CaState]:
        """Read credential and state, whether the certificate has ended or not.

        Raises:
            PkiError: if one of them is missing or damaged.
        """
        loaded = load_credential(self.directory, layout=HANDFAST)
        path = self.directory / STATE
        try:
            data, _ = read_bounded(path, max_bytes=_MOST_BYTES)
        except FileNotFoundError:
            raise StateError(
                f"{quote_untrusted(path)} is not there: this directory was not enrolled",
                remedy="Enroll it: handfast enroll TOKEN --out DIR",
            ) from None
        return loaded.credential, _read_state(data, path)

    def keys(self, *, with_recovery: bool) -> Keys:
        """Return the keys for the next request; they are on disk when this returns.

        Those of a request whose answer was lost are used again.
        """
        with writer_lock(self.directory):
            leaf = ensure_pending_key(self.directory, generate_key())
            recovery = None
            if with_recovery:
                recovery = self._read_key(NEXT_RECOVERY_KEY)
                if recovery is None:
                    recovery = generate_key()
                    self._write_key(NEXT_RECOVERY_KEY, recovery)
            return Keys(leaf, recovery)

    def renewal_key(self) -> PrivateKey:
        """Return the key for a renewal; it is on disk when this returns."""
        return ensure_pending_key(self.directory, generate_key())

    def recovery_key(self) -> PrivateKey | None:
        """Return the line's recovery key; None if there is none."""
        return self._read_key(RECOVERY_KEY)

    def save(self, received: Received, *, new_recovery_key: bool) -> None:
        """Write what the CA handed out: first what a recovery needs, then the credential.

        Args:
            received: from the CA.
            new_recovery_key: whether the next recovery key is the line's from now on.

        Raises:
            StateError: if a file can't be written, or the directory holds a credential of another
                workload or another CA; the files there still work then.
        """
        credential = received.credential
        owner = CredentialOwner(received.spiffe_id, read_names(credential.leaf).subject)
        issuers = (
            *credential.chain[1:],
            *credential.bundle.roots_of(received.spiffe_id.trust_domain),
        )
        with writer_lock(self.directory):
            refuse_overwrite(self.directory, owner, layout=HANDFAST, ca_certificates=issuers)
            if new_recovery_key:
                self.promote_recovery_key()
            state = json.dumps({"version": _VERSION, **asdict(CaState.of(received))}, indent=1)
            self._write(STATE, state.encode() + b"\n")
            save_credential(received.credential, self.directory, layout=HANDFAST)

    def save_trust(self, bundle: TrustBundle, crls: CrlSet) -> None:
        """Write the roots and the revocation lists."""
        save_trust(bundle, crls, self.directory, layout=HANDFAST)

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

    def _read_key(self, name: str) -> PrivateKey | None:
        with suppress(FileNotFoundError):
            data, _ = read_bounded(self.directory / name, max_bytes=_MOST_BYTES)
            return read_private_key(data)
        return None

    def _write_key(self, name: str, key: PrivateKey) -> None:
        self._write(name, private_key_to_pem(key))

    def _write(self, name: str, data: bytes) -> None:
        write_durably(self.directory / name, data, mode=PRIVATE, like=HANDFAST.key)


def _read_state(data: bytes, path: Path) -> CaState:
    damaged = InputError(
        f"{quote_untrusted(path)} is damaged",
        remedy="Enroll again: handfast enroll TOKEN --out DIR",
    )
    try:
        values: Any = json.loads(data)
        if values.pop("version") != _VERSION or set(values) != set(_FIELDS):
            raise damaged
        if not all(type(values[name]) is kind for name, kind in _FIELDS.items()):
            raise damaged
        state = CaState(**values)
        state.window()
    except PkiError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
        raise damaged from None
    return state
