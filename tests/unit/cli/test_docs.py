"""``handfast docs``: every page that an error, a help text or another page names can be printed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pki.cli.app import run
from pki.cli.doc_pages import complete_topic

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
    for page in (ROOT / "docs" / "failures").glob("*.md"):
        if page.stem != "README":
            assert re.search(rf"^  {page.stem} +\S", out, re.MULTILINE), page
    document = json.loads(printed(capsys, "--json")[1])
    assert document["topics"]["policy"] == "The policy file"
    assert "adr/0001-openssl-verifies-paths-and-profiles-check-them" not in document["topics"]


@pytest.mark.parametrize(
    ("topic", "words"),
    [
        ("polcy", "Is it policy"),
        ("expird", "Is it expired"),
        ("../SECURITY", "List them"),
        ("adr", "List them"),
        ("surfaces", "List them"),
        ("/etc/passwd", "there is no page"),
        ("", "there is no page"),
        ("\x1b[2J", "\\x1b"),
    ],
)
def test_what_is_no_page_is_refused(capsys: Capture, topic: str, words: str) -> None:
    code, out, err = printed(capsys, topic)
    assert (code, out) == (1, "")
    assert words in err


def test_a_topic_is_completed() -> None:
    assert sorted(complete_topic("polic")) == ["policy", "policy-tools", "policy-unavailable"]
    assert "expired" in complete_topic("exp")
    assert complete_topic("adr") == []


def test_a_page_is_printed_in_an_encoding_that_lacks_its_characters() -> None:
    command = [sys.executable, "-c", "from pki.cli.entry import main; main()", "docs", "policy"]
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, env=ascii_only, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii()


def test_every_page_that_the_toolkit_names_is_there(capsys: Capture) -> None:
    texts = "".join(path.read_text() for path in (ROOT / "pki").rglob("*.py"))
    topics = set(re.findall(r"handfast docs ([a-z][a-z-]+)", texts))
    assert {"policy", "fork", "decision-log"} <= topics
    for topic in topics:
        assert printed(capsys, topic)[0] == 0, topic
    # A path of the checkout is of no use to who has installed the wheel.
    named = re.findall(r'"[^"\n]*\bdocs/[a-z-]+\.md[^"\n]*"', texts)
    assert [text for text in named if '"""' not in text] == []


def test_the_api_is_printed_with_its_docstrings(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["docs", "api"]) == 0
    text = capsys.readouterr().out
    assert ":::" not in text
    assert "### Workload.from_ca" in text
    assert "Obtain an identity from the CA, and keep it fresh" in text
