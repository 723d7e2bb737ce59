"""A CRL that was signed with a leaked CA key, with a number that no other can follow."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pki.errors import StateError
from pki.x509 import CrlSet
from tests.support import Clock, make_authority


def test_it_is_told_and_once_its_ca_is_distrusted_it_holds_up_nothing(tmp_path: Path) -> None:
    clock = Clock()
    with make_authority(tmp_path, clock) as ca:
        issuing = ca.issuers()[1]
        path = tmp_path / "ca" / f"issuing-{issuing.key_id}.key.pem"
        key = serialization.load_pem_private_key(path.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
        crl = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(issuing.certificate.subject)
            .last_update(clock())
            .next_update(clock() + timedelta(days=1))
            .add_extension(identifier, critical=False)
            .add_extension(x509.CRLNumber(1 << 62), critical=False)
            .sign(key, hashes.SHA256())
        )
        crls = CrlSet.read(crl.public_bytes(serialization.Encoding.PEM))
        with pytest.raises(StateError, match="somebody else signs with its key"):
            ca.import_crls(crls)
        ca.distrust(issuing.key_id)
        assert not ca.import_crls(crls)
