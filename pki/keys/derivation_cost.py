"""Limit the time and memory for decrypting a key, before the decryption starts.

The file itself says how often to hash the passphrase, and with how much memory. A file of some
hundred bytes can ask for hours, during which not even an interrupt is handled (RFC 8018 §4.2).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

import cryptography
from cryptography import x509

from pki.errors import KeyRefusedError

if TYPE_CHECKING:
    from pki.keys.pkcs8 import Algorithm, Scrypt

# OWASP recommends 600,000 rounds of PBKDF2; a million take about half a second.
MAX_ITERATIONS = 5_000_000
# scrypt with the defaults of OpenSSL (N 16384, r 8) takes 16 MiB.
MAX_SCRYPT_BYTES = 256 * 1024 * 1024
MAX_SCRYPT_LANES = 16

_PBES2 = x509.ObjectIdentifier("1.2.840.113549.1.5.13")
_PBKDF2 = x509.ObjectIdentifier("1.2.840.113549.1.5.12")
_SCRYPT = x509.ObjectIdentifier("1.3.6.1.4.1.11591.4.11")
_REMEDY = "Encrypt it again with an ordinary tool: openssl pkcs8 -topk8"

_Part = TypeVar("_Part")


def require_decryption() -> None:
    """Require a cryptography that can tell what the decryption of a key costs.

    Raises:
        KeyRefusedError: if it is older than version 47.
    """
    try:
        import_module("pki.keys.pkcs8")
    except ImportError:
        raise KeyRefusedError(
            "an encrypted key needs cryptography 47 or newer, and this is "
            f"{cryptography.__version__}",
            remedy="Install it: pip install 'cryptography>=47'",
        ) from None


def check_derivation_cost(der: bytes) -> None:
    """Check the cost of decrypting an encrypted key (RFC 5958 section 3, RFC 8018, RFC 7914).

    Args:
        der: an ``EncryptedPrivateKeyInfo``.

    Raises:
        KeyRefusedError: if the cost exceeds the limits above or can't be read, or this is an older
            cryptography than version 47.
    """
    require_decryption()
    from pki.keys import pkcs8  # noqa: PLC0415 - older versions of cryptography can't load it

    try:
        algorithm = pkcs8.read_encryption(der)
        if algorithm.oid != _PBES2:
            _check_iterations(_parse(algorithm, pkcs8.Pbes1).iterations)
            return
        derivation = _parse(algorithm, pkcs8.Pbes2).derivation
        if derivation.oid == _SCRYPT:
            _check_scrypt(_parse(derivation, pkcs8.Scrypt))
        elif derivation.oid == _PBKDF2:
            _check_iterations(_parse(derivation, pkcs8.Pbkdf2).iterations)
        else:
            raise KeyRefusedError(
                f"encrypted key derives its secret by {derivation.oid.dotted_string}, which is "
                "unknown",
                remedy=_REMEDY,
            )
    except (ValueError, OverflowError) as error:
        raise KeyRefusedError("private key can't be decoded: it is damaged") from error


def _parse(algorithm: Algorithm, kind: type[_Part]) -> _Part:
    parameters: _Part = algorithm.parameters.parse(kind)
    return parameters


def _check_iterations(iterations: int) -> None:
    if iterations > MAX_ITERATIONS:
        raise KeyRefusedError(
            f"encrypted key asks for {iterations} rounds of hashing; {MAX_ITERATIONS} is the most",
            remedy=_REMEDY,
        )


def _check_scrypt(parameters: Scrypt) -> None:
    size = 128 * parameters.cost * parameters.block_size
    if size > MAX_SCRYPT_BYTES or parameters.lanes > MAX_SCRYPT_LANES:
        raise KeyRefusedError(
            f"encrypted key asks for {size} bytes of memory {parameters.lanes} times over; "
            f"{MAX_SCRYPT_BYTES} bytes {MAX_SCRYPT_LANES} times are the most",
            remedy=_REMEDY,
        )
