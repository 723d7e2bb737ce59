"""Reads a credential directory, and finds what is wrong with its files."""

from __future__ import annotations

from pathlib import Path

from pki.diagnosis.checks.credential_files import examine_credential_files
from pki.diagnosis.checks.own_credential import OwnCredential
from pki.diagnosis.observe.credential_files import read_credential_files


def read_own_credential(directory: Path) -> OwnCredential:
    """Read a credential directory in any layout.

    Raises:
        CredentialError: if it holds no credential at all.
    """
    return examine_credential_files(read_credential_files(directory))
