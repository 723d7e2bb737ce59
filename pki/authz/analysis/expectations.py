"""Expectations written beside a policy: which calls it must allow, and which refuse.

One TOML file, read as strictly as a policy, with the line of each fault::

    policy = "policy.toml"            # beside this file

    [[expect]]
    peer = "gateway"                  # a workload's name or SPIFFE ID
    method = "/shop.v1.Orders/PlaceOrder"
    allowed = true
    why = "the gateway takes orders"

    [[expect]]
    peer = "orders"
    serves = "shop.v1.Orders"         # may it answer the service?
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
from pki.authz.toml_lines import Lines, scan_lines
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
    """What a policy must say to one call.

    Args:
        line: where it is written.
        peer: who, a workload's name or a SPIFFE ID.
        method: the call's path; None where a service is meant.
        serves: the service that it answers; None where a call is meant.
        allowed: whether it must be allowed.
        roles: the roles that the peer must have, all of them; None leaves them open.
        scopes: the scopes that the call must have; None leaves them open.
        reason: the reason that must be given; None leaves it open.
        why: what it is there for.
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
    """A file of them, and the policy that they are about, as written."""

    policy: str
    items: tuple[Expectation, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an expectation.

    Args:
        expectation: which.
        wrong: what is not as expected, one sentence each; empty if all is.
        steps: how the policy came to it.
    """

    expectation: Expectation
    wrong: tuple[str, ...]
    steps: tuple[str, ...]


def read_expectations(data: bytes, *, source: str) -> Expectations:
    """Read a file of expectations.

    Args:
        data: TOML in UTF-8, at most 4 MiB.
        source: the file's name, for messages.

    Raises:
        PolicyError: with the line, for anything that is none.
    """
    if len(data) > MAX_BYTES:
        raise PolicyError(f"{len(data)} bytes; {MAX_BYTES} is the most", source=source)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise PolicyError("is not UTF-8", source=source, remedy="Save it as UTF-8") from None
    lines = scan_lines(text)
    if lines.excess is not None:
        raise PolicyError(lines.excess.words, source=source, line=lines.excess.line)
    try:
        model = _File.model_validate(tomllib.loads(text))
    except (ValidationError, RecursionError) as error:
        raise _fault(error, lines, source) from None
    except ValueError as error:
        raise PolicyError(f"is not valid TOML: {quote_untrusted(error)}", source=source) from None
    return Expectations(
        model.policy,
        tuple(
            _expectation(item, lines.of(("expect", index)), source)
            for index, item in enumerate(model.expect)
        ),
    )


def _fault(error: Exception, lines: Lines, source: str) -> PolicyError:
    if not isinstance(error, ValidationError):
        return PolicyError("is nested too deep", source=source)
    findings: list[Mapping[str, Any]] = [dict(item) for item in error.errors(include_url=False)]
    first = min(findings, key=lambda item: lines.of(tuple(item["loc"])))
    where = ".".join(str(part) for part in first["loc"] if isinstance(part, str))
    words = {
        "missing": "is missing",
        "extra_forbidden": "is no key that an expectation has",
        "too_short": "is empty: an expectation at least is needed",
    }.get(first["type"], str(first["msg"]))
    return PolicyError(
        f"{quote_untrusted(where)} {words}",
        source=source,
        line=lines.of(tuple(first["loc"])),
        remedy="See docs/policy-tools.md for what may stand there",
    )


def _expectation(item: _Expect, line: int, source: str) -> Expectation:
    if (item.method is None) == (item.serves is None):
        raise PolicyError(
            "an expectation names either a method or serves", source=source, line=line
        )
    if item.reason is not None and item.reason not in set(Reason):
        raise PolicyError(
            f"reason {quote_untrusted(item.reason)} is unknown",
            source=source,
            line=line,
            remedy=f"There are {', '.join(Reason)}",
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


def principal_named(policy: Policy, name: str) -> Principal:
    """Return a workload's principal, with the names that its profile derives.

    Args:
        policy: whose trust domain a bare name is of.
        name: a workload's name, or a SPIFFE ID.

    Raises:
        InputError: if it is neither.
    """
    spiffe_id = SpiffeId.parse_name(name, policy.trust_domain)
    derived = derive_names(spiffe_id)
    return Principal(spiffe_id, frozenset({derived.dns} if derived.dns else ()), derived.subject)


def check(policy: Policy, expectations: Expectations, *, source: str) -> tuple[Outcome, ...]:
    """Hold a policy against expectations, in their order.

    Raises:
        PolicyError: with the line, if a peer's name is none.
    """
    return tuple(_outcome(policy, item, source) for item in expectations.items)


def _outcome(policy: Policy, item: Expectation, source: str) -> Outcome:
    try:
        principal = principal_named(policy, item.peer)
    except InputError as error:
        raise PolicyError(error.message, source=source, line=item.line) from None
    if item.method is not None:
        explained = explain(policy, principal, item.method)
        decision, steps = explained.decision, tuple(explained.lines())
    else:
        decision = policy.decide_served_by(principal, str(item.serves))
        steps = (f"{decision.rule or 'no served_by'}: {decision.reason.value}",)
    return Outcome(item, tuple(_wrong(item, decision)), steps)


def _wrong(item: Expectation, decision: Decision) -> list[str]:
    wrong = []
    if decision.allowed != item.allowed:
        words = {True: "allowed", False: "refused"}
        wrong.append(f"expected {words[item.allowed]}, and it is {words[decision.allowed]}")
    if item.roles is not None and item.roles != frozenset(decision.roles):
        wrong.append(f"expected the roles {_listed(item.roles)}, and has {_listed(decision.roles)}")
    if item.scopes is not None and item.scopes != decision.scopes:
        wrong.append(
            f"expected the scopes {_listed(item.scopes)}, and has {_listed(decision.scopes)}"
        )
    if item.reason is not None and item.reason != decision.reason.value:
        wrong.append(f"expected {item.reason}, and it is {decision.reason.value}")
    return wrong


def _listed(items: Any) -> str:
    return ", ".join(sorted(items)) or "none"
