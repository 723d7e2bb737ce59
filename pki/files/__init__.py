"""Files: written so that nobody sees half of one, and credential directories in every layout."""

from pki.files.atomic import read_bounded, remove_durably, write_durably
from pki.files.contents import Contents, read_contents
from pki.files.layouts import HANDFAST, LAYOUTS, Layout, detect_layout, find_layout
from pki.files.lock import locked
from pki.files.parts import KeyMode
from pki.files.reader import LoadedCredential, load_credential, load_crls
from pki.files.writer import pending_key, save_credential, save_trust, writing

__all__ = [
    "HANDFAST",
    "LAYOUTS",
    "Contents",
    "KeyMode",
    "Layout",
    "LoadedCredential",
    "detect_layout",
    "find_layout",
    "load_credential",
    "load_crls",
    "locked",
    "pending_key",
    "read_bounded",
    "read_contents",
    "remove_durably",
    "save_credential",
    "save_trust",
    "write_durably",
    "writing",
]
