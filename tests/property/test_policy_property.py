"""The policy agrees with a slow second implementation, in any order, and no input breaks it."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pki.authz import Decision, Policy, Principal, Reason, read_policy
from pki.authz.toml_lines import map_lines
from pki.errors import PolicyError
from pki.identity import DnsName, SpiffeId, Subject

OWN = "shop.internal"
DOMAINS = (OWN, "other.test", "prod.shop.internal")
WORDS = st.sampled_from(["a", "b", "wildcard"])
ROLES = st.sampled_from(["one", "two", "three"])
SERVICES = st.sampled_from(["s.A", "s.B", "A"])


@st.composite
def spiffe_texts(draw: st.DrawFn, *, stars: bool) -> str:
    word = st.one_of(WORDS, st.just("*")) if stars else WORDS
    segments = draw(st.lists(word, min_size=1, max_size=3))
    return f"spiffe://{draw(st.sampled_from(DOMAINS))}/{'/'.join(segments)}"


@st.composite
def dns_texts(draw: st.DrawFn, *, stars: bool) -> str:
    labels = draw(st.lists(WORDS, min_size=1, max_size=3))
    return ".".join(["*", *labels] if stars and draw(st.booleans()) else labels)


SUBJECTS = st.sampled_from(["CN=a", "CN=a,O=b", "O=b,CN=a", "CN=a+O=b", "CN=b"])
NAMES = st.one_of(
    spiffe_texts(stars=True),
    dns_texts(stars=True).map("dns:{}".format),
    SUBJECTS.map("subject:{}".format),
)


@dataclass(frozen=True)
class Written:
    """A policy as lists of text, for the slow implementation."""

    roles: dict[str, list[str]]
    grants: list[tuple[str, list[str], list[str]]]
    served_by: dict[str, str]

    def read(self) -> Policy:
        lines = [f'trust_domain = "{OWN}"', "[roles]"]
        lines += [f"{role} = {json.dumps(names)}" for role, names in self.roles.items()]
        for role, methods, scopes in self.grants:
            lines += ["[[grant]]", f'role = "{role}"', f"methods = {json.dumps(methods)}"]
            lines += [f"scopes = {json.dumps(scopes)}"]
        for service, role in self.served_by.items():
            lines += ["[[served_by]]", f'service = "{service}"', f'role = "{role}"']
        return read_policy("\n".join(lines).encode())


@st.composite
def policies(draw: st.DrawFn) -> Written:
    roles = draw(
        st.dictionaries(ROLES, st.lists(NAMES, min_size=1, max_size=4), min_size=1, max_size=3)
    )
    known = st.sampled_from(sorted(roles))
    method = st.builds("/{}/{}".format, SERVICES, st.sampled_from(["*", "Get", "Put"]))
    grant = st.tuples(
        known,
        st.lists(method, min_size=1, max_size=3),
        st.lists(st.sampled_from(["read", "write"]), max_size=2),
    )
    return Written(
        roles,
        draw(st.lists(grant, max_size=5)),
        draw(st.dictionaries(SERVICES, known, max_size=3)),
    )


@dataclass(frozen=True)
class Caller:
    """A principal as text."""

    uri: str | None
    dns: frozenset[str]
    subject: str | None

    def principal(self) -> Principal:
        return Principal(
            SpiffeId.parse(self.uri) if self.uri else None,
            frozenset(DnsName.parse(name) for name in self.dns),
            Subject.parse(self.subject) if self.subject else None,
        )


CALLERS = st.builds(
    Caller,
    st.one_of(st.none(), spiffe_texts(stars=False)),
    st.frozensets(dns_texts(stars=False), max_size=3),
    st.one_of(st.none(), SUBJECTS),
)
CALLED = st.one_of(
    st.builds("/{}/{}".format, SERVICES, st.sampled_from(["Get", "Put", "Other", "get"])),
    st.builds("{}{}{}".format, st.sampled_from(["", "/", "//"]), SERVICES, st.text(max_size=5)),
    st.text(max_size=20),
)


def fits(pattern: str, found: str, cut: str) -> bool:
    wanted, parts = pattern.split(cut), found.split(cut)
    return len(wanted) == len(parts) and all(
        want in {"*", part} for want, part in zip(wanted, parts, strict=True)
    )


def slow_has(pattern: str, caller: Caller) -> bool:
    own = caller.uri is not None and caller.uri.startswith(f"spiffe://{OWN}/")
    if pattern.startswith("dns:"):
        return own and any(fits(pattern[4:], name, ".") for name in caller.dns)
    if pattern.startswith("subject:"):
        return own and pattern[8:] == caller.subject
    return caller.uri is not None and fits(pattern, caller.uri, "/")


def slow_roles(written: Written, caller: Caller) -> set[str]:
    return {
        role
        for role, names in written.roles.items()
        if any(slow_has(pattern, caller) for pattern in names)
    }


def slow_names(pattern: str, method: str) -> bool:
    if not pattern.endswith("/*"):
        return pattern == method
    name = method.removeprefix(pattern[:-1])
    plain = name.replace("_", "a").isalnum() and name.isascii() and not name[0].isdigit()
    return method.startswith(pattern[:-1]) and plain


@given(policies(), CALLERS, CALLED)
@settings(max_examples=250, deadline=None)
def test_a_policy_allows_exactly_what_a_grant_names(
    written: Written, caller: Caller, method: str
) -> None:
    roles = slow_roles(written, caller)
    granting = [
        (role, scopes)
        for role, methods, scopes in written.grants
        if role in roles and any(slow_names(pattern, method) for pattern in methods)
    ]
    decision = written.read().decide(caller.principal(), method)
    assert decision.allowed == bool(granting)
    assert decision.roles == tuple(sorted(roles))
    assert decision.scopes == {scope for _, scopes in granting for scope in scopes}
    assert (decision.role in {role for role, _ in granting}) == decision.allowed
    assert (decision.line > 0) == decision.allowed == bool(decision.rule)
    if not granting:
        assert decision.reason is (Reason.METHOD_NOT_GRANTED if roles else Reason.NO_ROLE)


@given(policies(), CALLERS, st.one_of(SERVICES, st.text(max_size=8)))
@settings(max_examples=100, deadline=None)
def test_a_server_may_answer_exactly_what_its_role_serves(
    written: Written, caller: Caller, service: str
) -> None:
    roles = slow_roles(written, caller)
    decision = written.read().decide_served_by(caller.principal(), service)
    assert decision.allowed == (written.served_by.get(service) in roles)
    assert (decision.reason is Reason.SERVICE_NOT_LISTED) == (service not in written.served_by)


def essence(decision: Decision) -> tuple[bool, Reason, tuple[str, ...], frozenset[str]]:
    return decision.allowed, decision.reason, decision.roles, decision.scopes


@given(st.data(), policies(), CALLERS, CALLED)
@settings(max_examples=100, deadline=None)
def test_no_order_decides_anything(
    data: st.DataObject, written: Written, caller: Caller, method: str
) -> None:
    shuffled = Written(
        dict(data.draw(st.permutations(list(written.roles.items())))),
        list(data.draw(st.permutations(written.grants))),
        dict(data.draw(st.permutations(list(written.served_by.items())))),
    )
    peer = caller.principal()
    one, other = written.read(), shuffled.read()
    assert essence(one.decide(peer, method)) == essence(other.decide(peer, method))
    service = method.strip("/").partition("/")[0]
    assert essence(one.decide_served_by(peer, service)) == essence(
        other.decide_served_by(peer, service)
    )


GOOD = b"""\
trust_domain = "shop.internal"
policy_grace = "5m"
[roles]
a = ["spiffe://shop.internal/x", "dns:*.a.b", "subject:CN=a"]
[[grant]]
role = "a"
methods = ["/s.A/Get"]
scopes = ["r"]
[[served_by]]
service = "s.A"
role = "a"
"""


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """Return a good policy with one stretch of it replaced."""
    start = draw(st.integers(0, len(GOOD)))
    end = draw(st.integers(start, min(len(GOOD), start + 12)))
    grammar = st.text(alphabet="[]{}=,.\"'#\n\\*/:-_x1é ", max_size=8)
    piece = draw(st.one_of(st.binary(max_size=6), grammar.map(str.encode)))
    return GOOD[:start] + piece + GOOD[end:]


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode), spoilt()))
@example(b"x = " + b"9" * 5000)
@example(b"x = " + b"[" * 5000)
@settings(max_examples=500, deadline=None)
def test_whatever_the_bytes_are_a_policy_or_a_policy_error_comes_of_them(data: bytes) -> None:
    try:
        found: Policy | PolicyError = read_policy(data, source="p.toml")
    except PolicyError as error:
        found = error
    if isinstance(found, PolicyError):
        assert 0 <= found.line <= data.count(b"\n") + 1
        assert str(found).startswith("p.toml:")
        assert str(found).isascii()
        assert "\n" not in str(found)


class Layout:
    """Writes a document in one of the many forms of TOML, and notes the line of each value."""

    def __init__(self, data: st.DataObject) -> None:
        self.draw = data.draw
        self.text = ""
        self.lines: dict[tuple[str | int, ...], int] = {}

    def gap(self) -> str:
        choices = ["", " ", "\n", " # [ ' \" ,\n", '\n# """ ]\n\n']
        return self.draw(st.sampled_from(choices))

    def key(self, name: str) -> str:
        return self.draw(st.sampled_from([name, f'"{name}"', f"'{name}'", f'"\\u{ord(name):04x}"']))

    def value(self, value: Any, at: tuple[str | int, ...]) -> None:
        self.lines[at] = self.text.count("\n") + 1
        if isinstance(value, list):
            self.text += "["
            for index, item in enumerate(value):
                self.text += self.gap()
                self.value(item, (*at, index))
                self.text += self.gap() + ","
            self.text += self.gap() + "]"
        elif isinstance(value, dict):
            self.text += "{"
            for index, (name, item) in enumerate(value.items()):
                self.text += ", " if index else " "
                self.pair(name, item, at)
            self.text += " }"
        else:
            quotes = st.sampled_from(['"{}"', "'{}'", '"""{}"""', "'''\n{}'''", '"""{}\n"""'])
            self.text += self.draw(quotes).format(value)

    def pair(self, name: str, value: Any, at: tuple[str | int, ...]) -> None:
        self.text += self.key(name) + self.draw(st.sampled_from(["=", " = "]))
        self.value(value, (*at, name))

    def table(self, table: dict[str, Any], at: tuple[str | int, ...], header: str) -> None:
        later: dict[str, Any] = {}
        for name, value in table.items():
            tables = isinstance(value, list) and value and all(isinstance(x, dict) for x in value)
            if (isinstance(value, dict) or tables) and self.draw(st.booleans()):
                later[name] = value
                continue
            self.pair(name, value, at)
            self.text += self.draw(st.sampled_from(["\n", " # x = [\n\n"]))
        for name, value in later.items():
            path = f"{header}.{self.key(name)}" if header else self.key(name)
            one = isinstance(value, dict)
            for index, item in enumerate([value] if one else value):
                where = (*at, name) if one else (*at, name, index)
                self.lines[where] = self.text.count("\n") + 1
                self.text += f"[{path}]\n" if one else f"[[{path}]]\n"
                self.table(item, where, path)


KEYS = st.sampled_from(["a", "b", "c"])
VALUES = st.recursive(
    st.sampled_from(["x", "[", "=", "#", ""]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(KEYS, inner, max_size=3),
        st.lists(st.dictionaries(KEYS, inner, max_size=2), max_size=2),
    ),
    max_leaves=8,
)


@given(st.data(), st.dictionaries(KEYS, VALUES, max_size=3))
@settings(max_examples=150, deadline=None)
def test_each_value_has_its_own_line_in_every_form_of_toml(
    data: st.DataObject, document: dict[str, Any]
) -> None:
    layout = Layout(data)
    layout.table(document, (), "")
    tomllib.loads(layout.text)
    lines = map_lines(layout.text)
    assert lines.duplicate is None
    for location, wanted in layout.lines.items():
        assert lines.lines[location] == wanted, (location, layout.text)
