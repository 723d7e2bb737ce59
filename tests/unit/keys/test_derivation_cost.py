"""Keys whose decryption needs too much time or memory are refused before it starts."""

from __future__ import annotations

import base64
import sys

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from pki.errors import KeyRefusedError
from pki.keys import KeyType, generate_key, private_key_to_pem, read_private_key
from pki.keys.encoding import load_private_key

PBES2 = "06092a864886f70d01050d"
PBKDF2 = "06092a864886f70d01050c"
SCRYPT = "06092b06010401da47040b"
PKCS12_3DES = "060a2a864886f70d010c0103"
AES = "060960864801650304012a"


def tlv(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    size = len(body)
    if size < 128:
        return bytes([tag, size]) + body
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(length)]) + length + body


def integer(value: int) -> bytes:
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1))


def sequence(*parts: bytes) -> bytes:
    return tlv(0x30, *parts)


def oid(text: str) -> bytes:
    return bytes.fromhex(text)


def encrypted(algorithm: bytes) -> bytes:
    der = sequence(algorithm, tlv(0x04, bytes(64)))
    body = base64.encodebytes(der)
    return (
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n" + body + b"-----END ENCRYPTED PRIVATE KEY-----\n"
    )


def pbes2(derivation: bytes) -> bytes:
    aes = sequence(oid(AES), tlv(0x04, bytes(16)))
    return encrypted(sequence(oid(PBES2), sequence(derivation, aes)))


def pbkdf2(iterations: int) -> bytes:
    return pbes2(sequence(oid(PBKDF2), sequence(tlv(0x04, bytes(8)), integer(iterations))))


def scrypt(cost: int, block: int, lanes: int) -> bytes:
    parts = (tlv(0x04, bytes(8)), integer(cost), integer(block), integer(lanes))
    return pbes2(sequence(oid(SCRYPT), sequence(*parts)))


def pbes1(iterations: int) -> bytes:
    parts = (tlv(0x04, bytes(8)), integer(iterations))
    return encrypted(sequence(oid(PKCS12_3DES), sequence(*parts)))


@pytest.mark.parametrize(
    "pem",
    [
        pbkdf2(2**31 - 1),
        pbkdf2(5_000_001),
        pbkdf2(2**200),
        pbes1(2**31 - 1),
        scrypt(2**22, 8, 1),
        scrypt(2**14, 2**20, 1),
        scrypt(2**14, 8, 2**20),
        scrypt(2**63, 2**63, 2**63),
    ],
)
def test_an_encrypted_key_that_asks_for_too_much_is_refused_before_it_is_done(pem: bytes) -> None:
    with pytest.raises(KeyRefusedError, match="asks for"):
        read_private_key(pem, b"passphrase")


@pytest.mark.parametrize(
    "pem",
    [
        encrypted(sequence(oid(PBES2))),
        encrypted(sequence(oid(PBES2), sequence())),
        encrypted(b""),
        pbes2(sequence(oid(PBKDF2), sequence(integer(1)))),
    ],
)
def test_an_encrypted_key_whose_demands_can_not_be_read_is_damaged(pem: bytes) -> None:
    with pytest.raises(KeyRefusedError, match="damaged"):
        read_private_key(pem, b"passphrase")


def test_an_unknown_way_to_derive_the_secret_is_refused_by_its_name() -> None:
    pem = pbes2(sequence(oid("06032a0304"), sequence(integer(1))))
    with pytest.raises(KeyRefusedError, match=r"1\.2\.3\.4"):
        read_private_key(pem, b"passphrase")


def test_keys_that_ordinary_tools_encrypt_are_opened() -> None:
    key = generate_key()
    assert read_private_key(private_key_to_pem(key, b"open"), b"open").public_key() == (
        key.public_key()
    )
    with pytest.raises(KeyRefusedError, match="wrong passphrase"):
        read_private_key(private_key_to_pem(key, b"open"), b"shut")


def rsa_key(p: int, q: int) -> bytes:
    numbers = [0, p * q, 65537, 65537, p, q, 1, 1, 1]
    return sequence(*(integer(item) for item in numbers))


@pytest.mark.parametrize("bits", [4423, 9689, 44497])  # exponents of Mersenne primes
def test_an_rsa_key_with_factors_of_any_size_is_not_asked_for_primes(bits: int) -> None:
    with pytest.raises(KeyRefusedError, match="are the most"):
        load_private_key(rsa_key(2**bits - 1, 2 ** (bits - 1) + 1), None)
    with pytest.raises(KeyRefusedError, match="are the most"):
        load_private_key(rsa_key(2**bits - 1, 3), None)


def test_an_rsa_key_whose_numbers_do_not_fit_is_still_refused() -> None:
    key = generate_key(KeyType.RSA_3072)
    assert isinstance(key, rsa.RSAPrivateKey)
    numbers = key.private_numbers()
    assert (
        load_private_key(
            key.private_bytes(
                serialization.Encoding.DER,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
            None,
        ).public_key()
        == key.public_key()
    )
    with pytest.raises(ValueError, match=r"."):
        load_private_key(rsa_key(numbers.p, numbers.q), None)


def test_a_cryptography_that_can_not_tell_the_cost_reads_and_writes_no_encrypted_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = generate_key()
    encrypted = private_key_to_pem(key, b"a passphrase")
    monkeypatch.setitem(sys.modules, "pki.keys.pkcs8", None)
    with pytest.raises(KeyRefusedError, match="needs cryptography 47 or newer"):
        read_private_key(encrypted, passphrase=b"a passphrase")
    with pytest.raises(KeyRefusedError, match="needs cryptography 47 or newer"):
        private_key_to_pem(key, b"a passphrase")
    assert read_private_key(private_key_to_pem(key)).public_key() == key.public_key()
