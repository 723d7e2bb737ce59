"""What an installation holds: the core is small, and names the extra that something else needs."""

from __future__ import annotations

import compileall
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pki.cli.app import app
from pki.cli.core_only import CA_COMMANDS, OTHER_COMMANDS
from pki.extras import extra_of
from tests.unit.conftest import Wheels

ROOT = Path(__file__).resolve().parents[2]
MOST_BYTES = 45_000_000


def requirements_of(name: str, extras: frozenset[str] = frozenset()) -> list[Requirement]:
    """The requirements of an installed distribution, without those of other extras."""
    wanted = [{"extra": extra} for extra in extras or {""}]
    return [
        requirement
        for line in metadata.requires(name) or []
        if (requirement := Requirement(line))
        and (requirement.marker is None or any(map(requirement.marker.evaluate, wanted)))
    ]


def closure(name: str) -> set[str]:
    """The distributions that an installation of one brings, itself included."""
    names: set[str] = set()
    todo = [Requirement(name)]
    while todo:
        requirement = todo.pop()
        found = canonicalize_name(requirement.name)
        if found not in names:
            names.add(found)
            todo += requirements_of(found, frozenset(requirement.extras))
    return names


def size_of(name: str) -> int:
    """The bytes of an installed distribution, with the bytecode that pip makes of it."""
    files = metadata.files(name) or []
    return sum(path.stat().st_size for item in files if (path := Path(str(item.locate()))).exists())


def test_the_core_is_small(wheels: Wheels, tmp_path: Path) -> None:
    brought = closure("handfast")
    assert {"grpcio", "cryptography", "pyopenssl", "protobuf"} < brought
    others = {"pydantic", "sqlalchemy", "typer", "rich", "watchfiles", "pytest", "handfast-ca"}
    assert brought.isdisjoint(others)
    sizes = {name: size_of(name) for name in brought - {"handfast"}}
    # As pip installs a wheel: it unpacks and compiles. The environment of the tests has no wheel.
    zipfile.ZipFile(wheels.core).extractall(tmp_path)
    assert compileall.compile_dir(tmp_path, quiet=1)
    sizes["handfast"] = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert min(sizes.values()) > 0
    assert sum(sizes.values()) <= MOST_BYTES, sizes


def run_without(extras: set[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command where the libraries of some extras can't be imported."""
    program = f"""
import sys
from pki.extras import _EXTRAS
class Missing:
    def find_spec(self, name, path=None, target=None):
        if _EXTRAS.get(name.partition(".")[0]) in {extras!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
from pki.cli.entry import main
sys.argv = ["handfast", *{arguments!r}]
main()
"""
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


CORE = {"ca", "cli", "test"}


@pytest.mark.parametrize(
    ("arguments", "extras"),
    [
        ([], "cli"),
        (["--help"], "cli"),
        (["doctor", "localhost:1"], "cli"),
        (["policy", "check", "policy.toml"], "cli"),
        (["issue", "orders"], "ca,cli"),
        (["ca", "init"], "ca,cli"),
    ],
)
def test_the_core_alone_names_the_extras_of_a_command(arguments: list[str], extras: str) -> None:
    done = run_without(CORE, *arguments)
    assert done.returncode == 3
    assert f"needs handfast[{extras}], which is not installed" in done.stderr
    assert f"pip install 'handfast[{extras}]'" in done.stderr


def test_the_core_alone_prints_the_documentation() -> None:
    page = run_without(CORE, "docs", "policy")
    assert (page.returncode, page.stdout) == (0, (ROOT / "docs" / "policy.md").read_text())
    listed = run_without(CORE, "docs")
    assert listed.returncode == 0
    assert "The certificate has expired" in listed.stdout
    wrong = run_without(CORE, "docs", "polcy")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "Is it policy?" in wrong.stderr


def test_the_core_alone_knows_an_unknown_command() -> None:
    done = run_without(CORE, "isue", "orders")
    assert done.returncode == 2
    assert done.stderr == "handfast: No such command 'isue'\n"
    assert set(app.info.cls.lazy_commands) == CA_COMMANDS | OTHER_COMMANDS  # type: ignore[union-attr]


@pytest.mark.parametrize("argument", ["version", "--version"])
def test_the_core_alone_tells_its_version(argument: str) -> None:
    done = run_without(CORE, argument)
    assert (done.returncode, done.stdout) == (0, f"handfast {metadata.version('handfast')}\n")


@pytest.mark.parametrize("command", ["issue", "renew", "revoke", "crl", "list", "ca"])
def test_a_command_of_the_ca_names_its_extra(command: str) -> None:
    arguments = ["ca", "status"] if command == "ca" else [command, "--help"]
    done = run_without({"ca"}, *arguments)
    assert done.returncode == 3
    assert f"handfast {' '.join(arguments[:1])}" in done.stderr
    assert "pip install 'handfast[ca]'" in done.stderr


@pytest.mark.parametrize("command", ["doctor", "explain", "inspect", "policy", "verify", "watch"])
def test_other_commands_need_no_ca(command: str) -> None:
    done = run_without({"ca"}, command, "--help")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_library_names_the_extra_too() -> None:
    program = """
import sys
sys.modules["sqlalchemy"] = None
import pki
pki.Workload
try:
    pki.Authority
except ImportError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "pki.Authority needs handfast[ca]" in done.stdout


def test_another_missing_module_is_of_no_extra() -> None:
    assert extra_of(ModuleNotFoundError("No module named 'nonsense'", name="nonsense")) is None
    assert extra_of(ModuleNotFoundError("no name")) is None
    assert (
        extra_of(ModuleNotFoundError("No module named 'pki.nonsense'", name="pki.nonsense")) is None
    )


def test_every_module_loads_where_warnings_are_errors() -> None:
    program = """
import importlib, pkgutil, pki
modules = [
    module.name
    for module in pkgutil.walk_packages(pki.__path__, "pki.")
    # Alembic runs the first one, and the interpreter the others.
    if ".migrations.env" not in module.name and not module.name.endswith("__main__")
]
for name in modules:
    importlib.import_module(name)
print(len(modules))
"""
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 300
