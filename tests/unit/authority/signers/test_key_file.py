"""The file that stands for a token's key: no secret in it, and nobody led astray by it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pki.authority.signers import Pkcs11Uri
from pki.authority.signers.key_file import read_key_file, write_key_file
from pki.errors import InputError

URI = Pkcs11Uri("ca", key_id=b"\x01", pin_source=Path("/run/pin"))


def test_a_key_file_is_read_as_it_was_written() -> None:
    data = write_key_file(URI)
    assert data.endswith(b'\nuri = "pkcs11:token=ca;id=%01?pin-source=file:/run/pin"\n')
    assert read_key_file(data, owner=os.geteuid()) == URI
    assert read_key_file(data, owner=0) == URI


def test_the_pin_file_that_another_user_names_is_not_read() -> None:
    read = read_key_file(write_key_file(URI), owner=os.geteuid() + 54321)
    assert read == Pkcs11Uri("ca", key_id=b"\x01")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must hold the one line"),
        ("uri = 7", "must hold the one line"),
        ('uri = "pkcs11:token=ca;id=%01"\npin = "1"', "must hold the one line"),
        ("uri = ", "no TOML file"),
        ("[" * 3000, "no TOML file"),
        ("\udcff", "no TOML file"),
        ('uri = "pkcs11:token=ca"', "names no key"),
        ('uri = "pkcs11:token=ca;id=%01?module-path=/tmp/evil.so"', "any code run"),
        ('uri = "pkcs11:token=ca;id=%01?pin-value=1234"', "pin-value"),
    ],
)
def test_another_file_is_refused(text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        read_key_file(text.encode("utf-8", "surrogateescape"), owner=0)
    assert words in str(caught.value)
    assert "1234" not in str(caught.value)
