"""The path that verifiers build from a chain, which need not be the chain as it was sent.

OpenSSL's store builds it, as gRPC's BoringSSL does: roots that are trusted come before
certificates that were sent, so a cross certificate that has expired does no harm to whoever has
the new root.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from OpenSSL import crypto

_NO_TIMES = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, include/openssl/x509_vfy.h.in


@dataclass(frozen=True, slots=True)
class BuiltPath:
    """The path that OpenSSL built, or why it built none.

    Args:
        certificates: from the leaf to the root; empty if there is no path.
        code: OpenSSL's error code; 0 if there is a path.
        depth: of the certificate that was refused; the leaf is 0.
        message: OpenSSL's message.
        refused: the certificate that was refused.
    """

    certificates: tuple[x509.Certificate, ...] = ()
    code: int = 0
    depth: int = 0
    message: str = ""
    refused: x509.Certificate | None = None


def build_path(
    chain: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    *,
    at: datetime | None = None,
    strict: bool = False,
    partial: bool = False,
) -> BuiltPath:
    """Build and verify the path from a leaf to a root.

    Args:
        chain: the certificates, in the order in which they were presented.
        roots: the trusted roots.
        at: the time, aware; None checks no times.
        strict: whether to check what Python 3.13 and later check too (``X509_STRICT``).
        partial: whether a path may end at any certificate of the roots, as gRPC, Go and Python 3.13
            let it, and not only at a self-signed one.
    """
    store = crypto.X509Store()
    for root in roots:
        store.add_cert(crypto.X509.from_cryptography(root))
    flags = _NO_TIMES if at is None else 0
    if strict:
        flags |= crypto.X509StoreFlags.X509_STRICT
    if partial:
        flags |= crypto.X509StoreFlags.PARTIAL_CHAIN
    store.set_flags(flags)
    if at is not None:
        store.set_time(at.astimezone(UTC))
    leaf, *others = (crypto.X509.from_cryptography(item) for item in chain)
    try:
        path = crypto.X509StoreContext(store, leaf, others).get_verified_chain()
    except crypto.X509StoreContextError as error:
        code, depth, message = error.errors[0], error.errors[1], error.errors[2]
        refused = error.certificate.to_cryptography()
        return BuiltPath((), int(code), int(depth), str(message), refused)
    certificates = tuple(item.to_cryptography() for item in path)
    if partial:
        # OpenSSL lists what was sent above a trusted certificate too.
        end = next((number for number, item in enumerate(certificates) if item in roots), 0)
        certificates = certificates[: end + 1]
    return BuiltPath(certificates)
