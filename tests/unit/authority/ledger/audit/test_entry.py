"""Entries of the audit log: one form each, bounded, and nothing else is read as one."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest

from pki.authority.ledger.audit import Actor, AuditAction, AuditEntry
from pki.authority.ledger.audit.entry import MAX_ENTRY_BYTES, shorten, shorten_list
from pki.errors import InputError
from tests.support import NOW

ENTRY = AuditEntry(
    AuditAction.ISSUE,
    NOW,
    Actor("spiffe://shop.internal/ci"),
    "spiffe://shop.internal/orders",
    "1a2b",
    "ab" * 32,
    'because \N{LATIN SMALL LETTER U WITH DIAERESIS}\n\x01"\\/',
    {"profile": "workload", "count": 3, "names": ("a", "b")},
)
TEXT = ENTRY.to_text()


def test_an_entry_is_canonical_json() -> None:
    # RFC 8785: keys sorted, no space, UTF-8, and only what must be escaped is.
    assert TEXT == (
        '{"action":"issue","actor":"spiffe://shop.internal/ci","certificate_sha256":"'
        + "ab" * 32
        + '","details":{"count":3,"names":["a","b"],"profile":"workload"},"reason":"because ü\\n'
        '\\u0001\\"\\\\/","serial":"1a2b","subject":"spiffe://shop.internal/orders","time":'
        '"2026-11-23T12:00:00Z","version":1}'
    )
    parsed = AuditEntry.parse(TEXT)
    assert parsed.to_text() == TEXT
    assert (parsed.action, parsed.at, parsed.actor) == (ENTRY.action, NOW, ENTRY.actor)


def test_what_an_entry_does_not_say_is_left_out() -> None:
    text = AuditEntry(AuditAction.RECOVER, NOW, Actor.local()).to_text()
    assert json.loads(text).keys() == {"action", "actor", "time", "version"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "[" * 10_000,
        TEXT + " ",
        " " + TEXT,
        TEXT.replace('{"action"', '{ "action"'),
        TEXT.replace('"action":"issue"', '"action":"ISSUE"'),
        TEXT.replace('"action":"issue",', ""),
        TEXT.replace('"version":1', '"version":2'),
        TEXT.replace('"version":1', '"version":true'),
        TEXT.replace('"version":1', '"version":1,"version":1'),
        TEXT.replace('"version":1', '"version":1.0'),
        TEXT.replace(',"version":1', ""),
        TEXT.replace('"version":1', '"version":1,"x":1'),
        TEXT.replace('"count":3', '"count":3.5'),
        TEXT.replace('"count":3', '"count":NaN'),
        TEXT.replace('"count":3', '"count":9007199254740992'),
        TEXT.replace('"count":3', '"count":true'),
        TEXT.replace('"count":3', '"count":null'),
        TEXT.replace('"count":3', '"count":' + "9" * 5000),
        TEXT.replace('"count"', '"Count"'),
        TEXT.replace('["a","b"]', '["a",1]'),
        TEXT.replace('["a","b"]', json.dumps(["a"] * 65, separators=(",", ":"))),
        TEXT.replace("1a2b", "1A2B"),
        TEXT.replace("1a2b", "zz"),
        TEXT.replace("ü", "\\u00fc"),
        TEXT.replace("12:00:00Z", "12:00:00"),
        TEXT.replace("12:00:00Z", "25:00:00Z"),
        TEXT.replace("because", "x" * 3000),
        "x" * (MAX_ENTRY_BYTES + 1),
    ],
)
def test_what_is_not_exactly_an_entry_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        AuditEntry.parse(text)


def test_an_entry_that_is_too_large_is_never_written() -> None:
    for entry in (
        AuditEntry(AuditAction.ISSUE, NOW, Actor("x" * 3000)),
        AuditEntry(AuditAction.ISSUE, NOW, Actor("x"), details={"names": ("x" * 2000,) * 20}),
        AuditEntry(AuditAction.ISSUE, NOW, Actor("x"), serial="x"),
        AuditEntry(AuditAction.ISSUE, NOW, Actor("x"), details={"a b": "c"}),
        AuditEntry(AuditAction.ISSUE, NOW, Actor("x"), details={"names": ("a",) * 100}),
    ):
        with pytest.raises(InputError):
            entry.to_text()


def test_times_are_whole_seconds_in_utc() -> None:
    entry = AuditEntry(AuditAction.ISSUE, NOW + timedelta(microseconds=999_999), Actor("x"))
    assert '"2026-11-23T12:00:00Z"' in entry.to_text()


def test_hostile_texts_are_made_fit_for_an_entry() -> None:
    text = shorten("\ud800" + "x" * 5000)
    assert len(text) == 1024
    assert text.startswith("\\ud800")
    names = shorten_list([f"name-{number}" for number in range(40)])
    assert len(names) == 17
    assert names[-1] == "and 24 more"


def test_the_page_names_every_action() -> None:
    page = (Path(__file__).parents[5] / "docs" / "audit.md").read_text()
    table = page.partition("| action | recorded when |")[2].partition("\n\n")[0]
    named = {word for row in table.splitlines() for word in re.findall(r"`([a-z-]+)`", row[:80])}
    assert {item.value for item in AuditAction} <= named
