"""Every link and every path in the repository's pages leads to something that is there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
]


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, made as Git hosts make them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", item.lower()).replace(" ", "-") for item in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_that_a_page_names_is_there(page: Path) -> None:
    named = re.findall(r"`((?:pki|tests|services|protos|docs)/[\w./-]+)`", page.read_text())
    # CHANGELOG tells of old names too.
    assert (
        page.name == "CHANGELOG.md" or [name for name in named if not (ROOT / name).exists()] == []
    )


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs" / "adr"
    listed = (folder / "README.md").read_text()
    decisions = sorted(folder.glob("0*.md"))
    assert len(decisions) >= 14
    for page in decisions:
        title = page.read_text().splitlines()[0].removeprefix("# ")
        assert f"- [{title}]({page.name})\n" in listed, page
