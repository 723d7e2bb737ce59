"""PKCS#11 URIs (RFC 7512): what is understood, and what is refused without quoting a PIN."""

from __future__ import annotations

from pathlib import Path

import pytest

from pki.authority.signers import Pkcs11Uri
from pki.authority.signers.new_key import IN_FILE, KeyPlace
from pki.errors import InputError


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("pkcs11:token=ca", Pkcs11Uri(token="ca")),
        ("pkcs11:token=My%20CA;object=a%2Fb", Pkcs11Uri(token="My CA", key_label="a/b")),
        ("pkcs11:serial=12;id=%01%FF", Pkcs11Uri(serial="12", key_id=b"\x01\xff")),
        ("pkcs11:token=ca;id=ab;type=private", Pkcs11Uri(token="ca", key_id=b"ab")),
        (
            "pkcs11:manufacturer=M;model=X?pin-source=file:/run/pin&module-path=/lib/m.so",
            Pkcs11Uri(
                manufacturer="M",
                model="X",
                pin_source=Path("/run/pin"),
                module=Path("/lib/m.so"),
            ),
        ),
        ("pkcs11:token=ca?pin-source=/run/a%20b", Pkcs11Uri("ca", pin_source=Path("/run/a b"))),
        ("pkcs11:token=ca?pin-source=file:///p", Pkcs11Uri("ca", pin_source=Path("/p"))),
    ],
)
def test_a_uri_is_parsed_and_written_again(text: str, uri: Pkcs11Uri) -> None:
    assert Pkcs11Uri.parse(text) == uri
    again = Pkcs11Uri.parse(str(uri))
    # The module is of the machine, not of the key.
    assert again.module is None
    assert (again.token, again.key_id, again.pin_source) == (uri.token, uri.key_id, uri.pin_source)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "begins with pkcs11:"),
        ("PKCS11:token=ca", "begins with pkcs11:"),
        ("file", "begins with pkcs11:"),
        ("pkcs11:", "names no token"),
        ("pkcs11:object=key", "names no token"),
        ("pkcs11:token=", "is empty"),
        ("pkcs11:token=ca;", "not understood"),
        ("pkcs11:token", "not understood"),
        ("pkcs11:token=a;token=b", "token twice"),
        ("pkcs11:token=ca;colour=red", "'colour', which is not understood"),
        ("pkcs11:token=ca;x-vendor=1", "not understood"),
        ("pkcs11:token=my ca", "must be escaped"),
        ("pkcs11:token=ca%0", "must be escaped"),
        ("pkcs11:token=%FF", "not UTF-8"),
        ("pkcs11:token=a%0Ab", "control character"),
        ("pkcs11:token=a%00b", "control character"),
        ("pkcs11:token=a%E2%80%AEb", "control character"),
        ("pkcs11:token=ca;type=cert", "of type 'cert'"),
        ("pkcs11:token=ca;slot-id=3", "slot numbers change"),
        ("pkcs11:token=ca?module-name=softhsm2", "does not say where"),
        ("pkcs11:token=ca?module-path=lib.so", "no absolute path"),
        ("pkcs11:token=ca?pin-source=pin", "no absolute path"),
        ("pkcs11:token=ca?pin-source=|/bin/cat%20/pin", "no absolute path"),
        ("pkcs11:token=ca?pin-source=https://h/pin", "no absolute path"),
        ("pkcs11:token=ca?pin-source=/a&pin-source=/b", "pin-source twice"),
        (f"pkcs11:token={'a' * 3000}", "2048 are the most"),
    ],
)
def test_another_uri_is_refused(text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        Pkcs11Uri.parse(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "pkcs11:token=ca?pin-value=739251",
        "pkcs11:token=ca;pin-value=739251",
        "pkcs11:token=ca?pin-value=73%39251",
        "pkcs11:token=ca?pin-value",
    ],
)
def test_a_pin_in_a_uri_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InputError, match="pin-value in a PKCS#11 URI is refused") as caught:
        Pkcs11Uri.parse(text)
    assert "list of processes" in str(caught.value)
    assert "9251" not in str(caught.value)


def test_a_place_is_a_file_or_a_uri() -> None:
    assert KeyPlace.parse("file") is IN_FILE
    assert KeyPlace.parse("pkcs11:token=ca") == KeyPlace(Pkcs11Uri("ca"))
    with pytest.raises(InputError):
        KeyPlace.parse("certs/ca/key.pem")
