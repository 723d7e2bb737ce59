"""``handfast doctor``: why mutual TLS fails, observed as a client or in a server's place."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509

from pki.authz import Policy
from pki.authz.patterns import parse_method_path
from pki.cli.doctor.report_json import report_json
from pki.cli.doctor.report_text import print_report
from pki.cli.doctor.stand_in import run_stand_in
from pki.cli.exit_codes import FAILED, WARNINGS
from pki.cli.output import JsonOption, print_result
from pki.cli.policy.policy_file import read_policy_file
from pki.clock import system_clock
from pki.diagnosis import (
    ExpectedName,
    Finding,
    Observations,
    OwnCredential,
    Report,
    ServerExamination,
    Status,
    check_observations,
    examine_caller,
    examine_our_role,
    examine_server_role,
    observe_server,
    parse_expected_name,
    parse_host,
    read_own_credential,
    replace_guesses,
    replace_repeated_causes,
)
from pki.errors import CouldNotTellError, InputError, PkiError, StateError, quote_untrusted
from pki.files import read_bounded
from pki.tls.target import Target
from pki.x509.readers import (
    MAX_BUNDLE_BYTES,
    MAX_BUNDLE_LENGTH,
    decode_certificate,
    read_certificates,
)


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
    try:
        own = read_own_credential(credential) if credential is not None else None
        policy_in_use = read_policy_file(policy) if policy is not None else None
        if policy_in_use is not None and expect_role is not None:
            _check_role(policy_in_use, expect_role)
        if stand_in is not None:
            if own is None:
                raise InputError(
                    "--stand-in needs the server's credential", remedy="Give --credential DIR"
                )
            run_stand_in(stand_in, own, policy_in_use, method, callers, as_json=as_json)
            return
        assert target is not None
        examination = _examination(target, own, name, bundle, seconds)
        server = read_own_credential(server_credential) if server_credential is not None else None
    except PkiError as error:
        raise CouldNotTellError(error) from error
    observations = observe_server(examination)
    now = system_clock()
    findings = check_observations(examination, observations, now)
    findings += _examine_roles(examination, observations, policy_in_use, expect_role, method)
    if server is not None and own is not None and own.chain:
        at_server = examine_caller("our certificate, at the server", own.chain, server, now)
        if any(item.status is Status.FAILED for item in at_server):
            findings = replace_guesses(findings, "the reason is below, by the server's credential")
        ours = [item for item in findings if item.check.startswith("our ")]
        findings += replace_repeated_causes(at_server, ours)
    report = Report(target, tuple(findings))
    if as_json:
        print_result("doctor", report_json(report), [], as_json=True)
    else:
        print_report(report)
    _exit(report.status, fail_on)


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


def _check_role(policy: Policy, role: str) -> None:
    roles = sorted({rule.role for rule in policy.rules.roles})
    if role not in roles:
        raise InputError(
            f"--expect-role {quote_untrusted(role)}: the policy has no such role",
            remedy=f"Name one of: {', '.join(roles[:10])}",
        )


def _examination(
    target: str, own: OwnCredential | None, name: str | None, bundle: Path | None, seconds: float
) -> ServerExamination:
    parsed = Target.parse(target)
    expected: ExpectedName | None = None
    if name is not None:
        expected = parse_expected_name(name, own.spiffe_id if own is not None else None)
    elif parsed.hosts:
        expected = _parse_dialled_host(parsed.hosts[0][0])
    roots: tuple[x509.Certificate, ...] = ()
    if bundle is not None:
        roots = read_certificates(
            _read(bundle, MAX_BUNDLE_BYTES),
            what=quote_untrusted(bundle),
            max_bytes=MAX_BUNDLE_BYTES,
            max_count=MAX_BUNDLE_LENGTH,
        )
    return ServerExamination(parsed, expected, own, roots, seconds)


def _parse_dialled_host(host: str) -> ExpectedName | None:
    """Return the name that a client without a pin expects: the host that it connects to."""
    try:
        return parse_host(host)
    except PkiError:
        return None


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        return read_bounded(path, max_bytes=max_bytes)[0]
    except FileNotFoundError:
        raise StateError(f"{quote_untrusted(path)} is not there") from None


def _examine_roles(
    examination: ServerExamination,
    observations: Observations,
    policy: Policy | None,
    role: str | None,
    method: str | None,
) -> list[Finding]:
    if policy is None:
        return []
    findings: list[Finding] = []
    if (
        (method is not None or role is None)
        and examination.own is not None
        and examination.own.chain
    ):
        findings += examine_our_role(policy, examination.own.chain[0], method)
    if observations.chain:
        try:
            leaf = decode_certificate(observations.chain[0], what="the server's certificate")
        except PkiError:
            return findings
        findings += examine_server_role(policy, leaf, role, method)
    return findings


def _exit(status: Status, fail_on: FailOn) -> None:
    if status is Status.FAILED and fail_on is not FailOn.NEVER:
        raise typer.Exit(FAILED)
    if status is Status.WARNING and fail_on is FailOn.WARNING:
        raise typer.Exit(WARNINGS)
