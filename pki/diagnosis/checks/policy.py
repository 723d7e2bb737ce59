"""What the policy says of both ends: whether we may call, and whether the server may answer."""

from __future__ import annotations

from cryptography import x509

from pki.authz import Policy, Principal, explain
from pki.diagnosis.report import Finding, failed, ok, unknown, warning
from pki.errors import PkiError, quote_untrusted
from pki.x509 import read_names

_MAY_CALL = "policy: our call"
_MAY_ANSWER = "policy: the server"


def examine_our_role(policy: Policy, leaf: x509.Certificate, method: str | None) -> list[Finding]:
    """Examine whether the policy lets the holder of a certificate call a method.

    Args:
        policy: the policy.
        leaf: the caller's certificate.
        method: the method's path; None examines only the roles.
    """
    try:
        principal = _principal(leaf)
    except PkiError as error:
        return [unknown(_MAY_CALL, f"our names can't be read: {error.message}")]
    if method is None:
        roles = sorted({match.role for match in policy.roles_of(principal)})
        if not roles:
            return [failed(_MAY_CALL, "no-role", "none of our names has a role in the policy")]
        return [ok(_MAY_CALL, f"our roles are {', '.join(roles)}; --method asks about a call")]
    explained = explain(policy, principal, method)
    decision = explained.decision
    why = "; ".join(explained.lines())
    if decision.allowed:
        return [ok(_MAY_CALL, why)]
    slug = "not-granted" if decision.roles else "no-role"
    if decision.audited:
        return [warning(_MAY_CALL, slug, why)]
    return [failed(_MAY_CALL, slug, why)]


def examine_server_role(
    policy: Policy, leaf: x509.Certificate, role: str | None, method: str | None
) -> list[Finding]:
    """Examine whether a server has the role that is expected, or that its service needs."""
    try:
        principal = _principal(leaf)
    except PkiError as error:
        return [unknown(_MAY_ANSWER, f"its names can't be read: {error.message}")]
    roles = sorted({match.role for match in policy.roles_of(principal)})
    message = f"its roles are {', '.join(roles)}" if roles else "it has no role"
    findings: list[Finding] = []
    if role is None and method is None:
        # A server needs no role, unless it calls others or served_by demands one.
        return [ok(_MAY_ANSWER, message)]
    if role is not None:
        expected = f"{message}; {quote_untrusted(role)} is expected"
        good = role in roles
        findings.append(
            ok(_MAY_ANSWER, expected)
            if good
            else failed(_MAY_ANSWER, "server-role-missing", expected)
        )
    if method is not None:
        service = method.removeprefix("/").partition("/")[0]
        decision = policy.decide_served_by(principal, service)
        if decision.allowed:
            findings.append(
                ok(_MAY_ANSWER, f"{decision.rule} lets {decision.role} answer {service}")
            )
        else:
            findings.append(
                failed(
                    _MAY_ANSWER,
                    "server-role-missing",
                    f"{message}, and {decision.reason.value} for {quote_untrusted(service)}: a "
                    "channel with this policy refuses it",
                )
            )
    return findings


def _principal(leaf: x509.Certificate) -> Principal:
    names = read_names(leaf)
    return Principal(names.spiffe_id, frozenset(names.dns_names), names.subject)
