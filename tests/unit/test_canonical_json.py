"""Signed documents have one form: what is verified is what is parsed."""

from __future__ import annotations

import pytest

from pki import canonical_json
from pki.errors import InputError


def read(data: bytes) -> canonical_json.Members:
    return canonical_json.read(data, what="document", max_bytes=1000)


def test_a_document_is_read_back_as_it_was_written() -> None:
    data = canonical_json.write(
        {"b": 1, "a": "x y", "octets": b"\0\1", "inner": {"list": ["p", "q"]}, "parts": [{"n": 2}]}
    )
    assert data == (
        b'{"a":"x y","b":1,"inner":{"list":["p","q"]},"octets":"AAE=","parts":[{"n":2}]}'
    )
    document = read(data)
    document.require(["a", "b", "octets", "inner", "parts"], optional=["more"])
    assert "more" not in document
    assert (document.text("a"), document.integer("b")) == ("x y", 1)
    assert document.octets("octets") == b"\0\1"
    assert document.object("inner").text_list("list", most=2) == ("p", "q")
    assert [item.integer("n") for item in document.objects("parts", most=1)] == [2]


@pytest.mark.parametrize(
    "data",
    [
        b'{"b":1,"a":1}',
        b'{"a":1,"a":1}',
        b'{"a": 1}',
        b'{"a":1} ',
        b'{"a":01}',
        b'{"a":1.0}',
        b'{"a":1e2}',
        b'{"a":-1}',
        b'{"a":NaN}',
        b'{"a":9007199254740992}',
        b'{"a":' + b"9" * 900 + b"}",
        b'{"a":null}',
        b'{"a":true}',
        b'{"a":"\\u0041"}',
        b'{"a":"\xc3\xa9"}',
        b'{"a":"\x7f"}',
        b'{"a":"\n"}',
        b"[1]",
        b"{",
        b"",
        b'{"a":' * 9 + b"1" + b"}" * 9,
        b'{"a":"' + b"x" * 1000 + b'"}',
    ],
)
def test_any_other_form_is_refused(data: bytes) -> None:
    with pytest.raises(InputError):
        read(data)


def test_a_member_of_another_kind_missing_or_unknown_is_refused() -> None:
    document = read(b'{"l":[1],"n":1,"o":{},"s":"!"}')
    for wrong in (
        lambda: document.require(["l", "n", "o"]),
        lambda: document.require(["l", "n", "o", "s", "z"]),
        lambda: document.text("n"),
        lambda: document.integer("s"),
        lambda: document.octets("s"),
        lambda: document.octets_list("l", most=1),
        lambda: document.text_list("l", most=1),
        lambda: document.objects("l", most=1),
        lambda: document.objects("l", most=0),
        lambda: document.objects("o", most=1),
        lambda: document.object("l"),
    ):
        with pytest.raises(InputError):
            wrong()


@pytest.mark.parametrize("value", [None, True, -1, 1 << 53, 1.5, "\n", "\\", '"', "é", {"é": 1}])
def test_a_value_without_a_canonical_form_is_not_written(value: object) -> None:
    with pytest.raises(InputError):
        canonical_json.write({"a": value})
