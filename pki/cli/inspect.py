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
from pki.cli.passphrase import read_passphrase
from pki.clock import system_clock
from pki.diagnosis import shake_hands
from pki.errors import CertificateError, InputError, PkiError, StateError, quote_untrusted
from pki.files import LAYOUTS, read_bounded
from pki.inspection import MAX_BYTES, Level, Thing, describe, judge_together
from pki.inspection.certificates import describe_certificate
from pki.inspection.report_item import plain, without_internals
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
_ENDINGS = {".pem", ".crt", ".cer", ".der", ".key", ".crl", ".csr", ".p12", ".pfx", ".p7b", ".0"}
_COLOURS = {
    Level.GOOD: "green",
    Level.NOTE: "cyan",
    Level.WARNING: "yellow",
    Level.BAD: "bold red",
}

Found = list[tuple[str, list[Thing]]]


def inspect(
    targets: Annotated[
        list[str],
        typer.Argument(help="Files, directories, host:port, unix:PATH, or - for standard input."),
    ],
    password_file: Annotated[
        Path | None, typer.Option(help="A file whose first line opens PKCS#12 and keys.")
    ] = None,
    name: Annotated[
        str, typer.Option(help="The name to ask a server for; its host if there is none.")
    ] = "",
    whole: Annotated[bool, typer.Option("--text", help="Show all of it, each extension.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what certificates, requests, keys, lists, stores and servers hold; never a secret."""
    password = read_passphrase(password_file) if password_file is not None else None
    now = system_clock()
    found: Found = []
    errors: list[PkiError] = []
    for target in targets:
        try:
            found += _of_target(target, name, password, now)
        except PkiError as error:
            # One that can't be shown does not hide the others.
            if len(targets) == 1:
                raise
            errors.append(error)
            found.append((target, [_unreadable(error)]))
    judge_together([items for _, items in found])
    if as_json:
        print_result(
            "inspect",
            {"objects": [_json(file, item) for file, items in found for item in items]},
            [],
            as_json=True,
        )
    else:
        _show(found, whole=whole)
    for missed in errors:
        print_error(missed.message, missed.remedy)
    if errors:
        raise typer.Exit(1)


def _show(found: Found, *, whole: bool) -> None:
    console = console_for(sys.stdout)
    for file, items in found:
        tree = Tree(Text(plain(file, letters=True), style="bold"))
        for thing in items:
            _grow(tree, thing, whole=whole)
        console.print(tree, highlight=False)


def _unreadable(error: PkiError) -> Thing:
    thing = Thing("unreadable", facts={"error": error.message})
    thing.flag(Level.BAD, error.message)
    return thing


def _of_target(target: str, name: str, password: bytes | None, now: datetime) -> Found:
    if target == "-":
        data = sys.stdin.buffer.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise InputError(f"standard input holds more than {MAX_BYTES} bytes")
        return [("-", list(describe(data, source="standard input", now=now, password=password)))]
    path = Path(target)
    if path.is_dir():
        return _of_directory(path, password, now)
    if not path.exists() and _is_server(target):
        return [(target, _of_server(target, name, now))]
    return [(target, _of_file(path, password, now))]


def _of_directory(path: Path, password: bytes | None, now: datetime) -> Found:
    """Describe the files of a directory; one that can't be read does not hide the others."""
    try:
        there = sorted(item for item in path.iterdir() if item.is_file())
    except OSError as error:
        raise StateError(f"{quote_untrusted(path)} can't be read: {error.strerror}") from None
    files = [item for item in there if item.name in _NAMES or item.suffix in _ENDINGS]
    if not files:
        raise StateError(f"{quote_untrusted(path)} holds no file of a kind known here")
    if len(files) > _MOST_FILES:
        raise InputError(
            f"{quote_untrusted(path)} holds {len(files)} files; {_MOST_FILES} is the most"
        )
    found: Found = []
    # As a credential is read: the key, its chain, then the rest.
    for file in sorted(files, key=_place):
        try:
            found.append((str(file), _of_file(file, password, now)))
        except PkiError as error:
            found.append((str(file), [_unreadable(error)]))
    return found


def _place(file: Path) -> tuple[int, str]:
    order: list[set[str | None]] = [
        {layout.key for layout in LAYOUTS.values()},
        {layout.chain for layout in LAYOUTS.values()},
        {layout.bundle for layout in LAYOUTS.values()},
    ]
    return next((at for at, names in enumerate(order) if file.name in names), 3), file.name


def _of_file(path: Path, password: bytes | None, now: datetime) -> list[Thing]:
    try:
        data, mode = read_bounded(path, max_bytes=MAX_BYTES)
    except FileNotFoundError:
        raise StateError(f"{quote_untrusted(path)} is not there") from None
    things = list(describe(data, source=str(path), now=now, password=password))
    for thing in things:
        if thing.kind.startswith("private key"):
            thing.facts["mode"] = f"{mode:04o}"
            if mode & _OTHERS:
                thing.flag(Level.WARNING, f"mode {mode:04o}: others may read it")
    return things


def _is_server(target: str) -> bool:
    try:
        parsed = Target.parse(target)
    except InputError:
        return False
    return parsed.path is not None or (":" in target and "/" not in target)


def _of_server(target: str, name: str, now: datetime) -> list[Thing]:
    parsed = Target.parse(target)
    host = name or (parsed.hosts[0][0] if parsed.hosts else "")
    # A name indication is a DNS name: an address is none (RFC 6066 section 3).
    asked = host if any(item.isalpha() for item in host) and ":" not in host else ""
    seen = shake_hands(parsed, asked, None, seconds=_SECONDS)
    if not seen.chain:
        raise StateError(
            f"{quote_untrusted(target)} showed no certificate: {seen.message}",
            remedy=f"handfast doctor {plain(target)} says more",
        )
    things = []
    for der in seen.chain[:_MOST_SERVER_CERTIFICATES]:
        try:
            things.append(describe_certificate(x509.load_der_x509_certificate(der), now))
        except UNREADABLE as error:
            why = without_internals(quote_untrusted(error))
            raise CertificateError(
                f"a certificate of {quote_untrusted(target)} can't be decoded: {why}"
            ) from None
    return things


def _grow(tree: Tree, thing: Thing, *, whole: bool) -> None:
    head = Text(thing.kind + (f": {thing.title}" if thing.title else ""), overflow="fold")
    for flag in thing.flags:
        head.append(f"  [{flag.words}]", style=_COLOURS[flag.level])
    branch = tree.add(head)
    width = max((len(row.label) for row in thing.rows), default=0)
    lines: Iterable[str] = [f"{row.label:<{width}}  {row.value}" for row in thing.rows]
    for line in [*lines, *(thing.text if whole else [])]:
        branch.add(Text(line, overflow="fold"))


def _json(file: str, thing: Thing) -> dict[str, object]:
    return {
        "file": file,
        "kind": thing.kind,
        **thing.facts,
        "flags": [{"level": item.level.value, "words": item.words} for item in thing.flags],
    }
