"""Makes the checked-in stubs from the contracts: ``make protos``.

Needs no compiler but the one in grpcio-tools. The stubs are made aside first: then either the
checked-in ones are brought up to them, or, with ``--check``, each file that differs is named.
Imports are rewritten to lie in the package that holds the stubs, because protoc knows no other
root than its own. The names that are registered with protobuf stay those of the contracts, so
the rewriting never makes a message known twice.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
_NOTE = "# Made by protos/generate.py: change the .proto, not this.\n"
_PACKAGE = '"""Made stubs."""\n'


@dataclass(frozen=True, slots=True)
class Home:
    """Where the stubs of one folder of contracts lie, and whether it holds services."""

    contracts: str
    folder: str
    has_services: bool

    @property
    def package(self) -> str:
        """The Python package of the folder."""
        return self.folder.replace("/", ".")


HOMES = (
    Home("handfast", "pki/_proto", has_services=False),
    Home("shop", "services/_proto", has_services=True),
)


def generate(target: Path, homes: Sequence[Home] = HOMES) -> None:
    """Make every stub below a folder that stands for the project's root."""
    # protoc finds its plug-ins for type stubs beside the interpreter, in the virtual environment.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    include = str(resources.files("grpc_tools").joinpath("_proto"))
    for home in homes:
        out = target / home.folder
        out.mkdir(parents=True, exist_ok=True)
        sources = sorted(str(path) for path in (ROOT / "protos" / home.contracts).rglob("*.proto"))
        arguments = ["protoc", f"-I{ROOT / 'protos'}", f"-I{include}"]
        arguments += [f"--python_out={out}", f"--mypy_out=quiet:{out}"]
        if home.has_services:
            arguments += [f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}"]
        if protoc.main([*arguments, *sources]):
            sys.exit(f"protoc failed on protos/{home.contracts}")
        _settle(out, home)


def _settle(out: Path, home: Home) -> None:
    top = re.escape(home.contracts)
    statement = re.compile(rf"^(from|import) {top}\b", re.MULTILINE)
    dotted = re.compile(rf"(?<![\w.\"'/]){top}\.(?=(?:\w+\.)*\w+_pb2)")
    for path in sorted((out / home.contracts).rglob("*.py*")):
        text = statement.sub(rf"\1 {home.package}.{home.contracts}", path.read_text())
        path.write_text(_NOTE + dotted.sub(f"{home.package}.{home.contracts}.", text))
    for folder in (out, *(item for item in out.rglob("*") if item.is_dir())):
        (folder / "__init__.py").write_text(_PACKAGE)


def stubs(root: Path) -> dict[str, str]:
    """Read the stubs below a root: the text of each file by its path."""
    return {
        path.relative_to(root).as_posix(): path.read_text()
        for home in HOMES
        for path in sorted((root / home.folder).rglob("*.py*"))
        if path.suffix in {".py", ".pyi"}
    }


def main() -> int:
    """Make the stubs, or check that they are what would be made."""
    parser = argparse.ArgumentParser(description="Make the checked-in stubs from protos/.")
    parser.add_argument("--check", action="store_true", help="compare, and change nothing")
    checking = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh, kept = stubs(Path(folder)), stubs(ROOT)
    differing = sorted(name for name in {*fresh, *kept} if fresh.get(name) != kept.get(name))
    for name in differing:
        if checking:
            sys.stderr.write(f"{name} is not what protos/ gives; run: make protos\n")
        elif name in fresh:
            (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / name).write_text(fresh[name])
        else:
            (ROOT / name).unlink()
    return 1 if checking and differing else 0


if __name__ == "__main__":
    sys.exit(main())
