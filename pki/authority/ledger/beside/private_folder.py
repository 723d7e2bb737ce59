"""Folders of the CA, which only its user may enter."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from pki.errors import StateError, quote_untrusted
from pki.files.access import check_folder_status
from pki.files.atomic import make_folder
from pki.files.open_folder import opened_folder


def make_private_folder(path: Path) -> None:
    """Make a folder with mode 0700, and those above it, if they are not there.

    Raises:
        StateError: if it can't be made, or another user can change it.
    """
    # Not given to the owner of the folder above: the CA's folders belong to who makes the CA.
    make_folder(path.parent, give=False)
    try:
        with opened_folder(path.parent) as parent, suppress(FileExistsError):
            parent.make_folder(path.name, mode=0o700, give=False)
    except OSError as error:
        raise StateError(f"{quote_untrusted(path)} can't be made: {error.strerror}") from error
    with opened_folder(path) as folder:
        check_folder_status(path, folder.status())
