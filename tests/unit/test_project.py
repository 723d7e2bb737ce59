"""What the project promises of itself: its package, its lock, its stubs, its Pythons."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from pki._proto.handfast.v1.error_reason_pb2 import ErrorReason
from tests.unit.conftest import Wheels

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["custom"][
    "optional-dependencies"
]
DECLARED = [
    Requirement(line)
    for lines in (PROJECT["project"]["dependencies"], *EXTRAS.values())
    for line in lines
    if not line.startswith(("handfast[", "handfast-ca=="))
]
FOR_DEVELOPERS = [
    Requirement(line)
    for lines in PROJECT["dependency-groups"].values()
    for line in lines
    if isinstance(line, str)
]
PYTHONS = ["3.11", "3.12", "3.13"]


def floor_of(requirements: list[Requirement], name: str) -> Version:
    """The highest of the lowest versions that are declared for a name."""
    bounds = [
        Version(bound.version)
        for requirement in requirements
        if canonicalize_name(requirement.name) == name
        for bound in requirement.specifier
        if bound.operator == ">="
    ]
    return max(bounds)


PIN = re.compile(r"^([\w.-]+)==([^ ;\\]+)", re.M)


def locked() -> dict[str, Version]:
    pins = PIN.findall((ROOT / "requirements.txt").read_text())
    return {canonicalize_name(name): Version(version) for name, version in pins}


def tracked_files() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("only a git checkout knows which of its files are tracked")
    # Whose checkout it is does not matter to a list of its files.
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def imported_by(package: Path) -> set[str]:
    """The top names of all modules that a package imports from outside of itself."""
    found: set[str] = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module)
    # google is a namespace that several distributions share, so its second name counts.
    names = {".".join(name.split(".")[: 2 if name.startswith("google.") else 1]) for name in found}
    return {name for name in names if name not in {package.name, "__future__"}}


@pytest.fixture
def wheel(wheels: Wheels) -> zipfile.Path:
    return zipfile.Path(wheels.core)


def test_the_wheel_holds_the_toolkit_and_nothing_else(wheel: zipfile.Path) -> None:
    version = metadata.version("handfast")
    assert {entry.name for entry in wheel.iterdir()} == {"pki", f"handfast-{version}.dist-info"}


def test_the_wheels_hold_every_tracked_file_of_the_toolkit(wheels: Wheels) -> None:
    packed = set(zipfile.ZipFile(wheels.core).namelist() + zipfile.ZipFile(wheels.ca).namelist())
    tracked = {path.relative_to(ROOT).as_posix() for path in tracked_files()}
    assert {name for name in tracked if name.startswith("pki/")} <= packed
    assert "pki/py.typed" in packed


def test_the_wheel_brings_the_command_and_the_licence(wheel: zipfile.Path) -> None:
    about = wheel / f"handfast-{metadata.version('handfast')}.dist-info"
    assert "handfast = pki.cli.entry:main" in (about / "entry_points.txt").read_text()
    assert "Apache License" in (about / "licenses" / "LICENSE").read_text()


def test_the_wheel_holds_every_page_that_its_command_prints(wheel: zipfile.Path) -> None:
    pages = {
        page.as_posix()
        for path in (ROOT / "docs").rglob("*.md")
        if (page := path.relative_to(ROOT / "docs")).parts[0] not in {"adr", "failures"}
    }
    assert len(pages) > 25
    prefix = "pki/docs/"
    packed = {name for name in wheel.root.namelist() if re.match(rf"{prefix}.*[^/]$", name)}
    assert {name.removeprefix(prefix) for name in packed} == pages


def test_the_description_of_the_package_links_to_what_there_is(wheel: zipfile.Path) -> None:
    about = wheel / f"handfast-{metadata.version('handfast')}.dist-info" / "METADATA"
    source = PROJECT["project"]["urls"]["Source"]
    links = re.findall(r"\]\(([^)]+)\)", about.read_text())
    assert len(links) > 20
    for link in links:
        assert link.startswith(f"{source}/blob/main/"), link
        path = link.removeprefix(f"{source}/blob/main/").partition("#")[0]
        assert (ROOT / path).exists(), link
    for url in PROJECT["project"]["urls"].values():
        assert url.startswith(source)
    assert f"repo_url: {source}\n" in (ROOT / "mkdocs.yml").read_text()


def test_no_key_or_certificate_is_tracked() -> None:
    # A test may name the line that a key begins with; the key itself follows on the next.
    a_key = re.compile(rb"BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{60}")
    for path in tracked_files():
        assert path.parent != ROOT / "certs" or path.name in {".gitignore", "README.md"}, path
        assert not a_key.search(path.read_bytes()), path


def test_no_tracked_file_names_a_registry_or_a_path_of_one_machine() -> None:
    # Put together here, so that this file does not hold what it looks for.
    hosts = ["py" + "pi.org", "python" + "hosted", "crates" + ".io", "npmjs" + ".org"]
    options = ["--extra-" + "index-url", "--find-" + "links", "--trusted-" + "host"]
    paths = ["/ho" + "me/", "/Us" + "ers/", "/ro" + "ot/", "/opt/" + "py", f"{ROOT}/"]
    forbidden = re.compile("|".join(re.escape(text) for text in [*hosts, *options, *paths]))
    found = {
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in tracked_files()
        if (match := forbidden.search(path.read_bytes().decode(errors="replace")))
    }
    assert found == set()


@pytest.mark.parametrize("requirement", [*DECLARED, *FOR_DEVELOPERS], ids=str)
def test_the_lock_covers_each_declared_dependency(requirement: Requirement) -> None:
    assert locked()[canonicalize_name(requirement.name)] in requirement.specifier


@pytest.mark.parametrize(
    "lock",
    [
        "requirements.txt",
        "protos/requirements.txt",
        "tests/core-requirements.txt",
        "tests/lowest-requirements.txt",
    ],
)
def test_each_line_of_a_lock_has_a_hash(lock: str) -> None:
    blocks = re.split(r"^(?=[\w.-]+==)", (ROOT / lock).read_text(), flags=re.M)
    assert len(blocks) > 5
    assert all("--hash=sha256:" in block for block in blocks if block.strip())


def test_the_tests_run_on_the_lowest_versions_that_are_declared() -> None:
    text = (ROOT / "tests" / "lowest-requirements.txt").read_text()
    pins = {canonicalize_name(name): Version(pin) for name, pin in PIN.findall(text)}
    for name in {canonicalize_name(item.name) for item in DECLARED}:
        assert pins[name] == floor_of(DECLARED, name), name


def test_the_toolkit_imports_only_what_the_wheel_declares() -> None:
    declared = {canonicalize_name(requirement.name) for requirement in DECLARED}
    shared = {"google.protobuf": ["protobuf"]}
    homes = {**metadata.packages_distributions(), **shared}
    from_outside = imported_by(ROOT / "pki") - sys.stdlib_module_names
    homeless = {
        name
        for name in from_outside
        if declared.isdisjoint(canonicalize_name(home) for home in homes.get(name, []))
    }
    # For type checkers alone: OpenTelemetry is used only if the application has loaded it.
    assert homeless == {"opentelemetry"}


@pytest.mark.parametrize(
    ("package", "requirements"),
    [("pki", DECLARED), ("services", [*DECLARED, *FOR_DEVELOPERS])],
    ids=["pki", "services"],
)
def test_no_stub_asks_for_a_newer_runtime_than_is_declared(
    package: str, requirements: list[Requirement]
) -> None:
    texts = [path.read_text() for path in (ROOT / package / "_proto").rglob("*.py")]
    for text in texts:
        if made_for := re.search(r"^# Protobuf Python Version: (\S+)$", text, re.M):
            assert Version(made_for[1]) <= floor_of(requirements, "protobuf")
        if made_for := re.search(r"^GRPC_GENERATED_VERSION = '(\S+)'$", text, re.M):
            assert Version(made_for[1]) <= floor_of(requirements, "grpcio")
    assert any("Protobuf Python Version" in text for text in texts)


def test_every_error_reason_of_the_contract_is_one_that_the_runtime_gives() -> None:
    runtime = "".join(
        path.read_text()
        for room in ("access", "rpc")
        for path in (ROOT / "pki" / room).rglob("*.py")
    )
    for name in set(ErrorReason.keys()) - {"ERROR_REASON_UNSPECIFIED"}:
        assert f"ErrorReason.{name}" in runtime, name


def test_the_declared_pythons_are_those_that_the_tools_check() -> None:
    prefix = "Programming Language :: Python :: "
    classifiers = PROJECT["project"]["classifiers"]
    declared = [line.removeprefix(prefix) for line in classifiers if line.startswith(prefix)]
    assert declared == PYTHONS
    assert PROJECT["project"]["requires-python"] == f">={PYTHONS[0]}"
    assert PROJECT["tool"]["mypy"]["python_version"] == PYTHONS[0]
    assert PROJECT["tool"]["ruff"]["target-version"] == "py" + PYTHONS[0].replace(".", "")


def test_an_older_python_is_refused_with_a_remedy(tmp_path: Path) -> None:
    old = tmp_path / "python-old"
    # A stand-in that answers as Python 3.10 would to the one question that make asks first.
    asked = (
        "import sys; sys.version_info = (3, 10); sys.version = '3.10.13 (main)'; exec(sys.argv[1])"
    )
    old.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{asked}" "$2"\n')
    old.chmod(0o755)
    command = ["make", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}", "setup"]
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    refused = subprocess.run(
        command, cwd=ROOT, check=False, capture_output=True, text=True, env=environment
    )
    assert refused.returncode != 0
    assert "handfast needs Python 3.11 or newer" in refused.stderr
    assert "3.10.13. Name another with: make PYTHON=" in refused.stderr
    assert not (tmp_path / "venv").exists()


def test_ci_runs_tests_then_the_checks_then_the_demo() -> None:
    steps = re.findall(r"^make ([\w-]+)", (ROOT / ".ci" / "run").read_text(), re.M)
    assert steps == ["test", "lint", "docs", "test-core", "test-lowest", "test-postgresql", "demo"]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_every_file_is_read_in_one_sitting_and_every_room_seen_at_one_glance() -> None:
    package = ROOT / "pki"
    files = [path for path in package.rglob("*.py") if "_proto" not in path.parts]
    assert len(files) > 150
    for path in files:
        assert len(path.read_text().splitlines()) <= 350, path
    for folder in {path.parent for path in files}:
        assert len(list(folder.glob("*.py"))) <= 20, folder
