"""Certificates that are planned before they are signed, because a signature can't be taken back.

An external signer gets nothing to sign but what was planned: the certificate is first built and
checked with an empty signature, which yields the bytes that will be signed, and their hash is
recorded. The same bytes are then built again for the signature, and any other are refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from pki.authority.signers.errors import SignerError
from pki.authority.signers.signer import ExternalSigner, Signer
from pki.keys import PrivateKey, delegated_key
from pki.x509.profiles.builder import random_serial

Build = Callable[[PrivateKey, int | None], x509.Certificate]
"""Builds and checks a certificate with the issuer's key and a serial number, or a random one."""


@dataclass(frozen=True, slots=True)
class PlannedCertificate:
    """A certificate that is about to be signed.

    Args:
        signer: signs it.
        serial: its serial number; None if the signer is in this process, and it is chosen later.
        build: builds it.
        unsigned: the certificate with an empty signature; None if the signer is in this process.
    """

    signer: Signer
    serial: int | None
    build: Build
    unsigned: x509.Certificate | None

    @classmethod
    def plan(cls, signer: Signer, build: Build) -> PlannedCertificate:
        """For an external signer, choose a serial number, and build what will be signed.

        Raises:
            CertificateError: if the certificate would break a rule of its profile.
        """
        if not isinstance(signer, ExternalSigner):
            return cls(signer, None, build, None)
        serial = random_serial()
        key = delegated_key(signer.key.public_key(), lambda _data, _algorithm: b"")
        return cls(signer, serial, build, build(key, serial))

    @property
    def tbs_sha256(self) -> str:
        """The hash of what an external signer will sign (SHA-256 of the TBSCertificate, in hex)."""
        assert self.unsigned is not None
        return hashlib.sha256(self.unsigned.tbs_certificate_bytes).hexdigest()

    def sign(self) -> x509.Certificate:
        """Return the signed certificate.

        Raises:
            SignerError: if an external signer does not sign, or something else than planned would
                be signed.
        """
        signer = self.signer
        if not isinstance(signer, ExternalSigner):
            return self.build(signer.key, self.serial)

        def sign_planned(data: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
            if hashlib.sha256(data).hexdigest() != self.tbs_sha256:
                raise SignerError(f"certificate {self.serial:x} is not the one that was planned")
            return signer.sign(data, algorithm)

        return self.build(delegated_key(signer.key.public_key(), sign_planned), self.serial)
