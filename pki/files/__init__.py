"""Files: atomic and durable writes, and credential directories in every layout."""

from pki.files.atomic import read_bounded, remove_durably, write_durably
from pki.files.credential_files import KeyMode
from pki.files.layouts import (
    HANDFAST,
    LAYOUTS,
    Layout,
    awaits_first_certificate,
    detect_layout,
    find_layout,
)
from pki.files.lock import BusyFolderError, HeldLock, hold_lock, hurried, locked
from pki.files.partial_credential import PartialCredential, read_partial_credential
from pki.files.reader import LoadedCredential, load_credential, load_crls
from pki.files.writer import ensure_pending_key, save_credential, save_trust, writer_lock

__all__ = [
    "HANDFAST",
    "LAYOUTS",
    "BusyFolderError",
    "HeldLock",
    "KeyMode",
    "Layout",
    "LoadedCredential",
    "PartialCredential",
    "awaits_first_certificate",
    "detect_layout",
    "ensure_pending_key",
    "find_layout",
    "hold_lock",
    "hurried",
    "load_credential",
    "load_crls",
    "locked",
    "read_bounded",
    "read_partial_credential",
    "remove_durably",
    "save_credential",
    "save_trust",
    "write_durably",
    "writer_lock",
]
