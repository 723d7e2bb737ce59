"""Reads contracts for ``handfast policy lint``: ``.proto`` files and descriptor sets."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module, resources
from pathlib import Path

from pki.authz.analysis.contracts import MAX_CONTRACT_BYTES, Contracts, read_descriptor_set
from pki.errors import InputError, StateError, quote_untrusted
from pki.files import read_bounded

_MOST_FILES = 10_000
_SECONDS = 60


def read_contracts(
    protos: Sequence[Path], includes: Sequence[Path], sets: Sequence[Path]
) -> Contracts | None:
    """Read all contracts that are named; None if none is.

    Raises:
        PkiError: if one can't be read or compiled.
    """
    parts = []
    for path in sets:
        try:
            data, _ = read_bounded(path, max_bytes=MAX_CONTRACT_BYTES)
        except FileNotFoundError:
            raise StateError(f"{quote_untrusted(path)} is not there") from None
        parts.append(read_descriptor_set(data, source=str(path)))
    if protos:
        parts.append(_compiled(protos, includes))
    return Contracts.union(parts) if parts else None


def _compiled(protos: Sequence[Path], includes: Sequence[Path]) -> Contracts:
    try:
        import_module("grpc_tools.protoc")
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
        elif path.is_file():
            files.append(path.resolve())
            roots.append(path.resolve().parent)
        else:
            fault = "is no regular file" if path.exists() else "is not there"
            raise StateError(f"{quote_untrusted(path)} {fault}")
    files = [path for path in files if path.is_file()]
    if not files:
        raise InputError("the folders named by --proto hold no .proto file")
    if len(files) > _MOST_FILES:
        raise InputError(f"--proto names {len(files)} files; {_MOST_FILES} is the most")
    well_known = str(resources.files("grpc_tools").joinpath("_proto"))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "set"
        arguments = [f"-I{root}" for root in [*dict.fromkeys(roots), well_known]]
        arguments += ["--include_imports", f"--descriptor_set_out={out}", *map(str, files)]
        # A process can be ended: an import may name a pipe, and the compiler hears no interrupt.
        try:
            done = subprocess.run(  # noqa: S603 - our own interpreter; paths are arguments
                [sys.executable, "-m", "grpc_tools.protoc", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise InputError(
                f"the .proto files do not compile within {_SECONDS} seconds",
                remedy="Check whether one of them or of their imports is a pipe or has no end",
            ) from None
        # By then the compiler has written its own message on stderr.
        if done.returncode:
            raise InputError(
                "the .proto files do not compile",
                remedy="See the lines above; name the root of their imports with --include",
            )
        return read_descriptor_set(out.read_bytes(), source="the .proto files")
