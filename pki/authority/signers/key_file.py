"""The file that stands for a token's key in the CA's folder. It holds the key's URI, and no secret.

A file that the CA's owner wrote must not lead another user astray, as root who works with it: it
never names a module, and a PIN file that it names is read only if root or this user wrote it.
"""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import replace

from pki.authority.signers.pkcs11_uri import Pkcs11Uri
from pki.errors import InputError
from pki.files.safe_path import ROOT

MAX_KEY_FILE_BYTES = 4096
_COMMENT = "# The key lives in a PKCS#11 token. There is no secret here.\n"


def write_key_file(uri: Pkcs11Uri) -> bytes:
    """Return the contents of the file for a key."""
    return f"{_COMMENT}uri = {json.dumps(str(uri))}\n".encode("ascii")


def read_key_file(data: bytes, *, owner: int) -> Pkcs11Uri:
    """Return the URI of the key, with a PIN file only if root or this user wrote it.

    Args:
        data: the file's contents.
        owner: the user to whom the file belongs.

    Raises:
        InputError: if it is no such file.
    """
    uri = parse_key_file(data)
    return uri if owner in {ROOT, os.geteuid()} else replace(uri, pin_source=None)


def parse_key_file(data: bytes) -> Pkcs11Uri:
    """Return the URI of the key as the file's contents say it.

    Raises:
        InputError: if they are those of no such file.
    """
    try:
        document = tomllib.loads(data.decode())
    except (ValueError, RecursionError):
        raise InputError("it is no TOML file", remedy="Bring it back from a backup") from None
    if set(document) != {"uri"} or not isinstance(document["uri"], str):
        raise InputError('it must hold the one line: uri = "pkcs11:..."')
    uri = Pkcs11Uri.parse(document["uri"])
    if uri.module is not None:
        raise InputError(
            "it names a module, and whoever can write it could have any code run",
            remedy="Take module-path out of it, and name the module with HANDFAST_PKCS11_MODULE",
        )
    if not uri.names_key:
        raise InputError("its URI names no key", remedy="Add object=LABEL or id=%..")
    return uri
