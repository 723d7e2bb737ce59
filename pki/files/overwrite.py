"""Decide whether a new credential may overwrite what a directory holds.

The rules:

1. A directory without a key and without a chain holds nothing to lose.
2. A whole credential may be replaced by a new one of the same owner: of the same SPIFFE ID, or of
   the same subject if its certificate has no SPIFFE ID.
3. What can't be read is not overwritten: it may be a key that others may read, an encrypted key, or
   a key whose chain was cut off.
4. A chain without a key was issued for a request (CSR). A certificate for another request of the
   same owner may replace it; a credential with a key may not.
5. A certificate for a request is never written beside a key that it does not belong to.
6. A credential of another CA is not overwritten, even if the names are the same: with the trust
   bundle, the workload would change over to another root. It is of the same CA if one of the CA's
   certificates is above its leaf, or if both trust bundles share a root.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from pki.errors import CredentialError, PkiError, StateError, quote_untrusted
from pki.files.layouts import Layout, find_layout, path_exists
from pki.files.partial_credential import PartialCredential, read_partial_credential
from pki.identity import SpiffeId, Subject, derive_names
from pki.keys import PublicKey, public_key_fingerprint
from pki.x509 import read_names


@dataclass(frozen=True, slots=True)
class CredentialOwner:
    """The workload that a credential belongs to."""

    spiffe_id: SpiffeId
    subject: Subject

    @classmethod
    def of_workload(cls, spiffe_id: SpiffeId) -> CredentialOwner:
        """Return the owner with a workload's SPIFFE ID and derived subject."""
        return cls(spiffe_id, derive_names(spiffe_id).subject)

    def owns(self, leaf: x509.Certificate) -> bool:
        """Return whether a certificate belongs to this owner."""
        names = read_names(leaf)
        if names.spiffe_id is not None:
            return names.spiffe_id == self.spiffe_id
        return bool(self.subject.rdns) and names.subject == self.subject


def refuse_overwrite(
    directory: Path,
    owner: CredentialOwner,
    *,
    layout: Layout,
    ca_certificates: Sequence[x509.Certificate],
    request_key: PublicKey | None = None,
) -> None:
    """Refuse a directory if a new credential would destroy something that it holds.

    Args:
        directory: where to write the credential; it need not exist.
        owner: the workload that it is for.
        layout: its layout.
        ca_certificates: the certificates of the CA that issues: its roots and issuing CAs.
        request_key: the public key, if the private key is with the sender of a request.

    Raises:
        PkiError: if it must not be written there.
    """
    if not path_exists(directory):
        return
    existing = find_layout(directory)
    if existing is None:
        return
    existing_layout, holds_key = existing
    if existing_layout is not layout:
        raise StateError(
            f"{quote_untrusted(directory)} holds a credential in the layout {existing_layout.name}",
            remedy=f"Use the layout {existing_layout.name}, or choose another directory",
        )
    contents = read_partial_credential(directory, layout, holds_key=holds_key)
    if request_key is not None and holds_key:
        _check_key_of_request(contents, request_key)
    elif request_key is None and not holds_key:
        raise CredentialError(
            f"{quote_untrusted(directory)} holds a certificate whose key is elsewhere: it "
            "was issued for "
            "a request",
            remedy="Give a new request with --csr, or choose another directory",
        )
    elif _has_only_next_key(contents):
        return
    elif contents.leaf is None:
        raise _unreadable_error(directory, contents.leaf_error())
    elif holds_key and contents.leaf_key is None:
        raise _unreadable_error(directory, _key_fault(contents))
    if contents.leaf is not None and not owner.owns(contents.leaf):
        names = read_names(contents.leaf)
        other = names.spiffe_id or names.subject
        raise CredentialError(
            f"{quote_untrusted(directory)} holds the credential of {quote_untrusted(other)}",
            remedy="Choose another directory",
        )
    _check_ca(contents, ca_certificates)


def _check_ca(contents: PartialCredential, ca_certificates: Sequence[x509.Certificate]) -> None:
    """Check that a directory's certificate is of this CA, or its trust bundle shares a root.

    Times and revocation do not matter: an expired credential may be replaced.

    Raises:
        CredentialError: if it is of another CA.
    """
    leaf = contents.leaf
    if leaf is None or _is_below(ca_certificates, contents.chain or (leaf,)):
        return
    if contents.bundle is not None and set(contents.bundle.all_roots()) & set(ca_certificates):
        return
    issuer = leaf.issuer.rfc4514_string()
    raise CredentialError(
        f"{quote_untrusted(contents.directory)} holds a credential of another CA: its issuer is "
        f"{quote_untrusted(issuer)}",
        remedy="Name that CA with --dir; or move the directory away, or choose another with --out",
    )


def _is_below(
    ca_certificates: Sequence[x509.Certificate], chain: Sequence[x509.Certificate]
) -> bool:
    """Return whether a chain leads from its leaf to one of a CA's certificates."""
    for number, certificate in enumerate(chain):
        if number and not _signed(certificate, chain[number - 1]):
            return False
        if any(_signed(item, certificate) for item in ca_certificates):
            return True
    return False


def _signed(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _check_key_of_request(contents: PartialCredential, request_key: PublicKey) -> None:
    """Check that a certificate for a request fits the key in the directory.

    Raises:
        PkiError: if it does not fit, or the key can't be read.
    """
    if contents.key is None:
        raise _unreadable_error(contents.directory, _key_fault(contents))
    if public_key_fingerprint(contents.key.public_key()) != public_key_fingerprint(request_key):
        raise CredentialError(
            f"{quote_untrusted(contents.directory)} holds another key than the request: the "
            "certificate would not fit it",
            remedy="Choose another directory",
        )


def _has_only_next_key(contents: PartialCredential) -> bool:
    """Return whether a first write was interrupted before its chain: only a next key exists."""
    layout, directory = contents.layout, contents.directory
    chain = layout.chain or layout.key
    return not path_exists(directory / layout.key) and not path_exists(directory / chain)


def _key_fault(contents: PartialCredential) -> PkiError:
    layout = contents.layout
    for name in (layout.key, layout.next_key):
        if name in contents.errors:
            return contents.errors[name]
    return CredentialError(
        f"{quote_untrusted(contents.directory / layout.key)} does not belong to the "
        "certificate beside it"
    )


def _unreadable_error(directory: Path, cause: PkiError) -> CredentialError:
    return CredentialError(
        f"{quote_untrusted(directory)} holds a part that can't be read, and is not overwritten: "
        f"{cause.message}",
        remedy="Repair it, move the directory away, or choose another one",
    )
