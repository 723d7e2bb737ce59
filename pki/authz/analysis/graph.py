"""Who may call whom, as a graph: callers' roles, services, and who answers them."""

from __future__ import annotations

from dataclasses import dataclass

from pki.authz.policy import Policy


@dataclass(frozen=True, slots=True)
class Edge:
    """A role may call methods of a service.

    Args:
        role: who calls.
        service: what is called.
        methods: which, by name; ``*`` for all of them.
        audited: whether refusals of some of it are only logged.
    """

    role: str
    service: str
    methods: tuple[str, ...]
    audited: bool


@dataclass(frozen=True, slots=True)
class Graph:
    """Who may call whom.

    Args:
        title: for the picture.
        roles: each role that calls or answers, with the names that map to it.
        services: each service, with the role that answers it; empty where nobody is named.
        edges: who calls what.
    """

    title: str
    roles: tuple[tuple[str, tuple[str, ...]], ...]
    services: tuple[tuple[str, str], ...]
    edges: tuple[Edge, ...]


def graph_of(policy: Policy) -> Graph:
    """Draw up who may call whom, sorted by name."""
    rules = policy.rules
    methods: dict[tuple[str, str], set[str]] = {}
    for grant in rules.grants:
        for pattern in grant.methods:
            methods.setdefault((grant.role, pattern.service), set()).add(pattern.method or "*")
    served = {item.service: item.role for item in rules.served_by}
    services = sorted({service for _, service in methods} | set(served))
    names: dict[str, list[str]] = {}
    for rule in rules.roles:
        names.setdefault(rule.role, []).append(rule.text)
    used = {role for role, _ in methods} | set(served.values())
    edges = tuple(
        Edge(role, service, tuple(sorted(found)), _is_audited(policy, service, found))
        for (role, service), found in sorted(methods.items())
    )
    return Graph(
        f"{policy.source}: who may call whom in {policy.trust_domain.name}",
        tuple((role, tuple(names.get(role, ()))) for role in sorted(used)),
        tuple((service, served.get(service, "")) for service in services),
        edges,
    )


def _is_audited(policy: Policy, service: str, methods: set[str]) -> bool:
    return any(
        policy.enforcement.audited_at(f"/{service}/{'Any' if name == '*' else name}") is not None
        for name in methods
    )


def mermaid(graph: Graph) -> str:
    """Write a graph as a Mermaid flowchart.

    Every name is put into a quoted label, with what Mermaid reads as markup escaped; the nodes'
    own identifiers are numbers, so that no name can be taken for a keyword.
    """
    roles = {name: f"r{number}" for number, (name, _) in enumerate(graph.roles)}
    services = {name: f"s{number}" for number, (name, _) in enumerate(graph.services)}
    lines = ["flowchart LR"]
    for name, held in graph.roles:
        lines.append(f'  {roles[name]}["{_label([name, *held[:_MOST_NAMES]])}"]')
    for name, role in graph.services:
        by = [f"answered by {role}"] if role else ["answered by nobody named"]
        lines.append(f'  {services[name]}(["{_label([name, *by])}"])')
    for edge in graph.edges:
        arrow = "-.->" if edge.audited else "-->"
        words = _label([", ".join(edge.methods)])
        lines.append(f'  {roles[edge.role]} {arrow}|"{words}"| {services[edge.service]}')
    return "\n".join(lines) + "\n"


_MOST_NAMES = 4


def _label(lines: list[str]) -> str:
    return "<br/>".join(_escaped(line) for line in lines)


def _escaped(text: str) -> str:
    return "".join(
        item if item.isascii() and (item.isalnum() or item in " .,:/=_-*@") else f"#{ord(item)};"
        for item in text
    )
