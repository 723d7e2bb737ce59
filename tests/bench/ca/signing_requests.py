"""Certificate signing requests, each with a key of its own, made before anything is measured."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_EMPTY = x509.Name([])


def make_request(name: x509.Name = _EMPTY) -> x509.CertificateSigningRequest:
    """Return a request with a new P-256 key, as workloads make them."""
    key = ec.generate_private_key(ec.SECP256R1())
    return x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())


def make_ders(number: int) -> list[bytes]:
    """Return requests, DER."""
    return [make_request().public_bytes(serialization.Encoding.DER) for _ in range(number)]


def make_pems(number: int) -> list[str]:
    """Return requests, PEM."""
    return [make_request().public_bytes(serialization.Encoding.PEM).decode() for _ in range(number)]
