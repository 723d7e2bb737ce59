"""Files: written so that nobody sees half of one, and credential directories in every layout."""

from pki.files.atomic import read_bounded, remove_durably, write_durably
from pki.files.layouts import HANDFAST, LAYOUTS, Layout, detect_layout
from pki.files.reader import KeyMode, LoadedCredential, load_credential, load_lists
from pki.files.writer import pending_key, save_credential, save_trust

__all__ = [
    "HANDFAST",
    "LAYOUTS",
    "KeyMode",
    "Layout",
    "LoadedCredential",
    "detect_layout",
    "load_credential",
    "load_lists",
    "pending_key",
    "read_bounded",
    "remove_durably",
    "save_credential",
    "save_trust",
    "write_durably",
]
