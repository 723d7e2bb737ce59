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
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict, cast

from pki.authz.decision import Decision, Reason
from pki.authz.error_messages import schema_error
from pki.authz.explain import explain
from pki.authz.policy import Policy
from pki.authz.principal import Principal
from pki.authz.schema import parse_role, parse_scope
from pki.authz.tables import Table, boolean, list_of, string, tables_of
from pki.authz.toml_lines import map_lines
from pki.errors import InputError, PolicyError, quote_untrusted
from pki.identity import SpiffeId, derive_names

MAX_BYTES = 4 * 1024 * 1024


_REMEDY = "For what is allowed there: handfast docs policy-tools"
_EXPECT = Table(
    "an expectation",
    {"peer": string(), "allowed": boolean},
    {
        "method": string(),
        "serves": string(),
        "roles": list_of(string(parse_role), may_be_empty=True),
        "scopes": list_of(string(parse_scope), may_be_empty=True),
        "reason": string(),
        "why": string(),
    },
)
_FILE = Table("a file of expectations", {"policy": string(), "expect": tables_of(_EXPECT)}, {})


class _ExpectTable(TypedDict):
    peer: str
    allowed: bool
    method: NotRequired[str]
    serves: NotRequired[str]
    roles: NotRequired[list[str]]
    scopes: NotRequired[list[str]]
    reason: NotRequired[str]
    why: NotRequired[str]


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
        document = tomllib.loads(text)
    except RecursionError:
        raise PolicyError("is nested too deep", source=source) from None
    except ValueError as error:
        raise PolicyError(f"is not valid TOML: {quote_untrusted(error)}", source=source) from None
    faults = _FILE.faults(document)
    if faults:
        raise schema_error(faults, lines, source, remedy=_REMEDY)
    return Expectations(
        document["policy"],
        tuple(
            _expectation(cast("_ExpectTable", item), lines.of(("expect", index)), source)
            for index, item in enumerate(document["expect"])
        ),
    )


def _expectation(item: _ExpectTable, line: int, source: str) -> Expectation:
    method, serves, reason = item.get("method"), item.get("serves"), item.get("reason")
    if (method is None) == (serves is None):
        raise PolicyError("an expectation needs either method or serves", source=source, line=line)
    if reason is not None and reason not in set(Reason):
        raise PolicyError(
            f"reason {quote_untrusted(reason)} is unknown",
            source=source,
            line=line,
            remedy=f"Use one of {', '.join(Reason)}",
        )
    return Expectation(
        line,
        item["peer"],
        method,
        serves,
        item["allowed"],
        frozenset(item["roles"]) if "roles" in item else None,
        frozenset(item["scopes"]) if "scopes" in item else None,
        reason,
        item.get("why", ""),
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
