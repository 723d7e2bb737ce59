"""``handfast inspect`` flags what OpenSSL refuses only when it is strict."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from tests.interop.inspected import Inspector, flags
from tests.interop.seeds import HOUR, ca_usage, leaf_usage, named, pem

ROOT_KEY = ec.generate_private_key(ec.SECP256R1())
LEAF_KEY = ec.generate_private_key(ec.SECP256R1())
SAN = x509.SubjectAlternativeName([x509.DNSName("a.test")])
CA = x509.BasicConstraints(ca=True, path_length=None)
ROOT_SKI = x509.SubjectKeyIdentifier.from_public_key(ROOT_KEY.public_key())
SKI = x509.SubjectKeyIdentifier.from_public_key(LEAF_KEY.public_key())
AKI = x509.AuthorityKeyIdentifier.from_issuer_public_key(ROOT_KEY.public_key())

Extensions = list[tuple[x509.ExtensionType, bool]]
ROOT: Extensions = [(CA, True), (ca_usage(), True), (ROOT_SKI, False)]
LEAF: Extensions = [(SAN, False), (leaf_usage(), True), (SKI, False), (AKI, False)]


def signed(subject: x509.Name, key: Any, extensions: Extensions) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(named("root"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - HOUR)
        .not_valid_after(now + timedelta(days=1))
    )
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    return builder.sign(ROOT_KEY, hashes.SHA256())


def without(extensions: Extensions, kind: type[x509.ExtensionType]) -> Extensions:
    return [item for item in extensions if not isinstance(item[0], kind)]


@pytest.fixture
def inspect(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Inspector:
    return Inspector(tmp_path, capsys)


def openssl_accepts(folder: Path, *options: str) -> bool:
    files = [f"{folder}/root.pem", f"{folder}/leaf.pem"]
    command = ["openssl", "verify", *options, "-CAfile", *files]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("made", "fault"),
    [
        ((ROOT, LEAF, named("leaf")), ""),
        ((ROOT, without(LEAF, x509.AuthorityKeyIdentifier), named("leaf")), "no authority key"),
        ((without(ROOT, x509.KeyUsage), LEAF, named("leaf")), "CA without key usage"),
        ((without(ROOT, x509.SubjectKeyIdentifier), LEAF, named("leaf")), "without subject key"),
        (([(CA, False), *ROOT[1:]], LEAF, named("leaf")), "constraints are not critical"),
        ((ROOT, LEAF, x509.Name([])), "empty subject"),
        ((ROOT, [(SAN, True), *LEAF[1:]], x509.Name([])), ""),
    ],
)
def test_inspect_flags_what_openssl_refuses_when_it_is_strict(
    inspect: Inspector, tmp_path: Path, made: tuple[Extensions, Extensions, x509.Name], fault: str
) -> None:
    root, leaf, subject = made
    roots = inspect("root.pem", pem([signed(named("root"), ROOT_KEY, root)]))
    leaves = inspect("leaf.pem", pem([signed(subject, LEAF_KEY, leaf)]))
    assert openssl_accepts(tmp_path)
    assert openssl_accepts(tmp_path, "-x509_strict") == (not fault)
    text = flags(roots[0]) + flags(leaves[0])
    assert ("strict verifiers" in text) == bool(fault)
    assert fault in text
