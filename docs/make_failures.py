"""Makes ``docs/failures/`` from the table in ``pki.failures``: a page for each, and an index.

With ``--check`` it writes nothing, and names each page that differs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pki.failures import FAILURES
from pki.failures.pages import make_index, make_page

HOME = Path(__file__).resolve().parent / "failures"
_NOTE = "<!-- Made by docs/make_failures.py from pki/failures: change those, not this. -->\n"


def pages() -> dict[str, str]:
    """Return every page by its file name."""
    made = {f"{item.slug}.md": make_page(item) for item in FAILURES.values()}
    made["README.md"] = make_index()
    return {name: f"{_NOTE}\n{text}" for name, text in made.items()}


def main() -> int:
    """Write the pages, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, name what differs")
    check = parser.parse_args().check
    made = pages()
    there = {path.name for path in HOME.glob("*.md")}
    differing = sorted(there - set(made)) + sorted(
        name
        for name, text in made.items()
        if name not in there or (HOME / name).read_text(encoding="utf-8") != text
    )
    if check:
        for name in differing:
            sys.stderr.write(f"docs/failures/{name} differs: run python docs/make_failures.py\n")
        return 1 if differing else 0
    HOME.mkdir(exist_ok=True)
    for name in there - set(made):
        (HOME / name).unlink()
    for name, text in made.items():
        (HOME / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
