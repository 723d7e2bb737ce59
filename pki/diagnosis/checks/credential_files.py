"""Our own credential, read file by file, so that each fault in it is found and none hides another.

The runtime's reader refuses what is not whole; here everything that can be read counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from pki.diagnosis.checks.certificate import examine_certificate
from pki.diagnosis.checks.chain import examine_chain
from pki.diagnosis.checks.issuer_path import is_self_issued, named
from pki.diagnosis.checks.trust_path import Trust
from pki.diagnosis.observe.tls_handshake import Shown
from pki.diagnosis.report import Finding, Status, failed, ok, symptom, unknown, warning
from pki.errors import KeyRefusedError, PkiError, StateError, quote_untrusted
from pki.files import Layout, detect_layout, read_bounded
from pki.identity import SpiffeId
from pki.keys import PrivateKey, PublicKey
from pki.keys.encoding import MAX_KEY_BYTES, decode_private_key, is_private_key_block
from pki.pem import PemBlock, read_blocks
from pki.x509 import CrlSet, Purpose, read_names
from pki.x509.decoding import UNREADABLE
from pki.x509.readers import (
    MAX_BUNDLE_BYTES,
    MAX_BUNDLE_LENGTH,
    MAX_CERTIFICATE_BYTES,
    MAX_CHAIN_LENGTH,
    MAX_CRLS_BYTES,
    decode_certificate,
    read_certificates,
)

_MAX_CHAIN_BYTES = 2 * MAX_CERTIFICATE_BYTES * MAX_CHAIN_LENGTH
_OTHERS = 0o077
_ENCRYPTED = "ENCRYPTED PRIVATE KEY"
# How likely a verifier that is not us refuses our chain, where our own bundle would.
_NOT_OURS_TO_SAY = {"unknown-ca": 75, "self-signed": 90}

Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class OwnCredential:
    """What could be read of a credential directory.

    Args:
        chain: leaf first; empty if it can't be read.
        key: the private key; None if it can't be read, or belongs to another certificate.
        roots: the roots to believe.
        crls: the revocation lists.
        faults: what could not be read, and why.
    """

    chain: tuple[x509.Certificate, ...] = ()
    key: PrivateKey | None = None
    roots: tuple[x509.Certificate, ...] = ()
    crls: CrlSet | None = None
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
        """Return what another's chain is held against."""
        crls = tuple(self.crls.crls.values()) if self.crls else ()
        return Trust(self.roots, crls, self.chain[1:], whose)


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
    chain = examine_chain(whose, own.chain, replace(own.trust(), known=known), now)
    return [*found, *(_as_another_judges(item) for item in chain)]


def _as_another_judges(item: Finding) -> Finding:
    """Take for likely what our bundle says of our own chain: the other side's bundle decides.

    Those of many who use mutual TLS differ: the servers' CA in ours, the clients' CA in theirs.
    """
    likely = _NOT_OURS_TO_SAY.get(item.failure or "")
    if likely is None or item.status is not Status.FAILED or not item.is_sure:
        return item
    return replace(item, likely=likely)


