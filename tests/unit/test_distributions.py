"""The two distributions: they share out ``pki/``, and work together and the core alone."""

from __future__ import annotations

import ast
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from pki.errors import MissingExtraError
from pki.extras import extra_of, require_one_version
from pki.version import __version__
from tests.unit.conftest import Wheels, build

ROOT = Path(__file__).resolve().parents[2]
CA = ROOT / "distributions" / "ca"
# The core's two ways to what may not be installed, each within a try.
LOADED_WHERE_IT_IS_THERE = {("pki/cli/entry.py", "pki.cli.app")}


def names_in(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def modules_in(wheel: Path) -> dict[str, str]:
    """The modules of a wheel, with their paths in it."""
    paths = [name for name in names_in(wheel) if name.endswith(".py")]
    return {
        path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in paths
    }


def metadata_of(wheel: Path) -> dict[str, list[str]]:
    """The headers of a wheel's METADATA."""
    archive = zipfile.ZipFile(wheel)
    (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    headers = Parser().parsestr(archive.read(name).decode())
    return {key: [str(item) for item in headers.get_all(key) or []] for key in headers}


def settings(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text())


def imports_in(source: str) -> Iterator[str]:
    """Each module that a source may load when it runs, also within functions."""
    todo: list[ast.AST] = [ast.parse(source)]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        todo += ast.iter_child_nodes(node)


# What each holds


def test_no_file_is_in_both_wheels(wheels: Wheels) -> None:
    assert names_in(wheels.core) & names_in(wheels.ca) == set()


def test_the_second_wheel_holds_nothing_but_its_part_of_the_toolkit(wheels: Wheels) -> None:
    about = f"handfast_ca-{__version__}.dist-info"
    assert {name.partition("/")[0] for name in names_in(wheels.ca)} == {"pki", about}
    archive = zipfile.ZipFile(wheels.ca)
    assert "Apache License" in archive.read(f"{about}/licenses/LICENSE").decode()
    assert f"{about}/entry_points.txt" not in archive.namelist(), "the command is the core's"


def test_the_core_loads_nothing_of_the_other_wheel(wheels: Wheels) -> None:
    elsewhere = set(modules_in(wheels.ca))
    archive = zipfile.ZipFile(wheels.core)
    loaded = {
        (path, name)
        for path in modules_in(wheels.core).values()
        for name in imports_in(archive.read(path).decode())
        if name in elsewhere
    }
    assert loaded == LOADED_WHERE_IT_IS_THERE


def test_each_module_of_the_other_wheel_has_an_extra_that_brings_it(wheels: Wheels) -> None:
    extras = settings(ROOT)["tool"]["hatch"]["metadata"]["hooks"]["custom"]["optional-dependencies"]
    for name in modules_in(wheels.ca):
        assert extra_of(ModuleNotFoundError(name=name)) in extras, name
    for name in modules_in(wheels.core):
        assert name.startswith("pki.cli") or extra_of(ModuleNotFoundError(name=name)) is None


# How they belong together


def test_each_extra_brings_the_other_distribution_at_the_same_version(wheels: Wheels) -> None:
    headers = metadata_of(wheels.core)
    assert headers["Version"] == [__version__]
    required = [Requirement(line) for line in headers["Requires-Dist"]]
    pins = [item for item in required if item.name == "handfast-ca"]
    assert {str(item.specifier) for item in pins} == {f"=={__version__}"}
    for extra in headers["Provides-Extra"]:
        assert any(item.marker and item.marker.evaluate({"extra": extra}) for item in pins), extra
    for item in pins:
        assert item.marker is not None, "the core alone does without it"


def test_the_other_distribution_requires_the_core_of_its_version(wheels: Wheels) -> None:
    headers = metadata_of(wheels.ca)
    assert (headers["Name"], headers["Version"]) == (["handfast-ca"], [__version__])
    assert headers["Requires-Dist"] == [f"handfast=={__version__}"]


def test_both_distributions_say_the_same_of_themselves() -> None:
    core, ca = settings(ROOT)["project"], settings(CA)["project"]
    for key in ("requires-python", "license", "urls"):
        assert ca[key] == core[key], key
    assert set(ca["classifiers"]) <= set(core["classifiers"])
    assert (CA / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    builder = settings(CA)["build-system"]["requires"]
    assert set(builder) <= set(settings(ROOT)["build-system"]["requires"])


@pytest.mark.parametrize("source", [ROOT, CA], ids=["handfast", "handfast-ca"])
def test_a_source_archive_makes_the_same_wheel(
    source: Path, wheels: Wheels, tmp_path: Path
) -> None:
    archive = build(source, tmp_path / "sdist", "sdist")
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "source", filter="data")
    (unpacked,) = (tmp_path / "source").iterdir()
    wheel = build(unpacked, tmp_path / "wheel")
    assert names_in(wheel) == names_in(wheels.ca if source == CA else wheels.core)
    assert (
        metadata_of(wheel)["Requires-Dist"]
        == (metadata_of(wheels.ca if source == CA else wheels.core)["Requires-Dist"])
    )


def test_distributions_of_two_versions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"handfast": "1.1", "handfast-ca": "1.0"}
    monkeypatch.setattr(metadata, "version", installed.__getitem__)
    with pytest.raises(
        MissingExtraError, match=r"handfast-ca 1\.0 is beside handfast 1\.1"
    ) as caught:
        require_one_version()
    assert "pip install 'handfast[ca]==1.1'" in caught.value.remedy
    installed["handfast-ca"] = "1.1"
    require_one_version()


def test_a_source_tree_that_is_not_installed_is_not_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def not_installed(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", not_installed)
    require_one_version()


# Installed


def run_installed(
    folder: Path, *wheels: Path, program: str, arguments: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a program beside installed wheels and the libraries, but not beside the checkout."""
    site = folder / "site"
    for wheel in wheels:
        zipfile.ZipFile(wheel).extractall(site)
    libraries = sysconfig.get_path("purelib")
    # Without the site module, no .pth file leads to the checkout.
    program = f"import sys; sys.path += [{str(site)!r}, {libraries!r}]\n{program}"
    command = [sys.executable, "-I", "-S", "-c", program, *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=100
    )


def handfast(folder: Path, *arguments: str, wheels: tuple[Path, ...] = ()) -> tuple[int, str]:
    done = run_installed(
        folder, *wheels, program="from pki.cli.entry import main; main()", arguments=arguments
    )
    return done.returncode, done.stdout + done.stderr


def test_the_ca_works_where_both_wheels_are_installed(wheels: Wheels, tmp_path: Path) -> None:
    both = (wheels.core, wheels.ca)
    code, text = handfast(tmp_path, "ca", "init", "--trust-domain", "shop.internal", wheels=both)
    assert code == 0, text
    code, text = handfast(tmp_path, "issue", "orders")
    assert code == 0, text
    code, text = handfast(tmp_path, "verify", "certs/orders", "--as", "client")
    assert code == 0, text
    program = """
import pki
from pathlib import Path
with pki.Authority.ephemeral("test.internal") as ca:
    print(ca.issue("orders").leaf.subject.rfc4514_string(), Path(pki.__file__).parents[1].name)
"""
    done = run_installed(tmp_path, program=program)
    assert done.stdout == "CN=orders,O=test.internal site\n", done.stderr


def test_the_core_alone_names_the_extra_even_beside_the_libraries(
    wheels: Wheels, tmp_path: Path
) -> None:
    core = (wheels.core,)
    code, text = handfast(tmp_path, "ca", "init", wheels=core)
    assert (code, "pip install 'handfast[ca,cli]'" in text) == (3, True), text
    code, text = handfast(tmp_path, "doctor", "localhost:1")
    assert (code, "pip install 'handfast[cli]'" in text) == (3, True), text
    assert handfast(tmp_path, "version") == (0, f"handfast {__version__}\n")
    program = """
import pki
pki.Workload
try:
    pki.Authority
except ImportError as error:
    print(error)
"""
    done = run_installed(tmp_path, program=program)
    assert "pki.Authority needs handfast[ca]" in done.stdout, done.stderr


def test_the_core_alone_prints_pages_and_failures(wheels: Wheels, tmp_path: Path) -> None:
    page = handfast(tmp_path, "docs", "policy", wheels=(wheels.core,))
    assert page == (0, (ROOT / "docs" / "policy.md").read_text())
    code, text = handfast(tmp_path, "docs", "expired")
    assert (code, text.splitlines()[0]) == (0, "# The certificate has expired")
