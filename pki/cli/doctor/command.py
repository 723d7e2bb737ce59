"""``handfast doctor``: why mutual TLS fails, observed as a client or in a server's place."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pki.authz.patterns import parse_method_path
from pki.cli.doctor.questions import Questions
from pki.cli.doctor.quiet import silenced_libraries
from pki.cli.exit_codes import FAILED, WARNINGS
from pki.cli.output import JsonOption
from pki.errors import quote_untrusted
from pki.tls.starttls import StartTls


class FailOn(StrEnum):
    """The least severe result that makes the exit code other than 0."""

    WARNING = "warning"
    CRITICAL = "critical"
    NEVER = "never"


def doctor(
    target: Annotated[
        str | None, typer.Argument(help="host:port, or unix:PATH, of the server.")
    ] = None,
    credential: Annotated[
        Path | None, typer.Option(help="Our credential directory; the server's with --stand-in.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="The expected name of the server: payments, a SPIFFE ID, DNS name or IP."
        ),
    ] = None,
    expect_role: Annotated[
        str | None, typer.Option(help="The role that the server must have by the policy.")
    ] = None,
    policy: Annotated[Path | None, typer.Option(help="The policy file.")] = None,
    method: Annotated[
        str | None, typer.Option(help="A method that we want to call: /package.Service/Method.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="The roots to trust, instead of the credential's.")
    ] = None,
    server_credential: Annotated[
        Path | None,
        typer.Option(help="The server's credential, if it is at hand: then no cause is guessed."),
    ] = None,
    stand_in: Annotated[
        str | None,
        typer.Option(metavar="[HOST:]PORT", help="Take the server's place, and check who calls."),
    ] = None,
    callers: Annotated[
        int | None, typer.Option(min=1, help="With --stand-in: end after so many callers.")
    ] = None,
    sni: Annotated[
        str | None,
        typer.Option(help="The DNS name to ask the server for (SNI), instead of the expected one."),
    ] = None,
    starttls: Annotated[
        StartTls | None,
        typer.Option(help="Ask for TLS in the server's own protocol; no gRPC is expected then."),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0.1, max=60, help="How long each handshake may take.")
    ] = 2.5,
    fail_on: Annotated[
        FailOn, typer.Option(help="The least severe result that makes the exit code other than 0.")
    ] = FailOn.WARNING,
    as_json: JsonOption = False,
) -> None:
    """Find out why mutual TLS fails: exit 0 all well, 1 critical, 4 warnings, 3 could not tell."""
    if (target is None) == (stand_in is None):
        raise typer.BadParameter("name either a target or --stand-in")
    _check_usage(policy, expect_role, method)
    if stand_in is not None and (sni is not None or starttls is not None):
        raise typer.BadParameter("--sni and --starttls ask a server: they need a target")
    questions = Questions(
        name=name,
        bundle=bundle,
        policy=policy,
        expect_role=expect_role,
        method=method,
        server_credential=server_credential,
        sni=sni,
        starttls=starttls,
        seconds=seconds,
    )
    with silenced_libraries():
        from pki.cli.doctor.examination import examine, stand_in_for  # noqa: PLC0415 - loads gRPC

        if stand_in is not None:
            stand_in_for(stand_in, credential, questions, callers, as_json=as_json)
            return
        assert target is not None
        status = examine(target, credential, questions, as_json=as_json)
    if status == "failed" and fail_on is not FailOn.NEVER:
        raise typer.Exit(FAILED)
    if status == "warning" and fail_on is FailOn.WARNING:
        raise typer.Exit(WARNINGS)


def _check_usage(policy: Path | None, role: str | None, method: str | None) -> None:
    """Refuse options that would have no effect: the user would take them for checked."""
    if policy is None:
        for option, value in (("--expect-role", role), ("--method", method)):
            if value is not None:
                raise typer.BadParameter(f"{option} asks the policy: give --policy FILE")
    if method is not None and parse_method_path(method) is None:
        raise typer.BadParameter(
            f"{quote_untrusted(method)} is no method's path: write /package.Service/Method"
        )
