"""What is wrong with the files of a credential directory; no fault hides another."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from pki.diagnosis.checks.certificates.issuer_path import is_self_issued, quote_name
from pki.diagnosis.checks.key_proof import LEAF_FIRST, move_leaf_to_front
from pki.diagnosis.checks.own_credential import OwnCredential
from pki.diagnosis.observe.credential_files import (
    MAX_KEY_AND_CHAIN_BYTES,
    CredentialFile,
    CredentialFiles,
)
from pki.diagnosis.report import Finding, failed, symptom, unknown, warning
from pki.errors import KeyRefusedError, PkiError, StateError, quote_untrusted
from pki.keys import PrivateKey, PublicKey
from pki.keys.encoding import decode_private_key, is_private_key_block
from pki.pem import PemBlock, read_blocks
from pki.x509 import CrlSet
from pki.x509.decoding import UNREADABLE
from pki.x509.readers import (
    MAX_BUNDLE_BYTES,
    MAX_BUNDLE_LENGTH,
    MAX_CHAIN_LENGTH,
    decode_certificate,
    read_certificates,
)

_CERTIFICATE, _CHAIN, _KEY = "our certificate", "our certificate: chain", "our key"
_BUNDLE, _CRLS = "our bundle", "our revocation lists"
_OTHERS = 0o077
_ENCRYPTED = "ENCRYPTED PRIVATE KEY"

_Value = TypeVar("_Value")


def examine_credential_files(files: CredentialFiles) -> OwnCredential:
    """Return the credential in the files, with a finding for each part that can't be used."""
    findings: list[Finding] = []

    def parse(check: str, parser: Callable[[], _Value], default: _Value) -> _Value:
        try:
            return parser()
        except FileNotFoundError as error:
            message = f"{quote_untrusted(error.filename)} is not there"
        except PkiError as error:
            message = error.message
        findings.append(failed(check, "incomplete-files", message))
        return default

    no_certificates: tuple[x509.Certificate, ...] = ()
    chain = parse(_CERTIFICATE, lambda: _parse_chain(files), no_certificates)
    key = parse(_KEY, lambda: _parse_key(files.key, chain, findings), None)
    if any(item.failure == "chain-order" for item in findings):
        # What else is wrong, the certificate that was meant shows.
        chain = move_leaf_to_front(chain)
    roots = parse(_BUNDLE, lambda: _parse_roots(files.bundle), no_certificates)
    findings += _examine_roots(roots)
    crls = None
    if isinstance(files.crls.error, FileNotFoundError):
        findings.append(
            warning(
                _CRLS,
                "no-crl",
                f"there is no {files.layout.crls}: handfast's runtime refuses to start without one",
                remedy="Bring one (handfast renew DIR), or set revocation to when-present: "
                'Workload.from_directory(DIR, revocation="when-present")',
            )
        )
    else:
        crls = parse(_CRLS, lambda: CrlSet.read(files.crls.content()), None)
    return OwnCredential(chain, key, roots, crls, tuple(findings))


def _parse_chain(files: CredentialFiles) -> tuple[x509.Certificate, ...]:
    blocks = _blocks(files.chain)
    if files.layout.chain is None:
        blocks = blocks[1:]
    chain = tuple(
        decode_certificate(block.der, what=files.chain.path.name)
        for block in blocks[:MAX_CHAIN_LENGTH]
        if block.label == "CERTIFICATE"
    )
    if not chain:
        raise StateError(f"{quote_untrusted(files.chain.path)} holds no certificate")
    return chain


def _parse_key(
    file: CredentialFile, chain: tuple[x509.Certificate, ...], findings: list[Finding]
) -> PrivateKey | None:
    blocks = [item for item in _blocks(file) if is_private_key_block(item)]
    path = quote_untrusted(file.path)
    if file.mode & _OTHERS:
        findings.append(
            warning(
                _KEY,
                "key-permissions",
                f"{path} has mode {file.mode:04o}: others may read it, and the runtime refuses it",
                remedy="chmod 600, or set key_mode to warn for a volume of secrets",
            )
        )
    if not blocks:
        findings.append(failed(_KEY, "incomplete-files", f"{path} holds no private key"))
        return None
    if blocks[0].label == _ENCRYPTED:
        findings.append(unknown(_KEY, f"{path} is encrypted: it can't be used here"))
        return None
    try:
        public_key = chain[0].public_key() if chain else None
    except (*UNREADABLE, UnsupportedAlgorithm):
        public_key = None
    try:
        key = decode_private_key(blocks[0])
    except KeyRefusedError:
        if public_key is None or isinstance(public_key, PublicKey):
            raise
        findings.append(
            symptom(_KEY, "is of a kind that is not supported, as the certificate's is")
        )
        return None
    if public_key is None or key.public_key() == public_key:
        return key
    if move_leaf_to_front(chain)[0].public_key() == key.public_key():
        message = (
            f"the leaf does not come first, but {quote_name(chain[0].subject)}, a CA: the key "
            "belongs to the leaf, so no program can use the two together"
        )
        findings.append(failed(_CHAIN, "chain-order", message, remedy=LEAF_FIRST))
        return None
    findings.append(failed(_KEY, "key-mismatch", f"{path} holds the key of another certificate"))
    return None


def _parse_roots(file: CredentialFile) -> tuple[x509.Certificate, ...]:
    return read_certificates(
        file.content(),
        what=file.path.name,
        max_bytes=MAX_BUNDLE_BYTES,
        max_count=MAX_BUNDLE_LENGTH,
    )


def _examine_roots(bundle: tuple[x509.Certificate, ...]) -> list[Finding]:
    others = [item for item in bundle if not is_self_issued(item)]
    if not others:
        return []
    return [
        warning(
            _BUNDLE,
            "incomplete-files",
            f"{quote_name(others[0].subject)} in it is no root: gRPC accepts it as one, handfast "
            "refuses the whole bundle",
            remedy="Leave only roots in the bundle; intermediate CAs belong in chain.pem",
        )
    ]


def _blocks(file: CredentialFile) -> tuple[PemBlock, ...]:
    return read_blocks(file.content(), what=file.path.name, max_bytes=MAX_KEY_AND_CHAIN_BYTES)
