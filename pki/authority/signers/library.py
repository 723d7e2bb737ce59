"""The library for PKCS#11, or an error that names the extra that brings it."""

from __future__ import annotations

from pki.extras import missing_extra

try:
    import pkcs11
    from pkcs11 import exceptions as failures
    from pkcs11.util import ec as ec_util
except ModuleNotFoundError as _error:
    if _error.name != "pkcs11":
        raise
    raise missing_extra("A CA key in a PKCS#11 token", ["pkcs11"]) from None

__all__ = ["ec_util", "failures", "pkcs11"]
