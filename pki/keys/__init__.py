"""Keys: the accepted kinds, generation, encoding and fingerprints."""

from pki.keys.delegated import DelegatedEcKey, DelegatedKey, DelegatedRsaKey, delegated_key
from pki.keys.encoding import (
    IdentifiedKey,
    private_key_to_pem,
    public_key_fingerprint,
    public_key_to_der,
    read_private_key,
    secret_fingerprint,
)
from pki.keys.kinds import (
    KeyType,
    PrivateKey,
    PublicKey,
    check_ca_key,
    check_leaf_key,
    generate_key,
    is_of_type,
)

__all__ = [
    "DelegatedEcKey",
    "DelegatedKey",
    "DelegatedRsaKey",
    "IdentifiedKey",
    "KeyType",
    "PrivateKey",
    "PublicKey",
    "check_ca_key",
    "check_leaf_key",
    "delegated_key",
    "generate_key",
    "is_of_type",
    "private_key_to_pem",
    "public_key_fingerprint",
    "public_key_to_der",
    "read_private_key",
    "secret_fingerprint",
]
