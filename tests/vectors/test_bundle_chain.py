"""The recorded chain of trust bundles, read here and by a reader that shares nothing with it."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pki.x509.bundle_chain import SignedBundle, follow
from tests.support import NOW, SHOP

FOLDER = Path(__file__).parent / "bundle_chain"
RECORDED = [(FOLDER / f"{number}.json").read_bytes() for number in (1, 2, 3)]


def test_the_recorded_chain_is_followed() -> None:
    first, *later = map(SignedBundle.read, RECORDED)
    newest = follow(first, later, now=NOW)
    assert (newest.number, newest.content.trust_domain) == (3, SHOP)
    assert newest.content.audit_key == bytes(range(32))
    assert [item.encode() for item in (first, *later)] == RECORDED


def parsed(data: bytes) -> tuple[bytes, dict[str, Any], dict[str, bytes]]:
    """Parse a bundle by the page alone: its content, that as JSON, and its signatures by key."""
    bundle = json.loads(data)
    content = base64.b64decode(bundle["content"])
    signatures = {item["key"]: base64.b64decode(item["signature"]) for item in bundle["signatures"]}
    return content, json.loads(content), signatures


@pytest.mark.parametrize("number", [1, 2, 3])
def test_openssl_finds_the_signatures_where_the_page_says(tmp_path: Path, number: int) -> None:
    openssl = shutil.which("openssl")
    assert openssl is not None
    content, members, signatures = parsed(RECORDED[number - 1])
    assert members["number"] == number
    if number > 1:
        before = hashlib.sha256(parsed(RECORDED[number - 2])[0]).digest()
        assert base64.b64decode(members["previous"]) == before
    (tmp_path / "statement").write_bytes(b"handfast trust bundle v1\0" + content)
    verified = 0
    for root in members["roots"]:
        certificate = x509.load_der_x509_certificate(base64.b64decode(root))
        key = certificate.public_key()
        spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        signature = signatures.get(hashlib.sha256(spki).hexdigest())
        if signature is None:
            continue
        (tmp_path / "key.pem").write_bytes(
            key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
        (tmp_path / "signature").write_bytes(signature)
        kind = (
            ["-rawin"]
            if "ED25519" in type(key).__name__.upper()
            else ["-rawin", "-digest", "sha256"]
        )
        subprocess.run(
            [
                openssl,
                "pkeyutl",
                "-verify",
                "-pubin",
                "-inkey",
                "key.pem",
                "-sigfile",
                "signature",
                "-in",
                "statement",
                *kind,
            ],
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )
        verified += 1
    assert verified == (2 if number == 2 else 1)
