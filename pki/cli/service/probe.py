"""``handfast probe``: ask a server for its health with mutual TLS; the exit code is the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import grpc
import typer

from pki.cli.exit_codes import COULD_NOT_TELL, FAILED
from pki.cli.options import parse_path
from pki.cli.output import JsonOption, print_result
from pki.errors import quote_untrusted
from pki.identity import SpiffeId
from pki.workload import Workload

_METHOD = "/grpc.health.v1.Health/Check"
_STATUSES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")


def probe(
    address: Annotated[str, typer.Argument(help="The server, host:port.")],
    credential: Annotated[
        Path,
        typer.Option(
            parser=parse_path,
            metavar="DIR",
            envvar="HANDFAST_CREDENTIAL",
            help="The credential to ask with: the server's own will do.",
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Who must be there; without it, the owner of the credential."
        ),
    ] = None,
    service: Annotated[str, typer.Option(help="One service; empty for the whole server.")] = "",
    timeout: Annotated[float, typer.Option(help="Seconds.", min=0.1, max=600.0)] = 3.0,
    as_json: JsonOption = False,
) -> None:
    """Check a server's health: exit code 0 if it serves, 1 if not, 3 if that can't be told."""
    with Workload.from_directory(credential) as me:
        peer = SpiffeId.parse_name(name, me.spiffe_id.trust_domain) if name else me.spiffe_id
        with me.sync_channel(address, peer=peer) as channel:
            status, why = _ask(channel, service, timeout)
    print_result(
        "probe",
        {"address": address, "status": status, "detail": why},
        [f"{quote_untrusted(address)[1:-1]}: {status}" + (f": {why}" if why else "")],
        as_json=as_json,
    )
    if status != "SERVING":
        raise typer.Exit(FAILED if status in _STATUSES else COULD_NOT_TELL)


def _ask(channel: grpc.Channel, service: str, timeout: float) -> tuple[str, str]:
    # Messages of one field each: the library with their stubs is no part of a service's install.
    name = service.encode()
    if len(name) > 127:
        raise typer.BadParameter("--service has at most 127 bytes")
    request = b"\n" + bytes([len(name)]) + name if name else b""
    check: Any = channel.unary_unary(_METHOD)
    try:
        answer: bytes = check(request, timeout=timeout)
    except grpc.RpcError as error:
        code = getattr(error, "code", lambda: grpc.StatusCode.UNKNOWN)()
        details = getattr(error, "details", lambda: "")() or ""
        if code is grpc.StatusCode.NOT_FOUND:
            return "SERVICE_UNKNOWN", details
        return code.name, details
    number = answer[1] if len(answer) == 2 and answer[:1] == b"\x08" else 0
    return _STATUSES[number] if number < len(_STATUSES) else "UNKNOWN", ""
