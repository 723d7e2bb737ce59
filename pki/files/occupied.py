"""Whether a directory may take a new credential: what works there is never overwritten by another.

The rules:

1. Where no key and no chain lies, nothing is lost.
2. A whole credential gives way to a new one of the same holder: the same SPIFFE ID, or the same
   subject where it names none. A holder that names both differently is another.
3. What can't be read is not nothing: it may be a key that others may read, an encrypted one, or one
   whose chain was cut. It is not overwritten.
4. A chain without a key belongs to whoever asked with a request (CSR); another answer to a request
   of the same holder may replace it, a credential with a key may not.
5. A chain that answers a request is never written beside a key that it does not belong to.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from pki.errors import CredentialError, PkiError, StateError, quote_untrusted
from pki.files.contents import Contents, read_contents
from pki.files.layouts import Layout, find_layout, is_there
from pki.identity import SpiffeId, Subject, derive_names
from pki.keys import PublicKey, public_key_fingerprint
from pki.x509 import read_names


@dataclass(frozen=True, slots=True)
class Holder:
    """Whom a credential is for."""

    spiffe_id: SpiffeId
    subject: Subject

    @classmethod
    def of_workload(cls, spiffe_id: SpiffeId) -> Holder:
        """Return the holder that a workload is."""
        return cls(spiffe_id, derive_names(spiffe_id).subject)

    def holds(self, leaf: x509.Certificate) -> bool:
        """Return whether a certificate is this holder's."""
        names = read_names(leaf)
        if names.spiffe_id is not None:
            return names.spiffe_id == self.spiffe_id
        return bool(self.subject.rdns) and names.subject == self.subject


def refuse_occupied(
    directory: Path, holder: Holder, *, layout: Layout, request_key: PublicKey | None = None
) -> None:
    """Refuse a directory that holds something which a new credential would destroy.

    Args:
        directory: where the credential is to go; it need not be there.
        holder: whom it is for.
        layout: the file names that it is to have.
        request_key: the public key, where the private one is elsewhere.

    Raises:
        PkiError: if it must not be written there.
    """
    if not is_there(directory):
        return
    found = find_layout(directory)
    if found is None:
        return
    there, holds_key = found
    if there is not layout:
        raise StateError(
            f"{quote_untrusted(directory)} holds a credential in the layout {there.name}",
            remedy=f"Use the layout {there.name}, or choose another directory",
        )
    contents = read_contents(directory, layout, holds_key=holds_key)
    if request_key is not None and holds_key:
        _check_key_of_request(contents, request_key)
    elif request_key is None and not holds_key:
        raise CredentialError(
            f"{quote_untrusted(directory)} holds a certificate whose key is elsewhere: it "
            "was asked for with "
            "a request",
            remedy="Give the next request with --csr, or choose another directory",
        )
    elif _is_unfinished(contents):
        return
    elif contents.leaf is None:
        raise _unreadable(directory, contents.why_no_leaf())
    elif holds_key and contents.key_of_leaf is None:
        raise _unreadable(directory, _why_no_key(contents))
    if contents.leaf is not None and not holder.holds(contents.leaf):
        names = read_names(contents.leaf)
        held = names.spiffe_id or names.subject
        raise CredentialError(
            f"{quote_untrusted(directory)} holds the credential of {quote_untrusted(held)}",
            remedy="Choose another directory",
        )


def _check_key_of_request(contents: Contents, request_key: PublicKey) -> None:
    """Check that the answer to a request fits the key that lies beside it.

    Raises:
        PkiError: if it does not, or the key can't be read.
    """
    if contents.key is None:
        raise _unreadable(contents.directory, _why_no_key(contents))
    if public_key_fingerprint(contents.key.public_key()) != public_key_fingerprint(request_key):
        raise CredentialError(
            f"{quote_untrusted(contents.directory)} holds a key that the request was not "
            "made with: the "
            "certificate would not fit it",
            remedy="Choose another directory",
        )


def _is_unfinished(contents: Contents) -> bool:
    """Return whether a first credential was cut off before its chain: a key that nothing is for."""
    layout, directory = contents.layout, contents.directory
    chain = layout.chain or layout.key
    return not is_there(directory / layout.key) and not is_there(directory / chain)


def _why_no_key(contents: Contents) -> PkiError:
    layout = contents.layout
    for name in (layout.key, layout.next_key):
        if name in contents.faults:
            return contents.faults[name]
    return CredentialError(
        f"{quote_untrusted(contents.directory / layout.key)} does not belong to the "
        "certificate beside it"
    )


def _unreadable(directory: Path, cause: PkiError) -> CredentialError:
    return CredentialError(
        f"{quote_untrusted(directory)} holds what can't be read, and is not overwritten: "
        f"{cause.message}",
        remedy="Mend it, move the directory away, or choose another one",
    )
