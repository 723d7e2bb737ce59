"""The page on attackers names a test for each thing that it says can't be done, and it is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "SECURITY.md").read_text()


def test_each_thing_that_cant_be_done_names_its_test() -> None:
    table = PAGE.partition("## What an attacker can and can't do")[2].partition("\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("|")][2:]
    assert len(lines) > 20
    assert all("::test_" in line for line in lines)


def test_each_test_that_is_named_is_there() -> None:
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", PAGE)
    assert len(named) > 30
    for file, name in named:
        text = (ROOT / "tests" / file).read_text()
        assert re.search(rf"^def {name}\(", text, re.MULTILINE), f"{file}::{name}"


def test_each_attacker_of_the_page_has_something_to_lose() -> None:
    who = re.findall(r"^\| \*\*(.+?)\*\*", PAGE, re.MULTILINE)
    assert len(who) == len(set(who)) >= 6
