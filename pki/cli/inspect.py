"""``handfast inspect``: what files, directories and servers hold, whoever made them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509
from rich.text import Text
from rich.tree import Tree

from pki.cli.output import JsonOption, console_for, print_error, print_result
from pki.cli.state.meant_path import path_suggested
from pki.clock import system_clock
from pki.errors import CertificateError, InputError, PkiError, StateError, quote_untrusted
from pki.files import LAYOUTS, read_bounded
from pki.files.passphrase import read_passphrase
from pki.inspection import MAX_BYTES, Level, ReportItem, cross_check, describe
from pki.inspection.certificates import describe_certificate
from pki.inspection.formatting import quote_if_unsafe, without_decoder_details
from pki.tls.target import Target
from pki.x509.decoding import UNREADABLE

_MOST_FILES = 200
_MOST_SERVER_CERTIFICATES = 20
_SECONDS = 5.0
_OTHERS = 0o077
_NAMES = frozenset(
    name
    for layout in LAYOUTS.values()
    for name in (layout.key, layout.chain, layout.bundle, layout.crls)
    if name
)
_ENDINGS = {
    *{".pem", ".crt", ".cer", ".der", ".key", ".crl", ".csr", ".0"},
    *{".p12", ".pfx", ".p7b", ".jks", ".keystore", ".truststore"},
}
_COLOURS = {
    Level.GOOD: "green",
    Level.NOTE: "cyan",
    Level.WARNING: "yellow",
    Level.BAD: "bold red",
}

# The name of each file or server, and the objects in it.
Reports = list[tuple[str, list[ReportItem]]]


def inspect(
    targets: Annotated[
        list[str],
        typer.Argument(help="Files, directories, host:port, unix:PATH, or - for standard input."),
    ],
    password_file: Annotated[
        Path | None, typer.Option(help="A file whose first line opens PKCS#12 and keys.")
    ] = None,
    name: Annotated[
        str, typer.Option(help="The server name to ask for; the host of the target by default.")
    ] = "",
    whole: Annotated[
        bool, typer.Option("--text", help="Show everything, with each extension.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what certificates, requests, keys, CRLs, stores and servers hold; never a secret."""
    password = read_passphrase(password_file) if password_file is not None else None
    now = system_clock()
    reports: Reports = []
    errors: list[PkiError] = []
    for target in targets:
        try:
            with path_suggested(Path(target)):
                reports += _describe_target(target, name, password, now)
        except PkiError as error:
            # A target that can't be described does not hide the others.
            if len(targets) == 1:
                raise
            errors.append(error)
            reports.append((target, [_unreadable(error)]))
    cross_check([items for _, items in reports])
    if as_json:
        print_result(
            "inspect",
            {"objects": [_json(file, item) for file, items in reports for item in items]},
            [],
            as_json=True,
        )
    else:
        _print(reports, whole=whole)
    for item in errors:
        print_error(item.message, item.remedy)
    if errors:
        raise typer.Exit(1)


def _print(reports: Reports, *, whole: bool) -> None:
    console = console_for(sys.stdout)
    for file, items in reports:
        tree = Tree(Text(quote_if_unsafe(file, allow_letters=True), style="bold"))
        for report in items:
            _add_to_tree(tree, report, whole=whole)
        console.print(tree, highlight=False)


def _unreadable(error: PkiError) -> ReportItem:
    report = ReportItem("unreadable", facts={"error": error.message})
    report.flag(Level.BAD, error.message)
    return report


def _describe_target(target: str, name: str, password: bytes | None, now: datetime) -> Reports:
    if target == "-":
        data = sys.stdin.buffer.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise InputError(f"standard input holds more than {MAX_BYTES} bytes")
        return [("-", list(describe(data, source="standard input", now=now, password=password)))]
    path = Path(target)
    if path.is_dir():
        return _describe_directory(path, password, now)
    if not path.exists() and _is_server(target):
        return [(target, _describe_server(target, name, now))]
    return [(target, _describe_file(path, password, now))]


