"""Signers: where the CA's private keys live and sign, in files or in PKCS#11 tokens.

``library``, ``token_module`` and ``token_signer`` need ``handfast[pkcs11]``; the others do not.
"""

from pki.authority.signers.errors import (
    KeyAbsentError,
    LockedPinError,
    MechanismMissingError,
    SignerError,
    TokenAbsentError,
    WrongPinError,
)
from pki.authority.signers.pkcs11_uri import Pkcs11Uri
from pki.authority.signers.signer import ExternalSigner, FileSigner, Signer
from pki.authority.signers.token_access import TokenAccess

__all__ = [
    "ExternalSigner",
    "FileSigner",
    "KeyAbsentError",
    "LockedPinError",
    "MechanismMissingError",
    "Pkcs11Uri",
    "Signer",
    "SignerError",
    "TokenAbsentError",
    "TokenAccess",
    "WrongPinError",
]
