"""Answers the questions of ``handfast doctor``, and prints the report."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from cryptography import x509

from pki.authz import Policy
from pki.cli.doctor.questions import Questions
from pki.cli.doctor.report_json import report_json
from pki.cli.doctor.report_text import print_report
from pki.cli.doctor.stand_in import run_stand_in
from pki.cli.output import print_result
from pki.cli.policy.policy_file import read_policy_file
from pki.cli.state.meant_path import path_suggested
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
    weigh_by_other_end,
)
from pki.errors import CouldNotTellError, InputError, PkiError, StateError, quote_untrusted
from pki.files import read_bounded
from pki.identity import DnsName
from pki.tls.proxy import NO_PROXY
from pki.tls.target import Target
from pki.x509.readers import (
    MAX_BUNDLE_BYTES,
    MAX_BUNDLE_LENGTH,
    decode_certificate,
    read_certificates,
)


def stand_in_for(
    listen: str,
    credential: Path | None,
    questions: Questions,
    callers: int | None,
    *,
    as_json: bool,
) -> None:
    """Take a server's place, and print findings on each caller.

    Args:
        listen: ``[HOST:]PORT``.
        credential: the server's credential directory.
        questions: what to ask of each caller.
        callers: after how many callers to end; None has no end.
        as_json: whether to print a JSON object a line.

    Raises:
        CouldNotTellError: if an option can't be used.
    """
    try:
        own = _read_credential(credential)
        policy = _read_policy(questions)
        if own is None:
            raise InputError(
                "--stand-in needs the server's credential", remedy="Give --credential DIR"
            )
        run_stand_in(listen, own, policy, questions.method, callers, as_json=as_json)
    except PkiError as error:
        raise CouldNotTellError(error) from error


def examine(target: str, credential: Path | None, questions: Questions, *, as_json: bool) -> str:
    """Examine a server, print the report, and return its status.

    Args:
        target: ``host:port`` or ``unix:PATH``.
        credential: our credential directory; None if we have none.
        questions: what to ask.
        as_json: whether to print a JSON object.

    Raises:
        CouldNotTellError: if an option can't be used.
    """
    try:
        own = _read_credential(credential)
        policy = _read_policy(questions)
        examination = _examination(target, own, questions)
        server = _read_credential(questions.server_credential)
    except PkiError as error:
        raise CouldNotTellError(error) from error
    observations = observe_server(examination)
    now = system_clock()
    findings = check_observations(examination, observations, now)
    findings += _examine_roles(examination, observations, policy, questions)
    if server is not None and own is not None and own.chain:
        at_server = examine_caller("our certificate, at the server", own.chain, server, now)
        if any(item.status is Status.FAILED for item in at_server):
            findings = replace_guesses(findings, "the reason is below, by the server's credential")
        findings = weigh_by_other_end(findings, at_server)
        ours = [item for item in findings if item.check.startswith("our ")]
        findings += replace_repeated_causes(at_server, ours)
    report = Report(target, tuple(findings))
    if as_json:
        print_result("doctor", report_json(report), [], as_json=True)
    else:
        print_report(report)
    return report.status.value


def _read_credential(directory: Path | None) -> OwnCredential | None:
    if directory is None:
        return None
    with path_suggested(directory):
        return read_own_credential(directory)


def _read_policy(questions: Questions) -> Policy | None:
    policy = read_policy_file(questions.policy) if questions.policy is not None else None
    if policy is not None and questions.expect_role is not None:
        _check_role(policy, questions.expect_role)
    return policy


def _check_role(policy: Policy, role: str) -> None:
    roles = sorted({rule.role for rule in policy.rules.roles})
    if role not in roles:
        raise InputError(
            f"--expect-role {quote_untrusted(role)}: the policy has no such role",
            remedy=f"Name one of: {', '.join(roles[:10])}",
        )


def _examination(target: str, own: OwnCredential | None, questions: Questions) -> ServerExamination:
    parsed = Target.parse(target)
    proxy = NO_PROXY
    if questions.starttls is None:
        # Only gRPC follows the proxy of the environment.
        proxy = parsed.proxy_choice(os.environ)
        parsed = replace(parsed, proxy=proxy.proxy)
    expected: ExpectedName | None = None
    if questions.name is not None:
        expected = parse_expected_name(questions.name, own.spiffe_id if own is not None else None)
    elif parsed.hosts:
        expected = _parse_dialled_host(parsed.hosts[0][0])
    roots: tuple[x509.Certificate, ...] = ()
    if questions.bundle is not None:
        roots = read_certificates(
            _read(questions.bundle, MAX_BUNDLE_BYTES),
            what=quote_untrusted(questions.bundle),
            max_bytes=MAX_BUNDLE_BYTES,
            max_count=MAX_BUNDLE_LENGTH,
        )
    return ServerExamination(
        parsed,
        expected,
        own,
        roots,
        questions.seconds,
        sni=DnsName.parse(questions.sni) if questions.sni is not None else None,
        starttls=questions.starttls,
        proxy=proxy,
        is_dialled=questions.name is None,
    )


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
    questions: Questions,
) -> list[Finding]:
    if policy is None:
        return []
    role, method = questions.expect_role, questions.method
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
