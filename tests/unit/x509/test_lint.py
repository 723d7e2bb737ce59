"""pkilint's PKIX lint on everything that is built: its findings are those in the docs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from pkilint import loader, pkix, validation
from pkilint.pkix import certificate, crl, extension, name

from pki.identity import DnsName
from pki.keys import KeyType, generate_key
from pki.x509 import CLIENT, SERVER, NameLimits
from tests.support import SHOP, Hierarchy, sign_unchecked

DOCS = Path(__file__).resolve().parents[3] / "docs" / "profiles.md"
TROUBLE = {
    validation.ValidationFindingSeverity.WARNING,
    validation.ValidationFindingSeverity.ERROR,
    validation.ValidationFindingSeverity.FATAL,
}
Finding = tuple[str, str, str]
"""A finding: its code, the kind of certificate, and its text."""

CERTIFICATES = certificate.create_pkix_certificate_validator_container(
    certificate.create_decoding_validators(
        name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS
    ),
    [
        certificate.create_issuer_validator_container([]),
        certificate.create_validity_validator_container(),
        certificate.create_subject_validator_container([]),
        certificate.create_extensions_validator_container([]),
        certificate.create_spki_validator_container([]),
    ],
)
CRLS = crl.create_pkix_crl_validator_container(
    [
        pkix.create_attribute_decoder(name.ATTRIBUTE_TYPE_MAPPINGS),
        pkix.create_extension_decoder(extension.EXTENSION_MAPPINGS),
    ],
    [
        crl.create_issuer_validator_container([]),
        crl.create_validity_validator_container([]),
        crl.create_extensions_validator_container([]),
    ],
)


made = cache(generate_key)  # an RSA key takes a second


@cache
def explained() -> dict[Finding, str]:
    """Read the table in the docs: (finding, kind, on what) and the reason."""
    rows = re.findall(
        r"^\| (pkix\.\w+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", DOCS.read_text(), re.MULTILINE
    )
    return {
        (code, kind.strip(), on.strip()): why
        for code, kinds, on, why in rows
        for kind in kinds.split(",")
    }


def troubles(
    kind: str, signed: x509.Certificate | x509.CertificateRevocationList
) -> Iterator[Finding]:
    der = signed.public_bytes(serialization.Encoding.DER)
    if isinstance(signed, x509.Certificate):
        document = loader.RFC5280CertificateDocumentLoader().load_document(der, kind)
        results = CERTIFICATES.validate(document.root)
    else:
        document = loader.RFC5280CertificateListDocumentLoader().load_document(der, kind)
        results = CRLS.validate(document.root)
    for result in results:
        for found in result.finding_descriptions:
            if found.finding.severity in TROUBLE:
                yield found.finding.code, kind, found.message or ""


def explanation(found: Finding) -> Finding | None:
    code, kind, words = found
    for row in explained():
        if row[:2] == (code, kind) and row[2] in words:
            return row
    return None


def everything(kind: KeyType) -> Iterator[tuple[str, x509.Certificate]]:
    plain = Hierarchy(root_key=made(kind), issuing_key=made(kind))
    wide = Hierarchy(
        limits=NameLimits(
            SHOP, (DnsName("localhost"), DnsName("svc.cluster.local")), (ip_network("10.0.0.0/8"),)
        ),
        root_key=plain.root_key,
        issuing_key=plain.issuing_key,
    )
    if kind is not KeyType.ED25519:  # no leaf has one
        plain.key = made(kind)
    yield "root", plain.root
    yield "issuing", plain.issuing
    yield "issuing", wide.issuing
    for path in ("orders", "prod/orders", "orders.v1", "a" * 70):
        yield "workload", plain.leaf(path)
    yield "server", plain.leaf(profile=SERVER)
    yield "client", plain.leaf(profile=CLIENT)


def all_findings(kinds: Iterable[KeyType]) -> Iterator[Finding]:
    for kind in kinds:
        for what, built in everything(kind):
            yield from troubles(what, built)


@pytest.mark.parametrize("kind", list(KeyType))
def test_every_certificate_passes_but_for_what_is_explained(kind: KeyType) -> None:
    assert [found for found in all_findings([kind]) if explanation(found) is None] == []


@pytest.mark.parametrize("kind", list(KeyType))
def test_every_list_passes(kind: KeyType) -> None:
    h = Hierarchy(root_key=made(kind), issuing_key=made(kind))
    crls = h.crls([h.leaf(), h.leaf()], root_revoked=[h.issuing])
    found = [item for built in crls.crls.values() for item in troubles("list", built.crl)]
    assert found == []


def test_each_explanation_is_needed() -> None:
    needed = {explanation(found) for found in all_findings([KeyType.ECDSA_P256])}
    assert set(explained()) == needed
    assert needed


def test_the_lint_finds_what_is_wrong() -> None:
    h = Hierarchy()
    bad = sign_unchecked(h, [(x509.BasicConstraints(ca=True, path_length=None), False)])
    assert list(troubles("workload", bad))
