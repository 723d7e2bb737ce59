"""A key in a PKCS#11 token, which signs there and never leaves it.

It is sent hashes, so a large revocation list costs no more than a small one. Each signature is
verified before it is used: a wrong key and a faulty device are noticed here.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import load_der_public_key

from pki.authority.signers.errors import KeyAbsentError, MechanismMissingError, SignerError
from pki.authority.signers.key_file import write_key_file
from pki.authority.signers.library import ec_util, pkcs11
from pki.authority.signers.pkcs11_uri import Pkcs11Uri
from pki.authority.signers.signer import ExternalSigner
from pki.authority.signers.token_access import TokenAccess
from pki.authority.signers.token_module import open_module
from pki.errors import KeyRefusedError
from pki.keys import DelegatedKey, KeyType, PublicKey, check_ca_key, delegated_key

_Result = TypeVar("_Result")

_LABEL = "handfast CA"
_CURVES = {KeyType.ECDSA_P256: "secp256r1", KeyType.ECDSA_P384: "secp384r1"}
_RSA_BITS = {KeyType.RSA_3072: 3072, KeyType.RSA_4096: 4096}
# RFC 8017 section 9.2, note 1: what stands before the hash in an RSA signature.
_DIGEST_INFO = {
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha384": bytes.fromhex("3041300d060960864801650304020205000430"),
}


class TokenSigner(ExternalSigner):
    """A key in a PKCS#11 token. The token is asked for the first time when it shall sign.

    Args:
        uri: of the key.
        public_key: its public key.
        access: how to reach the token.
        is_new: whether the key was generated just now.
    """

    file_suffix = ".toml"

    def __init__(
        self, uri: Pkcs11Uri, public_key: PublicKey, access: TokenAccess, *, is_new: bool = False
    ) -> None:
        self._uri = uri
        self._access = access
        self._is_new = is_new
        self._key = delegated_key(public_key, self.sign)

    @classmethod
    def generate(cls, uri: Pkcs11Uri, kind: KeyType, access: TokenAccess) -> TokenSigner:
        """Generate a key in a token, which never gives it out.

        Raises:
            SignerError: if the token can't be used; its class tells why.
            KeyRefusedError: if no key of that kind can live in a token.
        """
        key_id = secrets.token_bytes(16)

        def generate(session: pkcs11.Session) -> PublicKey:
            public, private = _generate_pair(session, kind, key_id)
            try:
                _check_kept(private)
                return _public_key(public)
            except BaseException:
                private.destroy()
                public.destroy()
                raise

        public_key = open_module(access.module_path(uri)).run(uri, access, generate)
        return cls(uri.of_key(key_id), public_key, access, is_new=True)

    @classmethod
    def find(cls, uri: Pkcs11Uri, access: TokenAccess) -> TokenSigner:
        """Find a key that is in a token already.

        Raises:
            SignerError: if it is not there, the token would give it out, or can't be used.
            KeyRefusedError: if a CA may not have such a key.
        """

        def find(session: pkcs11.Session) -> PublicKey:
            private = _find_private(session, uri)
            _check_kept(private)
            publics = _find(session, {pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PUBLIC_KEY}, uri)
            if not publics:
                # Some tools give the two halves one id, and a label to one of them alone.
                publics = list(
                    session.get_objects(
                        {
                            pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PUBLIC_KEY,
                            pkcs11.Attribute.ID: private[pkcs11.Attribute.ID],
                        }
                    )
                )
            if len(publics) != 1:
                raise KeyAbsentError(
                    f"the token holds {len(publics)} public keys beside the key {uri}",
                    remedy="Import the public key under the id of the private one",
                )
            return _public_key(publics[0])

        public_key = open_module(access.module_path(uri)).run(uri, access, find)
        return cls(uri, check_ca_key(public_key), access)

    @staticmethod
    def check_place(uri: Pkcs11Uri, access: TokenAccess) -> None:
        """Check that a token can be used, and that a key that the URI names is there.

        Raises:
            SignerError: if not; its class tells why.
        """
        if uri.names_key:
            TokenSigner.find(uri, access)
        else:
            open_module(access.module_path(uri)).run(uri, access, lambda _: None)

    @property
    def key(self) -> DelegatedKey:
        """The key, for the builders of certificates and CRLs."""
        return self._key

    @property
    def place(self) -> str:
        """The key's URI."""
        return str(self._uri)

    def connect(self) -> None:
        """Find the key in its token.

        Raises:
            SignerError: if the key or the token is not there, or can't be used.
        """
        self._run(lambda session: _find_private(session, self._uri))

    def sign(self, data: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
        """Return the signature of data, made by the token and verified here.

        Raises:
            SignerError: if the token does not sign; its class tells why.
        """
        digest = hashes.Hash(algorithm)
        digest.update(data)
        value = digest.finalize()
        public_key = self._key.public_key()
        if isinstance(public_key, ec.EllipticCurvePublicKey):
            raw = self._ask(pkcs11.Mechanism.ECDSA, value)
            half = len(raw) // 2
            signature = utils.encode_dss_signature(
                int.from_bytes(raw[:half]), int.from_bytes(raw[half:])
            )
        else:
            signature = self._ask(pkcs11.Mechanism.RSA_PKCS, _DIGEST_INFO[algorithm.name] + value)
        try:
            _verify(public_key, signature, data, algorithm)
        except InvalidSignature:
            raise SignerError(
                f"the signature of the key at {self._uri} does not fit the CA's certificate: the "
                "URI names another key, or the token is faulty",
                remedy="Look with the token's own tool which key has this label or id",
            ) from None
        return signature

    def file_contents(self) -> bytes:
        """Return the contents of the file with the key's URI."""
        return write_key_file(self._uri)

    def discard(self) -> None:
        """Destroy the key if it was generated just now."""
        if not self._is_new:
            return

        def destroy(session: pkcs11.Session) -> None:
            for item in list(session.get_objects({pkcs11.Attribute.ID: self._uri.key_id})):
                item.destroy()

        self._run(destroy)

    def _ask(self, mechanism: pkcs11.Mechanism, value: bytes) -> bytes:
        def sign(session: pkcs11.Session) -> bytes:
            signature: bytes = _find_private(session, self._uri).sign(value, mechanism=mechanism)
            return signature

        return self._run(sign)

    def _run(self, action: Callable[[pkcs11.Session], _Result]) -> _Result:
        module = open_module(self._access.module_path(self._uri))
        return module.run(self._uri, self._access, action)


def _generate_pair(session: pkcs11.Session, kind: KeyType, key_id: bytes) -> tuple[Any, Any]:
    if kind not in _CURVES and kind not in _RSA_BITS:
        raise KeyRefusedError(
            f"a key of type {kind.value} can't be made in a token here",
            remedy="Use --key-type ecdsa-p256",
        )
    is_rsa = kind in _RSA_BITS
    needed = (
        (pkcs11.Mechanism.RSA_PKCS_KEY_PAIR_GEN, pkcs11.Mechanism.RSA_PKCS)
        if is_rsa
        else (pkcs11.Mechanism.EC_KEY_PAIR_GEN, pkcs11.Mechanism.ECDSA)
    )
    there = session.token.slot.get_mechanisms()
    missing = [item.name for item in needed if item not in there]
    if missing:
        raise MechanismMissingError(
            f"the token has no mechanism {' and no '.join(missing)}, and a {kind.value} key "
            "needs it",
            remedy="Choose another --key-type, or another token",
        )
    options: dict[str, Any] = {
        "store": True,
        "id": key_id,
        "label": f"{_LABEL} {key_id.hex()[:8]}",
        "capabilities": pkcs11.MechanismFlag.SIGN | pkcs11.MechanismFlag.VERIFY,
        "private_template": {
            pkcs11.Attribute.PRIVATE: True,
            pkcs11.Attribute.SENSITIVE: True,
            pkcs11.Attribute.EXTRACTABLE: False,
        },
    }
    if is_rsa:
        return session.generate_keypair(pkcs11.KeyType.RSA, _RSA_BITS[kind], **options)
    curve = {pkcs11.Attribute.EC_PARAMS: ec_util.encode_named_curve_parameters(_CURVES[kind])}
    return session.create_domain_parameters(pkcs11.KeyType.EC, curve, local=True).generate_keypair(
        **options
    )


def _find(
    session: pkcs11.Session, wanted: dict[pkcs11.Attribute, Any], uri: Pkcs11Uri
) -> list[Any]:
    if uri.key_label is not None:
        wanted = {**wanted, pkcs11.Attribute.LABEL: uri.key_label}
    if uri.key_id is not None:
        wanted = {**wanted, pkcs11.Attribute.ID: uri.key_id}
    return list(session.get_objects(wanted))


def _find_private(session: pkcs11.Session, uri: Pkcs11Uri) -> Any:
    found = _find(session, {pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY}, uri)
    if len(found) == 1:
        return found[0]
    if found:
        raise KeyAbsentError(
            f"{len(found)} keys in the token fit {uri}", remedy="Name the key by its id: id=%.."
        )
    raise KeyAbsentError(
        f"there is no key {uri} in its token",
        remedy="Name one that is there, or leave object and id out to make a new one",
    )


def _check_kept(private: Any) -> None:
    """Check that a token never gives a private key out.

    Raises:
        KeyRefusedError: if it would.
    """
    if private[pkcs11.Attribute.EXTRACTABLE] or not private[pkcs11.Attribute.SENSITIVE]:
        raise KeyRefusedError(
            "the key can be taken out of its token, so the token does not protect it",
            remedy="Let handfast make the key (name the token alone), or make it with "
            "CKA_SENSITIVE true and CKA_EXTRACTABLE false",
        )


def _public_key(public: Any) -> PublicKey:
    if public.key_type is pkcs11.KeyType.RSA:
        numbers = rsa.RSAPublicNumbers(
            int.from_bytes(public[pkcs11.Attribute.PUBLIC_EXPONENT]),
            int.from_bytes(public[pkcs11.Attribute.MODULUS]),
        )
        return numbers.public_key()
    if public.key_type is pkcs11.KeyType.EC:
        return check_ca_key(load_der_public_key(ec_util.encode_ec_public_key(public)))
    raise KeyRefusedError(
        f"a key of kind {public.key_type!r} can't sign for a CA", remedy="Use an ECDSA P-256 key"
    )


def _verify(
    public_key: PublicKey, signature: bytes, data: bytes, algorithm: hashes.HashAlgorithm
) -> None:
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        public_key.verify(signature, data, ec.ECDSA(algorithm))
    elif isinstance(public_key, rsa.RSAPublicKey):
        public_key.verify(signature, data, padding.PKCS1v15(), algorithm)
