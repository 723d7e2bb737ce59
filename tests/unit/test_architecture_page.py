"""docs/architecture.md names only what is there, and every package of pki."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
MODULES = [path for path in (ROOT / "pki").rglob("*.py") if "_proto" not in path.parts]
CODE = re.findall(r"`([^`\n]+)`", PAGE.replace("```", ""))


def _names(path: Path, *kinds: type[ast.AST]) -> set[str]:
    return {
        item.name
        for item in ast.walk(ast.parse(path.read_text()))
        if isinstance(item, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and isinstance(item, kinds)
    }


@functools.cache
def classes() -> dict[Path, set[str]]:
    return {path: _names(path, ast.ClassDef) for path in MODULES}


@functools.cache
def functions() -> dict[Path, set[str]]:
    return {path: _names(path, ast.FunctionDef, ast.AsyncFunctionDef) for path in MODULES}


def test_every_path_that_is_named_is_there() -> None:
    paths = [word for word in CODE if re.fullmatch(r"pki(/\w+)+(\.py)?", word)]
    assert len(paths) > 50
    assert [word for word in paths if not (ROOT / word).exists()] == []


def test_every_dotted_name_is_there() -> None:
    for word in CODE:
        if re.fullmatch(r"pki(\.\w+)+", word) and not (ROOT / word).exists():
            path = ROOT.joinpath(*word.split("."))
            assert path.is_dir() or path.with_suffix(".py").is_file(), word


def test_every_class_that_is_named_is_there() -> None:
    named = {word for word in CODE if re.fullmatch(r"([A-Z][a-z0-9]+)+", word)}
    assert len(named) > 40
    assert named - set().union(*classes().values()) == set()


def test_every_function_that_is_named_is_there() -> None:
    named = {word.removesuffix("()") for word in CODE if re.fullmatch(r"[a-z_]+\(\)", word)}
    # A method of gRPC's errors.
    assert named - {"details"} - set().union(*functions().values()) == set()


def test_a_name_with_its_module_beside_it_is_defined_there() -> None:
    pairs = re.findall(r"`(\w+)(?:\(\))?`\s+\(`(pki/[\w/]+\.py)`\)", PAGE)
    assert len(pairs) > 30
    for name, module in pairs:
        path = ROOT / module
        assert name in classes()[path] | functions()[path], f"{name} in {module}"


def test_every_package_is_named() -> None:
    packages = {path.parent.relative_to(ROOT).as_posix() for path in MODULES}
    packages -= {"pki", "pki/authority/ledger/migrations/versions"}
    assert {name for name in packages if f"`{name}`" not in PAGE} == set()
