"""Private keys that sign with another key than their public half says.

A server whose certificate and key do not belong together signs its handshakes like this. Go starts
with such a pair; OpenSSL and gRPC compare the public halves, and start with these keys alone.
"""

from __future__ import annotations

import warnings

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from OpenSSL import SSL, crypto


def sign_with_another_key(
    context: SSL.Context, certificate: x509.Certificate, signing: ec.EllipticCurvePrivateKey
) -> None:
    """Let a context present a certificate, and sign with a key that is not the certificate's."""
    claimed = certificate.public_key()
    assert isinstance(claimed, ec.EllipticCurvePublicKey)
    point = (Encoding.X962, PublicFormat.UncompressedPoint)
    der = signing.private_bytes(
        Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    ).replace(signing.public_key().public_bytes(*point), claimed.public_bytes(*point))
    with warnings.catch_warnings():
        # cryptography compares the two halves of a key; pyOpenSSL's own deprecated object does not.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.use_privatekey(crypto.load_privatekey(crypto.FILETYPE_ASN1, der))
