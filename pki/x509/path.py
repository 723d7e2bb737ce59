"""Build and verify a path with OpenSSL, and translate its errors.

The flags: X509_STRICT on and partial chains off, so that only a self-signed root is a trust anchor.
With CRLs, CRL_CHECK and CRL_CHECK_ALL, because CRL_CHECK alone checks the leaf and not its issuing
CA. OpenSSL builds one path, and tries no other if that one fails.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from cryptography import x509
from OpenSSL import crypto

from pki.errors import VerificationError, quote_untrusted
from pki.fault import Fault
from pki.x509.readers import shared_ca
from pki.x509.revocation import CrlSet

_FLAGS = crypto.X509StoreFlags
# OpenSSL's codes, include/openssl/x509_vfy.h.
_FAULTS = {
    3: Fault.REVOCATION_UNKNOWN,  # unable to get certificate CRL
    8: Fault.REVOCATION_UNKNOWN,  # CRL signature failure
    9: Fault.NOT_YET_VALID,
    10: Fault.EXPIRED,
    11: Fault.REVOCATION_UNKNOWN,  # CRL is not yet valid
    12: Fault.REVOCATION_UNKNOWN,  # CRL has expired
    18: Fault.UNTRUSTED,  # self-signed leaf
    19: Fault.UNTRUSTED,  # self-signed certificate in chain
    20: Fault.UNTRUSTED,  # unable to get local issuer certificate
    21: Fault.UNTRUSTED,  # unable to verify the leaf signature
    23: Fault.REVOKED,
    33: Fault.REVOCATION_UNKNOWN,  # unable to get CRL issuer certificate
    35: Fault.REVOCATION_UNKNOWN,  # key usage does not include CRL signing
}


class PathBuilder:
    """Builds paths with an OpenSSL store, which is made anew for each time.

    The time of a store can be set only once: OpenSSL silently ignores a second ``set_time``
    (``X509_VERIFY_PARAM_inherit``), and would keep verifying at the first time.

    Args:
        roots: the trust anchors.
        crls: the revocation lists; None verifies only the path. ``check_openssl_reads`` has checked
            roots and CRLs before.
    """

    def __init__(self, roots: Sequence[x509.Certificate], crls: CrlSet | None) -> None:
        self._roots = [crypto.X509.from_cryptography(root) for root in roots]
        self._crls = crls
        self._store: crypto.X509Store | None = None
        self._at: datetime | None = None
        self._lock = threading.Lock()

    def build_path(
        self, chain: Sequence[x509.Certificate], at: datetime
    ) -> tuple[x509.Certificate, ...]:
        """Build and verify the path from a leaf to a root.

        Args:
            chain: the leaf, then the CAs that came with it.
            at: the time, in UTC.

        Raises:
            VerificationError: if OpenSSL finds no valid path.
        """
        try:
            leaf = crypto.X509.from_cryptography(chain[0])
            others = list(map(_openssl_ca, chain[1:]))
        except crypto.Error as error:
            # cryptography and OpenSSL have decoders of their own, which differ in some cases.
            raise VerificationError(
                f"certificate of the chain can't be read by OpenSSL: {quote_untrusted(error)}",
                fault=Fault.INVALID,
            ) from None
        try:
            path = crypto.X509StoreContext(self._store_at(at), leaf, others).get_verified_chain()
        except crypto.X509StoreContextError as error:
            raise _verification_error(error) from None
        # OpenSSL begins with the leaf that it was given.
        return (
            chain[0],
            *(shared_ca(crypto.dump_certificate(crypto.FILETYPE_ASN1, item)) for item in path[1:]),
        )

    def _store_at(self, at: datetime) -> crypto.X509Store:
        """Return the store for a time. Times are whole seconds, so at most one a second is made."""
        with self._lock:
            if self._store is None or self._at != at:
                self._store, self._at = self._make_store(at), at
            return self._store

    def _make_store(self, at: datetime) -> crypto.X509Store:
        store = crypto.X509Store()
        flags = _FLAGS.X509_STRICT
        for root in self._roots:
            store.add_cert(root)
        if self._crls is not None:
            for item in self._crls.crls.values():
                store.add_crl(item.crl)
            flags |= _FLAGS.CRL_CHECK | _FLAGS.CRL_CHECK_ALL
        store.set_flags(flags)
        store.set_time(at)
        return store


@lru_cache(maxsize=256)
def _openssl_ca(ca: x509.Certificate) -> crypto.X509:
    return crypto.X509.from_cryptography(ca)


_REMEDIES = {
    11: "A clock is or was ahead: set it right, then handfast crl",  # CRL_NOT_YET_VALID
}


def _verification_error(error: crypto.X509StoreContextError) -> VerificationError:
    code, depth, message = error.errors[0], error.errors[1], error.errors[2]
    return openssl_error(int(code), int(depth), str(message))


def openssl_error(code: int, depth: int, message: str) -> VerificationError:
    """Translate OpenSSL's error on a chain.

    Args:
        code: the error code, as in ``include/openssl/x509_vfy.h``.
        depth: of the certificate; the leaf is 0.
        message: OpenSSL's message.
    """
    fault = _FAULTS.get(code, Fault.INVALID)
    if fault is Fault.REVOKED and depth > 0:
        fault = Fault.ISSUER_REVOKED
    where = "leaf" if depth == 0 else f"certificate at depth {depth}"
    return VerificationError(
        f"chain refused at the {where}: {message}", fault=fault, remedy=_REMEDIES.get(code, "")
    )
