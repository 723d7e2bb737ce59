"""What ``handfast inspect`` says of PEM, keys and stores that other programs do not read."""

from __future__ import annotations

import base64
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    pkcs12,
)

from pki.inspection.private_keys import MOST_OPENED
from tests.interop.inspected import Inspector, bad_flags, flags, kinds
from tests.interop.seeds import Scene, pem, scene_in


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with scene_in(tmp_path) as made:
        yield made


@pytest.fixture
def inspect(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Inspector:
    return Inspector(tmp_path, capsys)


# PEM that others do not read


def joined(text: bytes) -> bytes:
    return text.replace(b"-----\n-----BEGIN", b"----------BEGIN")


def indented(text: bytes) -> bytes:
    return b"".join(b"  " + line for line in text.splitlines(keepends=True))


def with_blank_lines(text: bytes) -> bytes:
    return text.replace(b"\n", b"\n\n")


LAYOUTS = [
    (joined, "joins BEGIN and END lines"),
    (indented, "indents BEGIN or END"),
    (with_blank_lines, "a blank line within a block"),
    (lambda text: text.replace(b"\n", b"\r"), "CR alone"),
    (lambda text: b'"' + text.strip() + b'"\n', "holds more than BEGIN or END"),
    (lambda text: text.replace(b"\n", b"\\n"), r"written as \n"),
    (lambda text: text.replace(b"\n", b" "), "line ends became spaces"),
    (lambda text: text.decode().encode("utf-16"), "UTF-16"),
    (lambda text: text.decode().encode("utf-16-le"), "UTF-16"),
    (lambda text: text.decode().encode("utf-16-be"), "UTF-16"),
    (lambda text: text.decode().encode("utf-32"), "UTF-32"),
    (base64.b64encode, "base64 of PEM"),
    (base64.encodebytes, "base64 of PEM"),
    (base64.urlsafe_b64encode, "base64 of PEM"),
]


@pytest.mark.parametrize(("spoil", "words"), LAYOUTS)
def test_pem_that_openssl_does_not_read_is_shown_with_its_fault(
    inspect: Inspector, scene: Scene, spoil: Callable[[bytes], bytes], words: str
) -> None:
    data = spoil(scene.ca.leaf().chain_pem)
    objects = inspect("chain.pem", data)
    assert kinds(objects) == ["certificate", "CA certificate"]
    assert words in bad_flags(objects[0])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with pytest.raises(ssl.SSLError):
        context.load_verify_locations(scene.home / "chain.pem")


def test_a_byte_order_mark_is_flagged_before_gos_and_grpcs_first_block_is_lost(
    inspect: Inspector, scene: Scene
) -> None:
    objects = inspect("chain.pem", b"\xef\xbb\xbf" + scene.ca.leaf().chain_pem)
    assert len(objects) == 2
    assert "byte order mark" in bad_flags(objects[0])


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda text: text,
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: text.rstrip(b"\n"),
        lambda text: text.replace(b"\n", b"   \n"),
        lambda text: text + b"\n\n",
    ],
)
def test_pem_that_everybody_reads_has_no_fault(
    inspect: Inspector, scene: Scene, rewrite: Callable[[bytes], bytes]
) -> None:
    objects = inspect("chain.pem", rewrite(scene.ca.leaf().chain_pem))
    assert len(objects) == 2
    assert not bad_flags(objects[0])


def test_text_around_the_blocks_is_noted(inspect: Inspector, scene: Scene) -> None:
    objects = inspect("chain.pem", b"subject=CN=x\n" + scene.ca.leaf().chain_pem)
    assert "text outside the blocks, first in line 1" in flags(objects[0])


def test_labels_and_dashes_that_others_do_not_know_are_told(
    inspect: Inspector, scene: Scene
) -> None:
    text = scene.ca.leaf().chain_pem
    for label in (b"X509 CERTIFICATE", b"TRUSTED CERTIFICATE"):
        objects = inspect("chain.pem", text.replace(b"CERTIFICATE", label))
        assert label.decode() in flags(objects[0])
    dashes = text.decode().replace("-----", "\u2013" * 5).encode()
    (item,) = inspect("chain.pem", dashes)
    assert item["kind"] == "PEM whose BEGIN lines are damaged"
    assert "hyphens" in item["remedy"]


def test_one_block_that_is_damaged_does_not_hide_the_others(
    inspect: Inspector, scene: Scene
) -> None:
    bad = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    odd = b"-----BEGIN THING-----\nAAAA\n-----END THING-----\n"
    objects = inspect("chain.pem", bad + odd + scene.ca.leaf().chain_pem)
    assert kinds(objects) == ["unreadable", "unreadable", "certificate", "CA certificate"]


# Keys in each form


@pytest.mark.parametrize(
    ("form", "name"), [(PrivateFormat.TraditionalOpenSSL, "SEC1"), (PrivateFormat.PKCS8, "PKCS#8")]
)
def test_the_form_of_a_key_is_told(
    inspect: Inspector, scene: Scene, form: PrivateFormat, name: str
) -> None:
    data = scene.ca.leaf().key.private_bytes(Encoding.PEM, form, NoEncryption())
    (item,) = inspect("key.pem", data)
    assert item["form"] == name
    assert ("openssl pkcs8 -topk8" in item.get("remedy", "")) == (name == "SEC1")