def with_their_answer(ours: Sequence[Finding], *, taken: bool) -> list[Finding]:
    """Return what was found about ours, as far as it can be told when the server has answered.

    Args:
        ours: what was found.
        taken: whether the server has taken our certificate.
    """
    found: list[Finding] = []
    for item in ours:
        if item.is_sure:
            found.append(item)
        elif any(other.question == item.question for other in found):
            # One line for a question; what may be the cause is ranked where the server refuses.
            continue
        elif taken and item.failure is not None:
            words = f"{item.words}; this server takes it, and our own side would not"
            found.append(warning(item.question, item.failure, words))
        else:
            found.append(unknown(item.question, item.words))
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
            words = f"{quote_untrusted(error.filename)} is not there"
        except PermissionError as error:
            failure, words = "key-permissions", f"{quote_untrusted(error.filename)} may not be read"
        except PkiError as error:
            words = error.message
        except OSError as error:
            words = error.strerror or quote_untrusted(error)
        faults.append(failed(question, failure, words))
        return none

    no_certificates: tuple[x509.Certificate, ...] = ()
    chain = part(
        "our certificate", "torn-files", lambda: _chain(directory, layout), no_certificates
    )
    key = part("our key", "torn-files", lambda: _key(directory, layout, chain, faults), None)
    roots = part("our bundle", "torn-files", lambda: _roots(directory, layout), no_certificates)
    faults += _no_roots(roots)
    crls = None
    if (directory / layout.crls).exists():
        crls = part("our revocation lists", "torn-files", lambda: _crls(directory, layout), None)
    else:
        faults.append(
            warning(
                "our revocation lists",
                "no-list",
                f"there is no {layout.crls}: handfast's runtime refuses to start without one",
                remedy="Bring one (handfast renew DIR), or set revocation to when-present: "
                'Workload.from_directory(DIR, revocation="when-present")',
            )
        )
    return OwnCredential(chain, key, roots, crls, tuple(faults))


def _chain(directory: Path, layout: Layout) -> tuple[x509.Certificate, ...]:
    name = layout.chain or layout.key
    blocks = _blocks(directory / name, name)
    if layout.chain is None:
        blocks = blocks[1:]
    found = tuple(
        decode_certificate(block.der, what=name)
        for block in blocks[:MAX_CHAIN_LENGTH]
        if block.label == "CERTIFICATE"
    )
    if not found:
        raise StateError(f"{quote_untrusted(directory / name)} holds no certificate")
    return found


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
                f"{quote_untrusted(path)} has mode {mode & 0o7777:04o}: others may read "
                "it, and the runtime "
                "refuses it",
                remedy="chmod 600, or set key_mode to warn for a volume of secrets",
            )
        )
    if not blocks:
        faults.append(
            failed("our key", "torn-files", f"{quote_untrusted(path)} holds no private key")
        )
        return None
    if blocks[0].label == _ENCRYPTED:
        faults.append(
            unknown(
                "our key", f"{quote_untrusted(path)} is encrypted: it can't be shown to anybody"
            )
        )
        return None
    try:
        theirs = chain[0].public_key() if chain else None
    except (*UNREADABLE, UnsupportedAlgorithm):
        theirs = None
    try:
        key = decode_private_key(blocks[0])
    except KeyRefusedError:
        if theirs is None or isinstance(theirs, PublicKey):
            raise
        faults.append(symptom("our key", "is of a kind that is not taken, as the certificate's is"))
        return None
    if theirs is not None and key.public_key() != theirs:
        words = f"{quote_untrusted(path)} holds the key of another certificate"
        faults.append(failed("our key", "key-mismatch", words))
        return None
    return key


def _no_roots(bundle: tuple[x509.Certificate, ...]) -> list[Finding]:
    others = [item for item in bundle if not is_self_issued(item)]
    if not others:
        return []
    return [
        warning(
            "our bundle",
            "torn-files",
            f"{named(others[0].subject)} in it is no root: gRPC takes it for one, handfast refuses "
            "the whole bundle",
            remedy="Leave the roots alone in the bundle; what stands between belongs in chain.pem",
        )
    ]


def _roots(directory: Path, layout: Layout) -> tuple[x509.Certificate, ...]:
    data = read_bounded(directory / layout.bundle, max_bytes=MAX_BUNDLE_BYTES)[0]
    return read_certificates(
        data, what=layout.bundle, max_bytes=MAX_BUNDLE_BYTES, max_count=MAX_BUNDLE_LENGTH
    )


def _crls(directory: Path, layout: Layout) -> CrlSet:
    return CrlSet.read(read_bounded(directory / layout.crls, max_bytes=MAX_CRLS_BYTES)[0])


def _blocks(path: Path, what: str) -> tuple[PemBlock, ...]:
    most = MAX_KEY_BYTES + _MAX_CHAIN_BYTES
    return read_blocks(read_bounded(path, max_bytes=most)[0], what=what, max_bytes=most)
