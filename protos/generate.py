"""Makes the checked-in stubs from the contracts: ``make protos``.

``--check`` makes them aside and compares, for the linter. Imports are rewritten to lie in the
package that holds the stubs, because protoc knows no other root than its own.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
# Where the stubs of each top package lie, and whether it holds services.
HOMES = {"handfast": ("pki/_proto", False), "shop": ("services/_proto", True)}
_NOTE = "# Made by protos/generate.py: change the .proto, not this.\n"


def generate(target: Path) -> None:
    """Make every stub below a folder that stands for the project's root."""
    # protoc finds its plug-ins for type stubs beside the interpreter, in the virtual environment.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    include = str(resources.files("grpc_tools").joinpath("_proto"))
    for top, (home, has_services) in HOMES.items():
        out = target / home
        out.mkdir(parents=True, exist_ok=True)
        sources = sorted(str(path) for path in (ROOT / "protos" / top).rglob("*.proto"))
        arguments = ["protoc", f"-I{ROOT / 'protos'}", f"-I{include}"]
        arguments += [f"--python_out={out}", f"--mypy_out=quiet:{out}"]
        if has_services:
            arguments += [f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}"]
        if protoc.main([*arguments, *sources]):
            sys.exit(f"protoc failed on {top}")
        _finish(out, home.replace("/", "."), top)


def _finish(out: Path, package: str, top: str) -> None:
    pattern = re.compile(rf"^(from|import) {top}\b", re.MULTILINE)
    for path in sorted((out / top).rglob("*.py*")):
        text = pattern.sub(rf"\1 {package}.{top}", path.read_text())
        text = re.sub(rf"(?<![\w.\"'/]){top}\.v1\.(?=\w+_pb2)", f"{package}.{top}.v1.", text)
        path.write_text(_NOTE + text)
    for folder in [out, *(item for item in (out / top).rglob("*") if item.is_dir()), out / top]:
        (folder / "__init__.py").write_text('"""Made stubs."""\n')


def _files(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): path.read_text()
        for home, _ in HOMES.values()
        for path in sorted((root / home).rglob("*.py*"))
        if path.suffix in {".py", ".pyi"}
    }


def main() -> int:
    """Make the stubs, or check that they are what would be made."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, and change nothing")
    if not parser.parse_args().check:
        generate(ROOT)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh, kept = _files(Path(folder)), _files(ROOT)
    differing = sorted(name for name in {*fresh, *kept} if fresh.get(name) != kept.get(name))
    for name in differing:
        sys.stderr.write(f"{name} is not what protos/ gives; run: make protos\n")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
