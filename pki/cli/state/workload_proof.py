"""Makes sure that a directory's certificate is the one that its directory is meant to hold.

A chain is public: whoever can write in a directory can put another workload's chain there. The key
beside it proves that it belongs there. Where the key is elsewhere (``issue --csr``), only root or
the user of this process may be able to change the directory; else the workload has to be named.
"""

from __future__ import annotations

import os
from pathlib import Path

from pki.authority import CertificateRecord
from pki.errors import CredentialError, PkiError, quote_untrusted
from pki.files import PartialCredential
from pki.files.access import distrust_reason
from pki.files.open_folder import opened_folder
from pki.files.safe_path import ROOT
from pki.identity import SpiffeId


def check_workload(
    contents: PartialCredential, record: CertificateRecord, name: SpiffeId | None, *, remedy: str
) -> None:
    """Check that a directory is that of a certificate's workload.

    Args:
        contents: the directory.
        record: the certificate that lies in it.
        name: the workload that the user named; None if they named none.
        remedy: what to do where the workload has to be named.

    Raises:
        CredentialError: if another workload was named, or nothing proves which is meant.
    """
    if name is not None and str(name) != record.spiffe_id:
        raise CredentialError(
            f"{quote_untrusted(contents.directory)} holds a certificate of {record.spiffe_id}, "
            f"and {name} is named",
            remedy="Ask who put it there, and issue a new one elsewhere",
        )
    if name is not None or contents.leaf_key is not None or contents.leaf is None:
        return
    reason = _who_can_change(contents)
    if reason:
        raise CredentialError(
            f"{quote_untrusted(contents.directory)} holds a certificate of {record.spiffe_id} "
            f"without its key, and somebody else may have put it there: {reason}",
            remedy=remedy,
        )


def is_proved(contents: PartialCredential, record: CertificateRecord) -> bool:
    """Return whether a directory is surely that of its certificate's workload.

    Whoever puts another workload's chain into a directory of theirs does not make the CA believe
    that this workload has the newest trust bundle.
    """
    try:
        check_workload(contents, record, None, remedy="")
    except PkiError:
        return False
    return True


def _who_can_change(contents: PartialCredential) -> str:
    """Return why another user could have put a chain into a directory; empty if none could."""
    mine = frozenset({ROOT, os.geteuid()})
    try:
        with opened_folder(contents.directory) as folder:
            statuses = {str(contents.directory): folder.status()}
            name = contents.layout.chain or contents.layout.key
            status = folder.status_of(name)
            if status is not None:
                statuses[name] = status
        for parent in Path(os.path.realpath(contents.directory)).parents:
            statuses[str(parent)] = os.stat(parent)
    except (PkiError, OSError) as error:
        return f"it can't be checked who can change it ({quote_untrusted(error)})"
    for path, status in statuses.items():
        reason = distrust_reason(status, mine)
        if reason:
            return f"{quote_untrusted(path)} {reason}"
    return ""
