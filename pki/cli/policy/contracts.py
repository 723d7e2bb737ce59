"""Reads contracts for ``handfast policy lint``: ``.proto`` files and descriptor sets."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Sequence
from importlib import import_module, resources
from pathlib import Path

from pki.authz.contracts import MAX_CONTRACT_BYTES, Contracts, read_descriptor_set
from pki.errors import InputError, StateError, shown
from pki.files import read_bounded

_MOST_FILES = 10_000


def read_contracts(
    protos: Sequence[Path], includes: Sequence[Path], sets: Sequence[Path]
) -> Contracts | None:
    """Read all contracts that were named; None if none was.

    Raises:
        PkiError: if one can't be read or compiled.
    """
    parts = []
    for path in sets:
        try:
            data, _ = read_bounded(path, max_bytes=MAX_CONTRACT_BYTES)
        except FileNotFoundError:
            raise StateError(f"{shown(path)} is not there") from None
        parts.append(read_descriptor_set(data, source=str(path)))
    if protos:
        parts.append(_compiled(protos, includes))
    return Contracts.joined(parts) if parts else None


def _compiled(protos: Sequence[Path], includes: Sequence[Path]) -> Contracts:
    try:
        protoc = import_module("grpc_tools.protoc")
    except ImportError:
        raise StateError(
            "reading .proto files needs the compiler in grpcio-tools, which is not installed",
            remedy="pip install grpcio-tools, or give --descriptor-set",
        ) from None
    files: list[Path] = []
    roots = [path.resolve() for path in includes]
    for path in protos:
        if path.is_dir():
            files += sorted(path.resolve().rglob("*.proto"))
            roots.append(path.resolve())
        elif path.exists():
            files.append(path.resolve())
            roots.append(path.resolve().parent)
        else:
            raise StateError(f"{shown(path)} is not there")
    if not files:
        raise InputError("the folders named by --proto hold no .proto file")
    if len(files) > _MOST_FILES:
        raise InputError(f"--proto names {len(files)} files; {_MOST_FILES} is the most")
    well_known = str(resources.files("grpc_tools").joinpath("_proto"))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "set"
        arguments = ["protoc", *(f"-I{root}" for root in dict.fromkeys(roots)), f"-I{well_known}"]
        arguments += ["--include_imports", f"--descriptor_set_out={out}", *map(str, files)]
        # The compiler has written its own words on stderr by then.
        with contextlib.redirect_stdout(io.StringIO()):
            failed = protoc.main(arguments)
        if failed:
            raise InputError(
                "the .proto files do not compile",
                remedy="See the lines above; name the root of their imports with --include",
            )
        return read_descriptor_set(out.read_bytes(), source="the .proto files")
