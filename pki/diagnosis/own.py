"""Our own credential, read file by file, so that each fault in it is found and none hides another.

The runtime's reader refuses what is not whole; here everything that can be read counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from cryptography import x509

from pki.diagnosis.certificates import examine_certificate
from pki.diagnosis.chains import Trust, examine_chain
from pki.diagnosis.finding import Finding, failed, ok, unknown, warning
from pki.diagnosis.handshake import Shown
from pki.errors import PkiError, shown
from pki.files import Layout, detect_layout, read_bounded
from pki.identity import SpiffeId
from pki.keys import PrivateKey, public_key_fingerprint
from pki.keys.encoding import MAX_KEY_BYTES, decode_private_key, is_private_key_block
from pki.pem import PemBlock, read_blocks
from pki.x509 import Purpose, RevocationLists, read_names
from pki.x509.decoding import public_key_of
from pki.x509.readers import (
    MAX_BUNDLE_BYTES,
    MAX_BUNDLE_LENGTH,
    MAX_CERTIFICATE_BYTES,
    MAX_CHAIN_LENGTH,
    MAX_LISTS_BYTES,
    decode_certificate,
    read_certificates,
)

_MAX_CHAIN_BYTES = 2 * MAX_CERTIFICATE_BYTES * MAX_CHAIN_LENGTH
_OTHERS = 0o077

Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class OwnCredential:
    """What could be read of a credential directory.

    Args:
        chain: leaf first; empty if it can't be read.
        key: the private key; None if it can't be read, or belongs to another certificate.
        roots: the roots to believe.
        lists: the revocation lists.
        faults: what could not be read, and why.
    """

    chain: tuple[x509.Certificate, ...] = ()
    key: PrivateKey | None = None
    roots: tuple[x509.Certificate, ...] = ()
    lists: RevocationLists | None = None
    faults: tuple[Finding, ...] = ()

    def __repr__(self) -> str:
        """Show nothing of the key."""
        return f"OwnCredential({len(self.chain)} certificates)"

    @property
    def spiffe_id(self) -> SpiffeId | None:
        """The workload's name, if it can be read."""
        try:
            return read_names(self.chain[0]).spiffe_id if self.chain else None
        except PkiError:
            return None

    @property
    def shown(self) -> Shown | None:
        """What a server is shown; None where there is nothing to show."""
        return Shown(self.chain, self.key) if self.chain and self.key is not None else None

    def trust(self, whose: str = "our bundle") -> Trust:
        """Give what another's chain is held against."""
        lists = tuple(self.lists.lists.values()) if self.lists else ()
        return Trust(self.roots, lists, self.chain[1:], whose)


def examine_own(
    own: OwnCredential,
    purpose: Purpose,
    now: datetime,
    known: tuple[x509.Certificate, ...] = (),
) -> list[Finding]:
    """Examine our own credential.

    Args:
        own: the credential.
        purpose: the end at which we present it.
        now: the time, aware.
        known: CAs seen elsewhere, as in the server's chain.
    """
    whose = "our certificate"
    if not own.chain:
        return list(own.faults)
    found = list(own.faults)
    if own.key is not None:
        found.append(ok("our key", "belongs to our certificate"))
    found += examine_certificate(whose, own.chain[0], purpose, now)
    found += examine_chain(whose, own.chain, replace(own.trust(), known=known), now)
    return found


def read_own(directory: Path) -> OwnCredential:
    """Read a credential directory in any layout.

    Raises:
        CredentialError: if it holds no credential at all.
    """
    layout = detect_layout(directory)
    faults: list[Finding] = []

    def part(question: str, failure: str, read: Callable[[], Read], none: Read) -> Read:
        try:
            return read()
        except FileNotFoundError as error:
            words = f"{shown(error.filename)} is not there"
        except PermissionError as error:
            failure, words = "key-permissions", f"{shown(error.filename)} may not be read"
        except PkiError as error:
            words = error.message
        except OSError as error:
            words = error.strerror or shown(error)
        faults.append(failed(question, failure, words))
        return none

    no_certificates: tuple[x509.Certificate, ...] = ()
    chain = part(
        "our certificate", "torn-files", lambda: _chain(directory, layout), no_certificates
    )
    key = part("our key", "torn-files", lambda: _key(directory, layout, chain, faults), None)
    roots = part("our bundle", "torn-files", lambda: _roots(directory, layout), no_certificates)
    try:
        lists = _lists(directory, layout)
    except FileNotFoundError:
        lists = None
        faults.append(
            unknown(
                "our revocation lists",
                f"there is no {layout.lists}: the runtime needs one unless revocation is set",
            )
        )
    except (PkiError, OSError) as error:
        lists = None
        faults.append(failed("our revocation lists", "malformed", shown(error)))
    return OwnCredential(chain, key, roots, lists, tuple(faults))


def _chain(directory: Path, layout: Layout) -> tuple[x509.Certificate, ...]:
    name = layout.chain or layout.key
    blocks = _blocks(directory / name, name)
    if layout.chain is None:
        blocks = blocks[1:]
    return tuple(
        decode_certificate(block.der, what=name)
        for block in blocks[:MAX_CHAIN_LENGTH]
        if block.label == "CERTIFICATE"
    )


def _key(
    directory: Path,
    layout: Layout,
    chain: tuple[x509.Certificate, ...],
    faults: list[Finding],
) -> PrivateKey | None:
    path = directory / layout.key
    blocks = [item for item in _blocks(path, layout.key) if is_private_key_block(item)]
    mode = path.stat().st_mode
    if mode & _OTHERS:
        faults.append(
            warning(
                "our key",
                "key-permissions",
                f"{shown(path)} has mode {mode & 0o7777:04o}: others may read it, and the runtime "
                "refuses it",
                remedy="chmod 600, or set key_mode to warn for a volume of secrets",
            )
        )
    if not blocks:
        faults.append(failed("our key", "torn-files", f"{shown(path)} holds no private key"))
        return None
    key = decode_private_key(blocks[0])
    if chain:
        theirs = public_key_fingerprint(public_key_of(chain[0]))
        if public_key_fingerprint(key.public_key()) != theirs:
            words = f"{shown(path)} holds the key of another certificate"
            faults.append(failed("our key", "key-mismatch", words))
            return None
    return key


def _roots(directory: Path, layout: Layout) -> tuple[x509.Certificate, ...]:
    data = read_bounded(directory / layout.bundle, max_bytes=MAX_BUNDLE_BYTES)[0]
    return read_certificates(
        data, what=layout.bundle, max_bytes=MAX_BUNDLE_BYTES, max_count=MAX_BUNDLE_LENGTH
    )


def _lists(directory: Path, layout: Layout) -> RevocationLists:
    return RevocationLists.read(
        read_bounded(directory / layout.lists, max_bytes=MAX_LISTS_BYTES)[0]
    )


def _blocks(path: Path, what: str) -> tuple[PemBlock, ...]:
    most = MAX_KEY_BYTES + _MAX_CHAIN_BYTES
    return read_blocks(read_bounded(path, max_bytes=most)[0], what=what, max_bytes=most)
