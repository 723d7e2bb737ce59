"""``handfast docs``: every page that an error, a help text or another page names can be printed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pki.cli.app import run

ROOT = Path(__file__).resolve().parents[3]
Capture = pytest.CaptureFixture[str]


def printed(capsys: Capture, *arguments: str) -> tuple[int, str, str]:
    code = run(["docs", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_page_is_printed_as_it_is(capsys: Capture) -> None:
    code, out, _ = printed(capsys, "policy")
    assert (code, out) == (0, (ROOT / "docs" / "policy.md").read_text())


@pytest.mark.parametrize("topic", ["expired", "failures/expired", "docs/failures/expired.md"])
def test_a_failure_is_found_by_its_name_and_by_its_path(capsys: Capture, topic: str) -> None:
    code, out, _ = printed(capsys, topic)
    assert (code, out.splitlines()[0]) == (0, "# The certificate has expired")


@pytest.mark.parametrize("topic", ["examples", "failures"])
def test_a_folder_stands_for_its_first_page(capsys: Capture, topic: str) -> None:
    assert printed(capsys, topic)[0] == 0


def test_without_a_topic_all_are_listed(capsys: Capture) -> None:
    _, out, _ = printed(capsys)
    for page in (ROOT / "docs").glob("*.md"):
        assert re.search(rf"^  {page.stem} +\S", out, re.MULTILINE), page
    assert "no-client-certificate" in out
    document = json.loads(printed(capsys, "--json")[1])
    assert document["topics"]["policy"] == "The policy file"
    assert "adr/0001-openssl-verifies-paths-and-profiles-check-them" not in document["topics"]


@pytest.mark.parametrize(
    ("topic", "words"),
    [
        ("polcy", "Is it policy"),
        ("expird", "Is it expired"),
        ("../SECURITY", "List them"),
        ("/etc/passwd", "there is no page"),
        ("", "there is no page"),
        ("\x1b[2J", "\\x1b"),
    ],
)
def test_what_is_no_page_is_refused(capsys: Capture, topic: str, words: str) -> None:
    code, out, err = printed(capsys, topic)
    assert (code, out) == (1, "")
    assert words in err


def test_every_page_that_the_toolkit_names_is_there(capsys: Capture) -> None:
    texts = "".join(path.read_text() for path in (ROOT / "pki").rglob("*.py"))
    topics = set(re.findall(r"handfast docs ([a-z][a-z-]+)", texts))
    assert {"policy", "fork", "decision-log"} <= topics
    for topic in topics:
        assert printed(capsys, topic)[0] == 0, topic
    # A path of the checkout is of no use to who has installed the wheel.
    named = re.findall(r'"[^"\n]*\bdocs/[a-z-]+\.md[^"\n]*"', texts)
    assert [text for text in named if '"""' not in text] == []
