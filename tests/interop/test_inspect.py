"""What ``handfast inspect`` shows of anybody's objects: good, bad, broken and hostile ones."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cryptography
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    pkcs12,
)

from pki.cli.app import run
from pki.errors import CertificateError
from pki.inspection import describe
from tests.interop.seeds import HOUR, Ca, Made, Scene, names_of, pem, scene_in

Told = Callable[..., tuple[int, str, str]]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with scene_in(tmp_path) as made:
        yield made


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Told:
    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(["inspect", *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def objects(told: Told, *arguments: object) -> list[dict[str, Any]]:
    code, out, err = told(*arguments, "--json")
    assert code == 0, err
    found: list[dict[str, Any]] = json.loads(out)["objects"]
    return found


def flags(item: dict[str, Any]) -> str:
    return "; ".join(flag["message"] for flag in item["flags"])


def written(scene: Scene, name: str, data: bytes) -> Path:
    path = scene.home / name
    path.write_bytes(data)
    return path


def flags_of_leaf(told: Told, scene: Scene, made: Made) -> str:
    return flags(objects(told, written(scene, "leaf.pem", made.chain_pem))[0])


# A directory, and what stands out when things lie together


def test_a_credential_directory_is_shown_whole(told: Told, scene: Scene) -> None:
    found = objects(told, scene.caller())
    assert [item["kind"] for item in found] == [
        "private key (not shown)",
        "certificate",
        "CA certificate",
        "CA certificate",
        "revocation list",
        "revocation list",
    ]
    assert "belongs to the certificate" in flags(found[0])
    assert found[1]["uris"] == ["spiffe://seed.internal/caller"]
    assert found[1]["extended_key_usage"] == ["server", "client"]


def test_the_tree_begins_with_who_until_when_for_what_by_whom(told: Told, scene: Scene) -> None:
    _, out, _ = told(written(scene, "chain.pem", scene.ca.leaf().chain_pem))
    labels = [line.strip("│├└─ ").split()[0] for line in out.splitlines()[2:]]
    wanted = ["URI", "subject", "until", "for", "issuer", "serial"]
    assert [labels.index(item) for item in wanted] == sorted(labels.index(item) for item in wanted)


def test_no_secret_is_shown(told: Told, scene: Scene) -> None:
    folder = scene.caller()
    secret = (folder / "key.pem").read_text().splitlines()[1]
    for how in ((), ("--text",), ("--json",)):
        _, out, _ = told(folder, *how)
        assert secret not in out


def test_a_key_of_another_certificate_stands_out(told: Told, scene: Scene) -> None:
    key = Made(ec.generate_private_key(ec.SECP256R1()), []).key_pem
    found = objects(told, scene.caller(key=key))
    assert "belongs to none of the certificates" in flags(found[0])


def test_a_key_that_others_may_read_stands_out(told: Told, scene: Scene) -> None:
    folder = scene.caller()
    (folder / "key.pem").chmod(0o644)
    assert "mode 0644" in flags(objects(told, folder)[0])


def test_a_leaf_that_the_list_beside_it_revokes_stands_out(told: Told, scene: Scene) -> None:
    made = scene.ca.leaf("caller")
    found = objects(told, scene.caller(made, crls=scene.ca.crls([made.chain[0]])))
    assert "revoked by the CRL beside it" in flags(found[1])


def test_a_forged_list_revokes_nobody(told: Told, scene: Scene) -> None:
    made = scene.ca.leaf("caller")
    forged = Ca().crls([made.chain[0]])
    found = objects(told, scene.caller(made, crls=forged))
    assert "named by a CRL that its issuer did not sign" in flags(found[1])


def test_a_file_that_is_broken_does_not_hide_the_others(told: Told, scene: Scene) -> None:
    folder = scene.caller()
    (folder / "bundle.pem").write_text("nothing of the kind")
    kinds = [item["kind"] for item in objects(told, folder)]
    assert "unreadable" in kinds
    assert "revocation list" in kinds


def test_a_chain_in_the_wrong_order_stands_out(told: Told, scene: Scene) -> None:
    made = scene.ca.leaf()
    upside = pem([scene.ca.issuing, made.chain[0]])
    assert "stands before the leaf" in flags(objects(told, written(scene, "c.pem", upside))[0])
    mixed = pem([made.chain[0], scene.ca.root, scene.ca.issuing])
    assert "out of order" in flags(objects(told, written(scene, "d.pem", mixed))[0])


# Certificates that are bad


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"begin": -2 * HOUR, "end": -HOUR}, "expired"),
        ({"begin": HOUR, "end": 2 * HOUR}, "valid only in"),
        ({"begin": -3 * HOUR}, "past half of its life"),
        ({"begin": timedelta(0)}, "expires in"),
        ({"names": []}, "no subject alternative name"),
        ({"usage": None}, "no extended key usage"),
        ({"names": [*names_of("a"), *names_of("b")]}, "more than one SPIFFE ID"),
        ({"names": [x509.RFC822Name("a@b.test")]}, "names that handfast refuses"),
    ],
)
def test_what_is_bad_about_a_leaf_stands_out(
    told: Told, scene: Scene, how: dict[str, Any], words: str
) -> None:
    assert words in flags_of_leaf(told, scene, scene.ca.leaf(**how))


def test_a_weak_key_stands_out(told: Told, scene: Scene) -> None:
    made = scene.ca.leaf(key=rsa.generate_private_key(65537, 1024))
    assert "RSA key of 1024 bits" in flags_of_leaf(told, scene, made)


def test_an_ed25519_leaf_is_shown(told: Told, scene: Scene) -> None:
    made = scene.ca.leaf(key=ed25519.Ed25519PrivateKey.generate())
    assert objects(told, written(scene, "leaf.pem", made.chain_pem))[0]["key_type"] == "Ed25519"


def test_a_certificate_with_many_names_shows_some_and_counts_the_rest(
    told: Told, scene: Scene
) -> None:
    made = scene.ca.leaf(names=[x509.DNSName(f"n{n}.test") for n in range(100)])
    path = written(scene, "leaf.pem", made.chain_pem)
    assert "and 80" in re.sub(r"[│├└─\s]+", " ", told(path)[1])
    assert len(objects(told, path)[0]["dns"]) == 100


@pytest.mark.parametrize(
    "name",
    ["a\0.evil.test", "\x1b[2J.test", "a\u202eb.test", "[bold]x[/bold].test", "ü.test"],
)
def test_hostile_names_are_shown_escaped(told: Told, scene: Scene, name: str) -> None:
    value = name.encode("utf-8").decode("latin-1")
    made = scene.ca.leaf(names=[x509.DNSName._init_without_validation(value)])
    path = written(scene, "leaf.pem", made.chain_pem)
    for how in ((), ("--text",), ("--json",)):
        code, out, _ = told(path, *how)
        assert code == 0
        assert all(item.isprintable() or item == "\n" for item in out)
        assert "\u202e" not in out


def subject_of(told: Told, scene: Scene, name: str) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    _, out, _ = told(written(scene, "a.csr", pem([made])))
    assert all(item.isprintable() or item == "\n" for item in out)
    return next(line for line in out.splitlines() if "subject" in line)


@pytest.mark.parametrize("name", ["Müller GmbH", "\u8bc1\u4e66", "Москва", "東京タワー", "हिन्दी"])
def test_honest_letters_of_any_language_are_shown(told: Told, scene: Scene, name: str) -> None:
    assert name in subject_of(told, scene, name)


@pytest.mark.parametrize(
    "name",
    [
        "a\u202eb",
        "a\u200bb",
        "a\u200db",
        "a\u3164b",
        "a\u115fb",
        "a\ufe0fb",
        "a\u00a0b",
        "p\u0430yments",  # a Cyrillic letter within a Latin word
        "\uff50\uff41\uff59",  # wide Latin letters
        "\u05d0\u05d1",  # turns the direction of what stands beside it
        "a\u0301\u0302\u0303b",
        "\U0001f512 secure",
        "\ue000",
    ],
)
def test_letters_that_can_pass_for_others_are_escaped(told: Told, scene: Scene, name: str) -> None:
    assert subject_of(told, scene, name).isascii() or "\\" in subject_of(told, scene, name)
    assert name not in subject_of(told, scene, name)


def test_letters_in_a_dns_name_or_uri_are_escaped(told: Told, scene: Scene) -> None:
    value = "ü.test".encode().decode("latin-1")
    made = scene.ca.leaf(names=[x509.DNSName._init_without_validation(value)])
    _, out, _ = told(written(scene, "leaf.pem", made.chain_pem))
    assert value not in out


def test_an_output_that_has_no_such_letters_gets_them_escaped(scene: Scene) -> None:
    path = written(scene, "Müller.pem", scene.ca.leaf().chain_pem)
    done = subprocess.run(
        [Path(sys.executable).with_name("handfast"), "inspect", path],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 0, done.stderr
    assert b"M\\xfcller" in done.stdout


def test_no_decoders_own_structures_are_shown(told: Told, scene: Scene) -> None:
    der = scene.ca.leaf().chain[0].public_bytes(Encoding.DER)
    seen = 0
    for at in range(4, len(der), 5):
        broken = der[:at] + bytes([der[at] ^ 0x7F]) + der[at + 1 :]
        path = written(scene, "broken.pem", _armoured(broken))
        for how in ((), ("--json",)):
            _, out, err = told(path, *how)
            assert "ParseError" not in out + err
            seen += "damaged" in out + err
    assert seen


def _armoured(der: bytes) -> bytes:
    body = base64.encodebytes(der)
    return b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n"


def test_text_shows_every_extension(told: Told, scene: Scene) -> None:
    _, out, _ = told(written(scene, "leaf.pem", scene.ca.leaf().chain_pem), "--text")
    for oid in ("2.5.29.19", "2.5.29.15", "2.5.29.37", "2.5.29.17", "2.5.29.14", "2.5.29.35"):
        assert oid in out


# Other objects


def test_a_request_that_others_made_is_shown(told: Told, scene: Scene) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    san = x509.SubjectAlternativeName([x509.DNSName("a.test"), x509.DNSName("b.test")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    made = builder.add_extension(san, critical=False).sign(key, hashes.SHA256())
    (found,) = objects(told, written(scene, "a.csr", pem([made])))
    assert (found["kind"], found["dns"]) == ("certificate request", ["a.test", "b.test"])
    assert "signed by its own key" in flags(found)


def test_a_list_that_is_stale_stands_out(told: Told, scene: Scene) -> None:
    made = [scene.ca.leaf().chain[0] for _ in range(3)]
    found = objects(told, written(scene, "crl.pem", scene.ca.crls(made, end=-HOUR)))
    assert "stale" in flags(found[1])
    assert found[1]["entries"] == 3


@pytest.mark.parametrize("word", [None, b"", b"open"])
def test_a_pkcs12_store_is_shown(told: Told, scene: Scene, word: bytes | None) -> None:
    made = scene.ca.leaf()
    encryption = BestAvailableEncryption(word) if word else NoEncryption()
    data = pkcs12.serialize_key_and_certificates(
        b"name", made.key, made.chain[0], made.chain[1:], encryption
    )
    path = written(scene, "store.p12", data)
    if word:
        (closed,) = objects(told, path)
        assert "needs a password" in flags(closed)
        wrong = written(scene, "wrong", b"shut\n")
        assert "does not open" in flags(objects(told, path, "--password-file", wrong)[0])
        right = written(scene, "right", word + b"\n")
        found = objects(told, path, "--password-file", right)
    else:
        found = objects(told, path)
    assert [item["kind"] for item in found] == [
        "private key (not shown)",
        "certificate",
        "CA certificate",
    ]


def test_an_encrypted_key_is_told_and_opened_with_its_password(told: Told, scene: Scene) -> None:
    data = scene.ca.leaf().key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open")
    )
    path = written(scene, "key.pem", data)
    assert objects(told, path)[0]["kind"] == "private key, encrypted"
    word = written(scene, "word", b"open\n")
    assert objects(told, path, "--password-file", word)[0]["key_type"] == "EC secp256r1"


def test_what_openssl_writes_is_shown(told: Told, scene: Scene) -> None:
    path = written(scene, "chain.pem", scene.ca.leaf().chain_pem)
    text = subprocess.run(
        ["openssl", "x509", "-in", path, "-text"], capture_output=True, check=True
    ).stdout
    assert objects(told, written(scene, "text.pem", text))[0]["kind"] == "certificate"
    p7 = subprocess.run(
        ["openssl", "crl2pkcs7", "-nocrl", "-certfile", path, "-outform", "DER"],
        capture_output=True,
        check=True,
    ).stdout
    assert len(objects(told, written(scene, "chain.p7b", p7))) == 2


def test_a_pem_store_of_pkcs7_shows_what_it_holds(told: Told, scene: Scene) -> None:
    path = written(scene, "chain.pem", scene.ca.leaf().chain_pem)
    p7 = subprocess.run(
        ["openssl", "crl2pkcs7", "-nocrl", "-certfile", path], capture_output=True, check=True
    ).stdout
    assert b"BEGIN PKCS7" in p7
    for label in (b"PKCS7", b"CMS", b"PKCS #7 SIGNED DATA"):
        found = objects(told, written(scene, "c.p7b", p7.replace(b"PKCS7", label)))
        assert [item["kind"] for item in found] == ["certificate", "CA certificate"]
    cut = p7[: len(p7) // 2] + b"\n-----END PKCS7-----\n"
    code, _, err = told(written(scene, "cut.p7b", cut))
    assert code == 1
    assert "cut.p7b" in err


def test_a_key_in_opensshs_format_is_shown_and_told_as_such(told: Told, scene: Scene) -> None:
    data = scene.ca.leaf().key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    (found,) = objects(told, written(scene, "id.key", data))
    assert found["key_type"] == "EC secp256r1"
    assert "OpenSSH's own format" in flags(found)


@pytest.mark.skipif(cryptography.__version__ < "47", reason="cryptography 44 calls it damaged")
@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="there is no ssh-keygen")
def test_an_encrypted_key_in_opensshs_format_is_told_as_such(told: Told, scene: Scene) -> None:
    path = scene.home / "id"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ecdsa", "-N", "opens it", "-f", path], check=True, timeout=60
    )
    assert objects(told, path)[0]["kind"] == "private key, encrypted"
    word = written(scene, "word", b"opens it\n")
    (found,) = objects(told, path, "--password-file", word)
    # What opens it is no part of handfast: without it that is said, and not that it is damaged.
    assert "bcrypt" in flags(found) or found["key_type"] == "EC secp256r1"


def test_a_damaged_key_is_told_with_its_file(told: Told, scene: Scene) -> None:
    for label in ("PRIVATE KEY", "OPENSSH PRIVATE KEY"):
        data = f"-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n".encode()
        code, _, err = told(written(scene, "broken.key", data))
        assert code == 1
        assert "broken.key" in err
        assert "damaged" in err


def test_a_public_key_is_shown(told: Told, scene: Scene) -> None:
    made = scene.ca.leaf()
    public = made.key.public_key()
    private = objects(told, written(scene, "key.pem", made.key_pem))[0]
    for encoding in (Encoding.PEM, Encoding.DER):
        data = public.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
        (found,) = objects(told, written(scene, "public", data))
        assert found["kind"] == "public key"
        assert found["key_sha256"] == private["key_sha256"]


def test_certificates_in_files_of_their_own_are_no_chain_in_the_wrong_order(
    told: Told, scene: Scene
) -> None:
    made = scene.ca.leaf()
    leaf = written(scene, "leaf.pem", pem([made.chain[0]]))
    root = written(scene, "root.pem", pem([scene.ca.root]))
    issuing = written(scene, "issuing.pem", pem([scene.ca.issuing]))
    for order in ([leaf, root, issuing], [issuing, leaf]):
        assert not any("order" in flags(item) for item in objects(told, *order))
        assert not any("before the leaf" in flags(item) for item in objects(told, *order))


def test_several_targets_and_standard_input(
    told: Told, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = written(scene, "a.pem", scene.ca.leaf().chain_pem)
    two = written(scene, "b.der", scene.ca.root.public_bytes(Encoding.DER))
    assert len(objects(told, one, two)) == 3

    class Piped(io.StringIO):
        buffer = io.BytesIO(one.read_bytes())

    monkeypatch.setattr(sys, "stdin", Piped())
    assert len(objects(told, "-")) == 2


# Servers


def test_a_server_shows_its_chain(told: Told, scene: Scene) -> None:
    target = scene.grpc_server()
    found = objects(told, target)
    assert [item["kind"] for item in found] == ["certificate", "CA certificate"]


def test_a_server_with_a_bad_certificate_shows_it_all_the_same(told: Told, scene: Scene) -> None:
    target = scene.openssl_server(scene.ca.leaf(begin=-2 * HOUR, end=-HOUR))
    assert "expired" in flags(objects(told, target)[0])


def test_a_server_that_shows_nothing_is_an_error(told: Told, scene: Scene) -> None:
    code, _, err = told(scene.plain_grpc_server())
    assert code == 1
    assert "handfast doctor" in err


# Input that is none


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "holds nothing"),
        (b"   \n", "holds nothing"),
        (b"hello", "none of the known kinds"),
        (b"\x30\x03\x02\x01\x03", "PKCS#12"),
        (b"\x30" * 5000, "none of the known kinds"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA", "cut off"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "can't be decoded"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "damaged"),
        (b"-----BEGIN THING-----\nAAAA\n-----END THING-----\n", "no kind known here"),
        (b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n" * 1001, "more than 1000"),
    ],
)
def test_what_is_none_of_the_kinds_is_refused_with_words(
    told: Told, scene: Scene, data: bytes, words: str
) -> None:
    code, out, err = told(written(scene, "odd", data))
    assert words in (err or out)
    assert code == (0 if "PKCS#12" in words else 1)


def test_no_bytes_raise_anything_but_a_typed_error() -> None:
    whole = Ca().leaf().chain[0].public_bytes(Encoding.DER)
    now = datetime.now(UTC)
    for at in range(0, len(whole), 7):
        broken = whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]
        try:
            describe(broken, source="broken", now=now)
        except CertificateError:
            continue


def test_what_is_not_there_or_no_file_is_refused(told: Told, scene: Scene) -> None:
    assert told(scene.home / "none.pem")[0] == 1
    assert told(scene.home)[0] == 1
    assert told("/dev/zero")[0] == 1
