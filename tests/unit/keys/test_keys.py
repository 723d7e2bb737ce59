"""Keys, and the strict PEM reader."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519

from pki.errors import InputError, KeyRefusedError, PkiError, quote_untrusted
from pki.keys import (
    KeyType,
    check_ca_key,
    check_leaf_key,
    generate_key,
    private_key_to_pem,
    public_key_fingerprint,
    read_private_key,
)
from pki.pem import read_blocks

P256 = generate_key()
PEM = private_key_to_pem(P256)


def pem_of(key: object) -> bytes:
    assert hasattr(key, "private_bytes")
    made: bytes = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return made


@pytest.mark.parametrize("kind", list(KeyType))
def test_every_kind_is_made_written_and_read_back(kind: KeyType) -> None:
    key = generate_key(kind)
    again = read_private_key(private_key_to_pem(key))
    assert public_key_fingerprint(again.public_key()) == public_key_fingerprint(key.public_key())
    assert check_ca_key(key.public_key()) is not None


def test_an_encrypted_key_needs_its_passphrase() -> None:
    pem = private_key_to_pem(P256, b"open sesame")
    assert b"ENCRYPTED" in pem
    assert read_private_key(pem, b"open sesame")
    with pytest.raises(KeyRefusedError, match="wrong passphrase"):
        read_private_key(pem, b"sesame")
    with pytest.raises(KeyRefusedError, match="no passphrase"):
        read_private_key(pem)


def test_an_older_form_of_an_ec_key_is_read() -> None:
    pem = P256.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    assert read_private_key(pem)


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256K1()),
        ec.generate_private_key(ec.SECP192R1()),
        ec.generate_private_key(ec.SECP521R1()),
        ed448.Ed448PrivateKey.generate(),
        dsa.generate_private_key(2048),
        rsa.generate_private_key(65537, 1024),
        rsa.generate_private_key(65537, 2052),
        rsa.generate_private_key(3, 2048),
    ],
    ids=["secp256k1", "p192", "p521", "ed448", "dsa", "rsa1024", "rsa2052", "rsa-e3"],
)
def test_weak_and_foreign_keys_are_refused_for_leaves_and_cas(key: object) -> None:
    assert hasattr(key, "public_key")
    for check in (check_leaf_key, check_ca_key):
        with pytest.raises(KeyRefusedError):
            check(key.public_key())


def test_ed25519_is_for_cas_alone() -> None:
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    assert check_ca_key(key)
    with pytest.raises(KeyRefusedError, match="for CAs only"):
        check_leaf_key(key)


def test_a_key_of_a_kind_that_signs_nothing_is_refused() -> None:
    with pytest.raises(KeyRefusedError, match="X25519"):
        read_private_key(pem_of(x25519.X25519PrivateKey.generate()))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        PEM + PEM,
        b"a word\n" + PEM,
        PEM + b"a word\n",
        PEM[:-30],
        PEM.replace(b"\n-----END", b"!!\n-----END"),
        PEM.replace(b"PRIVATE KEY", b"PUBLIC KEY"),
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN PRIVATE KEY-----\nAAA\n-----END PRIVATE KEY-----\n",
        b"\xff" + PEM,
        PEM + b" " * (64 * 1024),
    ],
)
def test_what_is_not_exactly_one_key_is_refused_and_never_quoted(data: bytes) -> None:
    with pytest.raises(InputError) as caught:
        read_private_key(data)
    secret = PEM.splitlines()[1].decode()
    assert secret not in str(caught.value)


def test_blocks_are_read_in_order_with_nothing_but_space_between() -> None:
    blocks = read_blocks(PEM + b"\r\n\n" + PEM, what="keys", max_bytes=10_000)
    assert [block.label for block in blocks] == ["PRIVATE KEY", "PRIVATE KEY"]


def test_untrusted_text_is_shown_escaped_and_bounded() -> None:
    assert quote_untrusted("a\n\x1b[31m\u202eb") == "'a\\n\\x1b[31m\\u202eb'"
    assert "800 characters more" in quote_untrusted("x" * 1000)
    assert quote_untrusted(5) == "'5'"


def test_an_error_says_what_to_do_next() -> None:
    assert str(PkiError("it broke", remedy="Mend it")) == "it broke. Mend it"
    assert str(PkiError("it broke")) == "it broke"


OPENSSL_OLD = (
    b"-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n"
    b"-----END EC PRIVATE KEY-----\n"
)


def block(label: str) -> bytes:
    return f"-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n".encode()


@pytest.mark.parametrize(
    ("data", "remedy"),
    [
        (block("EC PARAMETERS") + PEM, "ecparam -genkey -noout"),
        (block("OPENSSH PRIVATE KEY"), "ssh-keygen -p -m PKCS8"),
        (block("CERTIFICATE"), "may be exchanged"),
        (PEM + block("CERTIFICATE"), "the key alone"),
        (block("PUBLIC KEY"), "not its public half"),
        (block("CERTIFICATE REQUEST"), "with which the request was made"),
        (PEM + PEM, "one PEM block"),
        (b"\n", "one PEM block"),
        (OPENSSL_OLD, "openssl pkcs8 -topk8"),
        (b"  " + PEM, "begin with the dashes"),
    ],
)
def test_a_file_that_is_no_single_key_says_what_to_do(data: bytes, remedy: str) -> None:
    with pytest.raises(PkiError) as caught:
        read_private_key(data)
    assert remedy in caught.value.remedy