def test_a_key_after_its_curves_parameters_is_shown(inspect: Inspector) -> None:
    data = subprocess.run(
        ["openssl", "ecparam", "-name", "prime256v1", "-genkey"], capture_output=True, check=True
    ).stdout
    assert b"BEGIN EC PARAMETERS" in data
    objects = inspect("key.pem", data)
    assert kinds(objects) == ["EC parameters", "private key (not shown)"]
    assert "noout" in objects[0]["remedy"]


def test_a_key_in_opensshs_form_says_how_to_convert_it(inspect: Inspector, scene: Scene) -> None:
    data = scene.ca.leaf().key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    (item,) = inspect("id", data)
    assert "no TLS library reads" in flags(item)
    assert "ssh-keygen" in item["remedy"]
    public = scene.ca.leaf().key.public_key()
    (item,) = inspect("id.pub", public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
    assert item["kind"] == "public key"
    assert "no TLS library reads" in flags(item)


def test_only_so_many_keys_of_a_file_are_opened(inspect: Inspector, scene: Scene) -> None:
    one = scene.ca.leaf().key_pem
    objects = inspect("keys.pem", one * (MOST_OPENED + 3))
    assert kinds(objects).count("private key (not shown)") == MOST_OPENED
    assert "not opened" in flags(objects[-1])


# DER, requests and stores


def test_der_says_how_to_write_it_as_pem(inspect: Inspector, scene: Scene) -> None:
    made = scene.ca.leaf()
    whole = {
        "certificate": made.chain[0].public_bytes(Encoding.DER),
        "CA certificate": scene.ca.root.public_bytes(Encoding.DER),
        "private key (not shown)": made.key.private_bytes(
            Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
        ),
    }
    for kind, data in whole.items():
        (item,) = inspect("file.der", data)
        assert item["kind"] == kind
        assert "in DER" in flags(item)
        assert "-inform DER" in item["remedy"]
        done = subprocess.run(
            item["remedy"].partition(": ")[2].replace("FILE", str(scene.home / "file.der")).split(),
            capture_output=True,
            check=True,
        )
        assert b"-----BEGIN " in done.stdout


def test_base64_of_der_is_told(inspect: Inspector, scene: Scene) -> None:
    data = base64.b64encode(scene.ca.root.public_bytes(Encoding.DER))
    (item,) = inspect("ca.txt", data)
    assert "base64 of DER" in bad_flags(item)


def test_a_request_is_told_from_a_certificate(inspect: Inspector, scene: Scene) -> None:
    key = scene.home / "key.pem"
    key.write_bytes(scene.ca.leaf().key_pem)
    data = subprocess.run(
        ["openssl", "req", "-new", "-key", key, "-subj", "/CN=a"], capture_output=True, check=True
    ).stdout
    (item,) = inspect("tls.crt", data)
    assert "no certificate: a CA must sign it" in flags(item)


@pytest.mark.parametrize("word", ["", "open"])
def test_a_store_that_openssl_3_refuses_is_told(
    inspect: Inspector, scene: Scene, word: str
) -> None:
    made = scene.ca.leaf()
    (scene.home / "key.pem").write_bytes(made.key_pem)
    (scene.home / "chain.pem").write_bytes(made.chain_pem)
    store = scene.home / "old.p12"
    command: list[str | Path] = [
        "openssl",
        "pkcs12",
        "-export",
        "-legacy",
        "-certpbe",
        "PBE-SHA1-RC2-40",
    ]
    files: list[str | Path] = [
        "-inkey",
        scene.home / "key.pem",
        "-in",
        scene.home / "chain.pem",
        "-out",
        store,
    ]
    subprocess.run([*command, *files, "-passout", f"pass:{word}"], check=True, timeout=60)
    objects = inspect("store.p12", store.read_bytes())
    assert "RC2-40, which OpenSSL 3 refuses" in flags(objects[0])
    assert "-legacy" in objects[0]["remedy"]


def test_a_store_in_new_encryption_is_not_told_as_old(inspect: Inspector, scene: Scene) -> None:
    made = scene.ca.leaf()
    data = pkcs12.serialize_key_and_certificates(
        b"name", made.key, made.chain[0], None, BestAvailableEncryption(b"open")
    )
    (item,) = inspect("store.p12", data)
    assert "OpenSSL 3" not in flags(item)


@pytest.mark.skipif(shutil.which("keytool") is None, reason="there is no Java")
def test_a_keystore_that_keytool_wrote_is_told(inspect: Inspector, scene: Scene) -> None:
    (scene.home / "ca.pem").write_bytes(pem([scene.ca.root]))
    store = scene.home / "store.jks"
    options = ["-noprompt", "-storetype", "JKS", "-storepass", "changeit", "-alias", "ca"]
    subprocess.run(
        ["keytool", "-importcert", "-keystore", store, "-file", scene.home / "ca.pem", *options],
        check=True,
        capture_output=True,
        timeout=60,
    )
    (item,) = inspect("trust.jks", store.read_bytes())
    assert (item["kind"], item["entries"]) == ("Java keystore (JKS)", 1)
