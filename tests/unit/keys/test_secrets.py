"""No secret ever enters a message, and no passphrase is dropped."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from pki.errors import InputError, KeyRefusedError, PkiError
from pki.keys import check_leaf_key, generate_key, private_key_to_pem, read_private_key
from pki.pem import read_blocks

KEY = generate_key()
PEM = private_key_to_pem(KEY).decode()
HEAD, *BODY, FOOT = PEM.splitlines()


def lines(*parts: str) -> bytes:
    return "\n".join(parts).encode()


@pytest.mark.parametrize(
    "data",
    [
        lines(*BODY, FOOT),
        lines("----BEGIN PRIVATE KEY-----", *BODY, FOOT),
        lines(HEAD, BODY[0] + "!", *BODY[1:], FOOT),
        lines(HEAD, BODY[0] + "\x0b" + BODY[1], *BODY[2:], FOOT),
        lines(HEAD, "".join(BODY), FOOT),
        lines(HEAD, *BODY),
        lines(HEAD, *BODY[:-1], FOOT),
        lines(HEAD, BODY[0], "=" + BODY[1], *BODY[2:], FOOT),
        lines(HEAD, *BODY, FOOT, *BODY),
        lines(HEAD, "Proc-Type: 4,ENCRYPTED", *BODY, FOOT),
        lines("-----BEGIN CERTIFICATE-----", *BODY, "-----END CERTIFICATE-----"),
        lines(HEAD, *BODY, FOOT) * 2,
    ],
)
def test_a_key_that_cannot_be_read_is_not_quoted(data: bytes) -> None:
    with pytest.raises(PkiError) as caught:
        read_private_key(data)
    told = f"{caught.value} {caught.value.__cause__}"
    assert not any(part[start : start + 8] in told for part in BODY for start in range(0, 56, 8))


def test_the_key_that_the_others_differ_from_is_read() -> None:
    assert read_private_key(lines(HEAD, *BODY, FOOT))
    assert read_private_key(PEM.replace("\n", "\r\n").encode())


def test_a_broken_line_is_named_by_its_number() -> None:
    with pytest.raises(InputError, match="broken PEM block at line 3"):
        read_private_key(lines(HEAD, BODY[0], "?", FOOT))


def test_many_labels_are_not_all_shown() -> None:
    block = "-----BEGIN X-----\n-----END X-----\n"
    with pytest.raises(KeyRefusedError) as caught:
        read_private_key((block * 1500).encode())
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("passphrase", [b"", b"a" * 1024])
def test_an_empty_or_endless_passphrase_never_leaves_the_key_in_the_clear(
    passphrase: bytes,
) -> None:
    with pytest.raises(KeyRefusedError, match="passphrase of"):
        private_key_to_pem(KEY, passphrase)


@pytest.mark.parametrize("passphrase", [b"a", b"\0\xff", b"a" * 1023])
def test_a_passphrase_of_whatever_bytes_encrypts(passphrase: bytes) -> None:
    pem = private_key_to_pem(KEY, passphrase)
    assert b"ENCRYPTED" in pem
    assert read_private_key(pem, passphrase)


@pytest.mark.parametrize("passphrase", [None, b"", b"wrong", b"a" * 5000])
def test_a_wrong_passphrase_is_refused(passphrase: bytes | None) -> None:
    with pytest.raises(KeyRefusedError):
        read_private_key(private_key_to_pem(KEY, b"right"), passphrase)


def test_a_key_in_the_clear_under_the_label_of_an_encrypted_one_is_refused() -> None:
    data = PEM.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY").encode()
    with pytest.raises(KeyRefusedError, match="can't be decoded"):
        read_private_key(data, b"any")


@pytest.mark.parametrize("exponent", [3, 65535, (1 << 257) + 1, (1 << 2000) + 1])
def test_an_rsa_exponent_that_is_weak_or_slow_is_refused(exponent: int) -> None:
    modulus = rsa.generate_private_key(65537, 2048).public_key().public_numbers().n
    key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    with pytest.raises(KeyRefusedError, match="exponent"):
        check_leaf_key(key)


def test_an_rsa_modulus_that_is_slow_is_refused() -> None:
    key = rsa.RSAPublicNumbers(65537, (1 << 16383) + 1).public_key()
    with pytest.raises(KeyRefusedError, match="16384 bits"):
        check_leaf_key(key)


@pytest.mark.parametrize("text", ["AA=A", "A===", "AAAAA", "=AAA", "AA==AA=="])
def test_what_is_no_base64_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="not base64"):
        read_blocks(lines("-----BEGIN X-----", text, "-----END X-----"), what="x", max_bytes=99)


def test_a_block_inside_a_block_is_refused() -> None:
    with pytest.raises(InputError, match="broken PEM block at line 2"):
        read_blocks(lines("-----BEGIN X-----", HEAD, FOOT), what="x", max_bytes=999)
    with pytest.raises(InputError, match="broken PEM block at line 2"):
        read_blocks(lines("-----BEGIN X-----", "-----END Y-----"), what="x", max_bytes=999)


def test_a_key_of_another_encoding_is_the_same_key() -> None:
    der = KEY.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    assert base64.b64decode("".join(BODY)) == der
