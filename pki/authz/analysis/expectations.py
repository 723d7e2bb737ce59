"""Check a policy against expectations: calls that it must allow or refuse.

One TOML file, read as strictly as a policy, with the line of each fault::

    policy = "policy.toml"            # beside this file

    [[expect]]
    peer = "gateway"                  # a workload's name or SPIFFE ID
    method = "/shop.v1.Orders/PlaceOrder"
    allowed = true
    why = "the gateway takes orders"

    [[expect]]
    peer = "orders"
    serves = "shop.v1.Orders"         # may it serve this service?
    allowed = true
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pki.authz.decision import Decision, Reason
from pki.authz.explain import explain
from pki.authz.policy import Policy
from pki.authz.principal import Principal
from pki.authz.schema import Role, Scope
from pki.authz.toml_lines import LineMap, map_lines
from pki.errors import InputError, PolicyError, quote_untrusted
from pki.identity import SpiffeId, derive_names

MAX_BYTES = 4 * 1024 * 1024


class _Expect(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    peer: str
    method: str | None = None
    serves: str | None = None
    allowed: bool
    roles: list[Role] | None = None
    scopes: list[Scope] | None = None
    reason: str | None = None
    why: str = ""


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    policy: str
    expect: list[_Expect] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Expectation:
    """The expected decision on one call or service.

    Args:
        line: in the file.
        peer: a workload's name or a SPIFFE ID.
        method: the called method's path; None for a service.
        serves: the service that the peer serves; None for a call.
        allowed: whether it must be allowed.
        roles: exactly the roles that the peer must have; None does not check them.
        scopes: exactly the scopes that the call must have; None does not check them.
        reason: the expected reason; None does not check it.
        why: the author's comment.
    """

    line: int
    peer: str
    method: str | None
    serves: str | None
    allowed: bool
    roles: frozenset[str] | None
    scopes: frozenset[str] | None
    reason: str | None
    why: str


@dataclass(frozen=True, slots=True)
class Expectations:
    """The expectations in a file, and the path of their policy as written there."""

    policy: str
    items: tuple[Expectation, ...]


@dataclass(frozen=True, slots=True)
class ExpectationResult:
    """The result of one expectation.

    Args:
        expectation: the expectation.
        mismatches: what is not as expected, one sentence each; empty if it is met.
        steps: the explanation of the policy's decision.
    """

    expectation: Expectation
    mismatches: tuple[str, ...]
    steps: tuple[str, ...]


def read_expectations(data: bytes, *, source: str) -> Expectations:
    """Read a file of expectations.

    Args:
        data: TOML in UTF-8, at most 4 MiB.
        source: the file's name, for messages.

    Raises:
        PolicyError: with the line, if the data is not valid.
    """
    if len(data) > MAX_BYTES:
        raise PolicyError(f"{len(data)} bytes; {MAX_BYTES} is the most", source=source)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise PolicyError("is not UTF-8", source=source, remedy="Save it as UTF-8") from None
    lines = map_lines(text)
    if lines.exceeded is not None:
        raise PolicyError(lines.exceeded.message, source=source, line=lines.exceeded.line)
    try:
        model = _File.model_validate(tomllib.loads(text))
    except (ValidationError, RecursionError) as error:
        raise _file_error(error, lines, source) from None
    except ValueError as error:
        raise PolicyError(f"is not valid TOML: {quote_untrusted(error)}", source=source) from None
    return Expectations(
        model.policy,
        tuple(
            _expectation(item, lines.of(("expect", index)), source)
            for index, item in enumerate(model.expect)
        ),
    )


def _file_error(error: Exception, lines: LineMap, source: str) -> PolicyError:
    if not isinstance(error, ValidationError):
        return PolicyError("is nested too deep", source=source)
    findings: list[Mapping[str, Any]] = [dict(item) for item in error.errors(include_url=False)]
    first = min(findings, key=lambda item: lines.of(tuple(item["loc"])))
    where = ".".join(str(part) for part in first["loc"] if isinstance(part, str))
    message = {
        "missing": "is missing",
        "extra_forbidden": "is no key of an expectation",
        "too_short": "is empty: at least one expectation is needed",
    }.get(first["type"], str(first["msg"]))
    return PolicyError(
        f"{quote_untrusted(where)} {message}",
        source=source,
        line=lines.of(tuple(first["loc"])),
        remedy="See docs/policy-tools.md for what is allowed there",
    )


def _expectation(item: _Expect, line: int, source: str) -> Expectation:
    if (item.method is None) == (item.serves is None):
        raise PolicyError("an expectation needs either method or serves", source=source, line=line)
    if item.reason is not None and item.reason not in set(Reason):
        raise PolicyError(
            f"reason {quote_untrusted(item.reason)} is unknown",
            source=source,
            line=line,
            remedy=f"Use one of {', '.join(Reason)}",
        )
    return Expectation(
        line,
        item.peer,
        item.method,
        item.serves,
        item.allowed,
        frozenset(item.roles) if item.roles is not None else None,
        frozenset(item.scopes) if item.scopes is not None else None,
        item.reason,
        item.why,
    )


def workload_principal(policy: Policy, name: str) -> Principal:
    """Return a workload's principal, with the names derived from its SPIFFE ID.

    Args:
        policy: a path is in its trust domain.
        name: a path such as ``orders``, or a SPIFFE ID.

    Raises:
        InputError: if the name is neither.
    """
    spiffe_id = SpiffeId.parse_name(name, policy.trust_domain)
    derived = derive_names(spiffe_id)
    return Principal(spiffe_id, frozenset({derived.dns} if derived.dns else ()), derived.subject)


def check_expectations(
    policy: Policy, expectations: Expectations, *, source: str
) -> tuple[ExpectationResult, ...]:
    """Check a policy against expectations, in their order.

    Raises:
        PolicyError: with the line, if a peer's name is not valid.
    """
    return tuple(_check_one(policy, item, source) for item in expectations.items)


def _check_one(policy: Policy, item: Expectation, source: str) -> ExpectationResult:
    try:
        principal = workload_principal(policy, item.peer)
    except InputError as error:
        raise PolicyError(error.message, source=source, line=item.line) from None
    if item.method is not None:
        explained = explain(policy, principal, item.method)
        decision, steps = explained.decision, tuple(explained.lines())
    else:
        decision = policy.decide_served_by(principal, str(item.serves))
        steps = (f"{decision.rule or 'no served_by'}: {decision.reason.value}",)
    return ExpectationResult(item, tuple(_mismatches(item, decision)), steps)


def _mismatches(item: Expectation, decision: Decision) -> list[str]:
    mismatches = []
    if decision.allowed != item.allowed:
        message = {True: "allowed", False: "refused"}
        mismatches.append(
            f"expected {message[item.allowed]}, and it is {message[decision.allowed]}"
        )
    if item.roles is not None and item.roles != frozenset(decision.roles):
        mismatches.append(
            f"expected the roles {_join_names(item.roles)}, and has {_join_names(decision.roles)}"
        )
    if item.scopes is not None and item.scopes != decision.scopes:
        mismatches.append(
            f"expected the scopes {_join_names(item.scopes)}, and has "
            f"{_join_names(decision.scopes)}"
        )
    if item.reason is not None and item.reason != decision.reason.value:
        mismatches.append(f"expected {item.reason}, and it is {decision.reason.value}")
    return mismatches


def _join_names(items: Any) -> str:
    return ", ".join(sorted(items)) or "none"