def _describe_directory(path: Path, password: bytes | None, now: datetime) -> Reports:
    """Describe the files of a directory; one that can't be read does not hide the others."""
    try:
        present = sorted(item for item in path.iterdir() if item.is_file())
    except OSError as error:
        raise StateError(f"{quote_untrusted(path)} can't be read: {error.strerror}") from None
    files = [item for item in present if item.name in _NAMES or item.suffix in _ENDINGS]
    if not files:
        raise StateError(f"{quote_untrusted(path)} holds no file of a known kind")
    if len(files) > _MOST_FILES:
        raise InputError(
            f"{quote_untrusted(path)} holds {len(files)} files; {_MOST_FILES} is the most"
        )
    reports: Reports = []
    # In the order in which one reads a credential: the key, its chain, then the rest.
    for file in sorted(files, key=_place):
        try:
            reports.append((str(file), _describe_file(file, password, now)))
        except PkiError as error:
            reports.append((str(file), [_unreadable(error)]))
    return reports


def _place(file: Path) -> tuple[int, str]:
    order: list[set[str | None]] = [
        {layout.key for layout in LAYOUTS.values()},
        {layout.chain for layout in LAYOUTS.values()},
        {layout.bundle for layout in LAYOUTS.values()},
    ]
    return next((at for at, names in enumerate(order) if file.name in names), 3), file.name


def _describe_file(path: Path, password: bytes | None, now: datetime) -> list[ReportItem]:
    try:
        data, mode = read_bounded(path, max_bytes=MAX_BYTES)
    except FileNotFoundError:
        raise StateError(f"{quote_untrusted(path)} is not there") from None
    reports = list(describe(data, source=str(path), now=now, password=password))
    for report in reports:
        if report.kind.startswith("private key"):
            report.facts["mode"] = f"{mode:04o}"
            if mode & _OTHERS:
                report.flag(Level.WARNING, f"mode {mode:04o}: others may read it")
    return reports


def _is_server(target: str) -> bool:
    try:
        parsed = Target.parse(target)
    except InputError:
        return False
    return parsed.path is not None or (":" in target and "/" not in target)


def _describe_server(target: str, name: str, now: datetime) -> list[ReportItem]:
    from pki.diagnosis import make_handshake  # noqa: PLC0415 - loads gRPC, which files do not need

    parsed = Target.parse(target)
    host = name or (parsed.hosts[0][0] if parsed.hosts else "")
    # A server name indication is a DNS name, never an address (RFC 6066 section 3).
    server_name = host if any(item.isalpha() for item in host) and ":" not in host else ""
    handshake = make_handshake(parsed, server_name, None, seconds=_SECONDS)
    if not handshake.chain:
        raise StateError(
            f"{quote_untrusted(target)} presented no certificate: {handshake.message}",
            remedy=f"handfast doctor {quote_if_unsafe(target)} says more",
        )
    reports = []
    for der in handshake.chain[:_MOST_SERVER_CERTIFICATES]:
        try:
            reports.append(describe_certificate(x509.load_der_x509_certificate(der), now))
        except UNREADABLE as error:
            why = without_decoder_details(quote_untrusted(error))
            raise CertificateError(
                f"a certificate of {quote_untrusted(target)} can't be decoded: {why}"
            ) from None
    return reports


def _add_to_tree(tree: Tree, report: ReportItem, *, whole: bool) -> None:
    head = Text(report.kind + (f": {report.title}" if report.title else ""), overflow="fold")
    for flag in report.flags:
        head.append(f"  [{flag.message}]", style=_COLOURS[flag.level])
    branch = tree.add(head)
    width = max((len(row.label) for row in report.rows), default=0)
    lines: Iterable[str] = [f"{row.label:<{width}}  {row.value}" for row in report.rows]
    for line in [*lines, *(report.text if whole else [])]:
        branch.add(Text(line, overflow="fold"))


def _json(file: str, report: ReportItem) -> dict[str, object]:
    return {
        "file": file,
        "kind": report.kind,
        **report.facts,
        "flags": [{"level": item.level.value, "message": item.message} for item in report.flags],
    }
