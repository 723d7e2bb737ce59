"""``handfast doctor``: why mutual TLS fails, seen from a client's end or in a server's place."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509

from pki.authz import Policy
from pki.authz.patterns import parse_method_path
from pki.cli.output import SCHEMA, JsonOption, console_for, print_result
from pki.cli.policy.policy_file import read_policy_file
from pki.clock import system_clock
from pki.diagnosis.checks.credential_files import OwnCredential, read_own
from pki.diagnosis.checks.issuer_path import named
from pki.diagnosis.checks.peer_view import examine_caller
from pki.diagnosis.checks.policy import examine_our_role, examine_server_role
from pki.diagnosis.checks.server_name import ExpectedName, read_expected, read_host
from pki.diagnosis.client_check import Examination, Observations, judge, see
from pki.diagnosis.report import Finding, Report, Status, without_guesses, without_repeats, worst
from pki.diagnosis.stand_in import Caller, Outcome, StandIn
from pki.errors import CouldNotTellError, InputError, PkiError, StateError, quote_untrusted
from pki.failures import FAILURES
from pki.files import read_bounded
from pki.tls.target import Target
from pki.x509.readers import (
    MAX_BUNDLE_BYTES,
    MAX_BUNDLE_LENGTH,
    decode_certificate,
    read_certificates,
)

CRITICAL = 1
WARNING = 4
_MARKS = {
    Status.OK: ("ok", "green"),
    Status.WARNING: ("warning", "yellow"),
    Status.FAILED: ("FAILED", "red"),
    Status.UNKNOWN: ("?", "dim"),
}
_OUTCOMES = {
    Outcome.ACCEPTED: "would be accepted",
    Outcome.REFUSED: "would be refused",
    Outcome.LEFT: "left before the handshake was done",
}


class FailOn(StrEnum):
    """From which grade on the exit code is not 0."""

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
        typer.Option(help="Whom to expect there: payments, a SPIFFE ID, DNS name or IP."),
    ] = None,
    expect_role: Annotated[
        str | None, typer.Option(help="The role that the server must have by the policy.")
    ] = None,
    policy: Annotated[Path | None, typer.Option(help="The policy file.")] = None,
    method: Annotated[
        str | None, typer.Option(help="A method that we want to call: /package.Service/Method.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="The roots to believe, instead of the credential's.")
    ] = None,
    server_credential: Annotated[
        Path | None,
        typer.Option(help="The server's credential, if it is at hand: no cause need be guessed."),
    ] = None,
    stand_in: Annotated[
        str | None,
        typer.Option(metavar="[HOST:]PORT", help="Take the server's place, and judge who comes."),
    ] = None,
    callers: Annotated[
        int | None, typer.Option(min=1, help="With --stand-in: end after so many callers.")
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0.1, max=60, help="How long each handshake may take.")
    ] = 2.5,
    fail_on: Annotated[
        FailOn, typer.Option(help="From which grade on the exit code is not 0.")
    ] = FailOn.WARNING,
    as_json: JsonOption = False,
) -> None:
    """Find out why mutual TLS fails: exit 0 all well, 1 critical, 4 warnings, 3 could not tell."""
    if (target is None) == (stand_in is None):
        raise typer.BadParameter("name either a target or --stand-in")
    _check_questions(policy, expect_role, method)
    try:
        own = read_own(credential) if credential is not None else None
        used = read_policy_file(policy) if policy is not None else None
        if used is not None and expect_role is not None:
            _check_role(used, expect_role)
        if stand_in is not None:
            if own is None:
                raise InputError(
                    "--stand-in needs the server's credential", remedy="Give --credential DIR"
                )
            _stand_in(stand_in, own, used, method, callers, as_json=as_json)
            return
        assert target is not None
        examination = _examination(target, own, name, bundle, seconds)
        server = read_own(server_credential) if server_credential is not None else None
    except PkiError as error:
        raise CouldNotTellError(error) from error
    seen = see(examination)
    findings = judge(examination, seen)
    findings += _roles(examination, seen, used, expect_role, method)
    if server is not None and own is not None and own.chain:
        found = examine_caller("our certificate, at the server", own.chain, server, system_clock())
        if any(item.status is Status.FAILED for item in found):
            findings = without_guesses(findings, "why stands below, by the server's credential")
        ours = [item for item in findings if item.question.startswith("our ")]
        findings += without_repeats(found, ours)
    _tell(Report(target, tuple(findings)), as_json=as_json)
    _exit(worst(findings), fail_on)


def _check_questions(policy: Path | None, role: str | None, method: str | None) -> None:
    """Refuse a question that would not be asked: it would look as if it were answered."""
    if policy is None:
        for option, given in (("--expect-role", role), ("--method", method)):
            if given is not None:
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
            remedy=f"Name one of it: {', '.join(roles[:10])}",
        )


def _examination(
    target: str, own: OwnCredential | None, name: str | None, bundle: Path | None, seconds: float
) -> Examination:
    parsed = Target.parse(target)
    expected: ExpectedName | None = None
    if name is not None:
        expected = read_expected(name, own.spiffe_id if own is not None else None)
    elif parsed.hosts:
        expected = _of_host(parsed.hosts[0][0])
    roots: tuple[x509.Certificate, ...] = ()
    if bundle is not None:
        roots = read_certificates(
            _read(bundle, MAX_BUNDLE_BYTES),
            what=quote_untrusted(bundle),
            max_bytes=MAX_BUNDLE_BYTES,
            max_count=MAX_BUNDLE_LENGTH,
        )
    return Examination(parsed, expected, own, roots, system_clock, seconds)


def _of_host(host: str) -> ExpectedName | None:
    """Return what a client without a pin expects: the host that it connects to."""
    try:
        return read_host(host)
    except PkiError:
        return None


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        return read_bounded(path, max_bytes=max_bytes)[0]
    except FileNotFoundError:
        raise StateError(f"{quote_untrusted(path)} is not there") from None


def _roles(
    examination: Examination,
    seen: Observations,
    policy: Policy | None,
    role: str | None,
    method: str | None,
) -> list[Finding]:
    if policy is None:
        return []
    found: list[Finding] = []
    if (
        (method is not None or role is None)
        and examination.own is not None
        and examination.own.chain
    ):
        found += examine_our_role(policy, examination.own.chain[0], method)
    if seen.chain:
        try:
            leaf = decode_certificate(seen.chain[0], what="the server's certificate")
        except PkiError:
            return found
        found += examine_server_role(policy, leaf, role, method)
    return found


def _tell(report: Report, *, as_json: bool) -> None:
    if as_json:
        print_result("doctor", _report_json(report), [], as_json=True)
        return
    console = console_for(sys.stdout)
    _show(report.findings)
    _show_causes(report)
    if report.causes:
        return
    if report.likely:
        console.print(
            "  To be sure: handfast doctor --stand-in PORT --credential DIR with the server's own"
            " credential, or --server-credential DIR here",
            soft_wrap=True,
            highlight=False,
        )
    else:
        words = {Status.OK: "All well", Status.WARNING: "It works, with warnings"}
        ends = words.get(report.status, "It fails")
        console.print(f"\n{ends}: {quote_untrusted(report.target)}", highlight=False)


def _show_causes(report: Report) -> None:
    console = console_for(sys.stdout)
    if report.causes:
        console.print()
        for item in report.causes:
            _explain("cause", item)
    if report.likely:
        begin = "What else is wrong" if report.causes else "What is wrong"
        console.print()
        console.print(f"{begin} can't be seen from this end. Likely, the likeliest first:")
        for number, item in enumerate(report.likely[:5], start=1):
            _explain(f"likely {number}", item)


def _show(findings: tuple[Finding, ...]) -> None:
    """Show a line for each answer; those that are likely have one together, where the first is."""
    console = console_for(sys.stdout)
    width = max((len(item.question) for item in findings), default=0)
    likely: dict[str, list[str]] = {}
    for item in findings:
        if not item.is_sure:
            likely.setdefault(item.question, []).append(item.failure or "")
    told: set[str] = set()
    for item in findings:
        words = item.words
        if not item.is_sure:
            if item.question in told:
                continue
            told.add(item.question)
            words += f" (likely {' or '.join(likely[item.question][:3])})"
        mark, colour = _MARKS[item.status]
        console.print(f"{mark:>8}", style=colour, end="", highlight=False)
        line = f"  {item.question:<{width}}  {words}"
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def _explain(kind: str, item: Finding) -> None:
    console = console_for(sys.stdout)
    assert item.failure is not None
    failure = FAILURES[item.failure]
    console.print(f"{kind}: {failure.title} ({failure.slug})", highlight=False, markup=False)
    # Whose it is stands in the question.
    for line in (f"{item.question}: {item.words}", f"Remedy: {item.remedy or failure.remedy}"):
        console.print(f"  {line}", soft_wrap=True, highlight=False, markup=False)


def _report_json(report: Report) -> dict[str, object]:
    return {
        "target": report.target,
        "status": report.status.value,
        "verdict": report.verdict,
        **_causes_json(report),
    }


def _causes_json(report: Report) -> dict[str, object]:
    return {
        "causes": [item.failure for item in report.causes],
        "likely": [item.failure for item in report.likely],
        "findings": [_finding_json(item) for item in report.findings],
    }


def _finding_json(item: Finding) -> dict[str, object]:
    remedy = item.remedy or (FAILURES[item.failure].remedy if item.failure else "")
    return {
        "question": item.question,
        "status": item.status.value,
        "words": item.words,
        "failure": item.failure,
        "sure": item.is_sure,
        "likely": item.likely,
        "verdict": item.verdict,
        "remedy": remedy,
    }


def _exit(status: Status, fail_on: FailOn) -> None:
    if status is Status.FAILED and fail_on is not FailOn.NEVER:
        raise typer.Exit(CRITICAL)
    if status is Status.WARNING and fail_on is FailOn.WARNING:
        raise typer.Exit(WARNING)


def _stand_in(
    where: str,
    credential: OwnCredential,
    policy: Policy | None,
    method: str | None,
    callers: int | None,
    *,
    as_json: bool,
) -> None:
    host, port = _listen_at(where)

    def judge_leaf(leaf: x509.Certificate) -> list[Finding]:
        if policy is None or method is None:
            return []
        return examine_our_role(policy, leaf, method)

    try:
        server = StandIn(
            host,
            port,
            credential,
            system_clock,
            lambda caller: _tell_caller(caller, as_json=as_json),
            judge=judge_leaf,
        )
    except OSError as error:
        raise StateError(
            f"{quote_untrusted(where)} can't be listened on: {error.strerror}",
            remedy="Stop the real server first, or take another port and send the caller there",
        ) from None
    words = f"standing in at {host}:{server.port}; nobody is served; Ctrl-C ends it"
    if as_json:
        _line({"event": "listening", "host": host, "port": server.port})
    else:
        console_for(sys.stdout).print(words, highlight=False)
        sys.stdout.flush()
    try:
        server.serve(callers)
    except KeyboardInterrupt:
        server.stop()


def _listen_at(where: str) -> tuple[str, int]:
    host, colon, port = where.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise InputError(
            f"--stand-in {quote_untrusted(where)} names no port", remedy="Write [HOST:]PORT"
        )
    return (host.strip("[]") if colon else "127.0.0.1"), int(port)


def _tell_caller(caller: Caller, *, as_json: bool) -> None:
    report = Report(caller.address, caller.findings)
    who = named(caller.chain[0].subject) if caller.chain else "no certificate"
    if as_json:
        _line(
            {
                "event": "caller",
                "address": caller.address,
                "server_name": caller.server_name,
                "chain": [item.subject.rfc4514_string() for item in caller.chain],
                "outcome": caller.outcome.value,
                **_causes_json(report),
            }
        )
        return
    console = console_for(sys.stdout)
    verdict = _OUTCOMES[caller.outcome]
    asked = f", for {quote_untrusted(caller.server_name)}" if caller.server_name else ""
    line = f"\n{caller.address}{asked}: {who} {verdict}"
    console.print(line, soft_wrap=True, highlight=False, markup=False)
    if caller.chain:
        console.print(
            "          " + " <- ".join(named(item.subject) for item in caller.chain),
            soft_wrap=True,
            highlight=False,
            markup=False,
        )
    _show(caller.findings)
    _show_causes(report)
    sys.stdout.flush()


def _line(data: dict[str, object]) -> None:
    sys.stdout.write(json.dumps({"schema": SCHEMA, "command": "doctor", **data}) + "\n")
    sys.stdout.flush()
