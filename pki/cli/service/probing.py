"""The question that ``handfast probe`` asks; it needs the core alone, as in a service's image.

0: the server says that it serves. 1: it says that it does not. 3: nobody could say: it did not
answer, another one answered, or the credential can't be used.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import grpc

from pki.ca_client.contact import stranger_channel, verified_path
from pki.cli.exit_codes import COULD_NOT_TELL, FAILED, WRONG_USAGE
from pki.clock import system_clock
from pki.error_info import read_metadata
from pki.errors import CouldNotTellError, InputError, PkiError, printable, quote_untrusted
from pki.fault import Fault
from pki.files import read_bounded
from pki.identity import SpiffeId
from pki.workload import Workload
from pki.x509 import TrustBundle
from pki.x509.readers import MAX_BUNDLE_BYTES

DEFAULT_SECONDS, LEAST_SECONDS, MOST_SECONDS = 3.0, 0.1, 600.0
_METHOD = "/grpc.health.v1.Health/Check"
_STATUSES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
_SCHEMA = 1
_MOST_NAME = 127


@dataclass(frozen=True, slots=True)
class Probe:
    """Which server is asked, and how.

    Args:
        address: of the server.
        credential: the directory of the credential to ask with; None with ``bundle``.
        bundle: the roots by which a CA is known, at its port for callers without a certificate;
            None with ``credential``.
        name: who must be there; empty for the owner of the credential.
        service: one service; empty for the whole server.
        seconds: how long the answer may take.
    """

    address: str
    credential: Path | None
    bundle: Path | None
    name: str = ""
    service: str = ""
    seconds: float = DEFAULT_SECONDS


@dataclass(frozen=True, slots=True)
class Health:
    """What came of a probe: a status of ``grpc.health.v1``, or of the call; and why."""

    status: str
    detail: str = ""

    @property
    def exit_code(self) -> int:
        """The exit code that says so."""
        if self.status == "SERVING":
            return 0
        return FAILED if self.status in _STATUSES else COULD_NOT_TELL


def check_health(probe: Probe) -> Health:
    """Ask a server for its health.

    Raises:
        CouldNotTellError: if it can't be asked: the credential can't be used, or another one is
            there.
    """
    if (probe.credential is None) == (probe.bundle is None):
        raise CouldNotTellError(InputError("a probe needs --credential DIR, or --bundle FILE"))
    if len(probe.service.encode()) > _MOST_NAME:
        raise CouldNotTellError(InputError(f"--service has at most {_MOST_NAME} bytes"))
    try:
        with _channel(probe) as channel:
            return _ask(channel, probe)
    except PkiError as error:
        raise CouldNotTellError(error) from error


def as_data(probe: Probe, health: Health) -> dict[str, object]:
    """Return the facts of a probe, for scripts."""
    return {"address": probe.address, "status": health.status, "detail": health.detail}


def as_line(probe: Probe, health: Health) -> str:
    """Return the facts of a probe, for people."""
    why = f": {health.detail}" if health.detail else ""
    return f"{quote_untrusted(probe.address)[1:-1]}: {health.status}{why}"


def run_plain(arguments: Sequence[str]) -> int:
    """Run the command without the library of the other commands; return the exit code."""
    parser = _parser()
    settings = parser.parse_args(arguments)
    if settings.credential is None and settings.bundle is None:
        parser.error("give --credential DIR, or --bundle FILE for a CA")
    probe = Probe(
        settings.address,
        None if settings.bundle else settings.credential,
        settings.bundle,
        settings.name,
        settings.service,
        settings.timeout,
    )
    try:
        health = check_health(probe)
    except CouldNotTellError as error:
        sys.stderr.write(printable(f"handfast: could not tell: {error}") + "\n")
        return COULD_NOT_TELL
    document = {"schema": _SCHEMA, "command": "probe", **as_data(probe, health)}
    line = json.dumps(document) if settings.json else printable(as_line(probe, health))
    sys.stdout.write(line.encode("ascii", "backslashreplace").decode() + "\n")
    return health.exit_code


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        sys.stderr.write(printable(f"handfast: {message}") + "\n")
        sys.exit(WRONG_USAGE)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="handfast probe", description=__doc__, allow_abbrev=False)
    parser.add_argument("address", help="the server, host:port")
    credential = os.environ.get("HANDFAST_CREDENTIAL")
    parser.add_argument(
        "--credential", type=_path, default=_path(credential) if credential else None
    )
    parser.add_argument("--bundle", type=_path)
    parser.add_argument("--name", default="")
    parser.add_argument("--service", default="")
    parser.add_argument("--timeout", type=_seconds, default=DEFAULT_SECONDS)
    parser.add_argument("--json", action="store_true")
    return parser


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError("a path is empty or holds a NUL")
    return Path(text)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"between {LEAST_SECONDS:g} and {MOST_SECONDS:g} seconds")
    return seconds


@contextmanager
def _channel(probe: Probe) -> Iterator[grpc.Channel]:
    if probe.bundle is not None:
        with _ca_channel(probe, probe.bundle) as channel:
            yield channel
        return
    assert probe.credential is not None
    with Workload.from_directory(probe.credential) as me:
        peer = (
            SpiffeId.parse_name(probe.name, me.spiffe_id.trust_domain)
            if probe.name
            else me.spiffe_id
        )
        with me.sync_channel(probe.address, peer=peer) as channel:
            yield channel


@contextmanager
def _ca_channel(probe: Probe, file: Path) -> Iterator[grpc.Channel]:
    try:
        data, _ = read_bounded(file, max_bytes=MAX_BUNDLE_BYTES)
    except FileNotFoundError:
        raise InputError(f"{quote_untrusted(file)} is not there") from None
    bundle = TrustBundle.read(data)
    if len(bundle.roots) != 1:
        raise InputError(
            f"{quote_untrusted(file)} holds roots of {len(bundle.roots)} trust domains"
        )
    (domain,) = bundle.roots
    if probe.name and SpiffeId.parse_name(probe.name, domain) != SpiffeId.of_ca(domain):
        raise InputError(
            f"--bundle asks the CA, which is {SpiffeId.of_ca(domain)}, not {probe.name}",
            remedy="Ask another server with --credential DIR",
        )
    path = verified_path(
        probe.address,
        domain,
        now=system_clock(),
        roots=bundle.roots_of(domain),
        seconds=probe.seconds,
    )
    with stranger_channel(probe.address, domain, path[-1]) as channel:
        yield channel


def _ask(channel: grpc.Channel, probe: Probe) -> Health:
    # Messages of one field each: the library with their stubs is no part of a service's install.
    name = probe.service.encode()
    request = b"\n" + bytes([len(name)]) + name if name else b""
    check: Any = channel.unary_unary(_METHOD)
    try:
        answer: bytes = check(request, timeout=probe.seconds)
    except grpc.RpcError as error:
        code = getattr(error, "code", lambda: grpc.StatusCode.UNKNOWN)()
        details = getattr(error, "details", lambda: "")() or ""
        info = read_metadata(getattr(error, "trailing_metadata", lambda: ())() or ())
        if not probe.name and info.get("result") == Fault.NAME_MISMATCH.handshake_result:
            details += ". Say who must be there: --name NAME, which is handfast/ca for a CA"
        if code is grpc.StatusCode.NOT_FOUND:
            return Health("SERVICE_UNKNOWN", details)
        # A status of the call may have the name of one of health's.
        return Health(f"CALL_{code.name}" if code.name in _STATUSES else code.name, details)
    number = answer[1] if len(answer) == 2 and answer[:1] == b"\x08" else 0
    return Health(_STATUSES[number] if number < len(_STATUSES) else "UNKNOWN")
