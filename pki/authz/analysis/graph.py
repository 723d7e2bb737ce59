"""Who may call whom, as a graph: callers' roles, services, and who answers them."""

from __future__ import annotations

from dataclasses import dataclass

from pki.authz.policy import Policy


@dataclass(frozen=True, slots=True)
class Edge:
    """A role may call methods of a service.

    Args:
        role: the calling role.
        service: the called service.
        methods: the names of the methods; ``*`` for all of them.
        audited: whether refusals of some of them are only logged.
    """

    role: str
    service: str
    methods: tuple[str, ...]
    audited: bool


@dataclass(frozen=True, slots=True)
class Graph:
    """Who may call whom.

    Args:
        title: of the picture.
        roles: each role that calls or serves, with its name patterns.
        services: each service, with the role that serves it; empty if the policy names none.
        edges: which role may call which service.
    """

    title: str
    roles: tuple[tuple[str, tuple[str, ...]], ...]
    services: tuple[tuple[str, str], ...]
    edges: tuple[Edge, ...]


def build_graph(policy: Policy) -> Graph:
    """Return the graph of a policy, sorted by name."""
    rules = policy.rules
    methods: dict[tuple[str, str], set[str]] = {}
    for grant in rules.grants:
        for pattern in grant.methods:
            methods.setdefault((grant.role, pattern.service), set()).add(pattern.method or "*")
    served_by = {item.service: item.role for item in rules.served_by}
    services = sorted({service for _, service in methods} | set(served_by))
    names: dict[str, list[str]] = {}
    for rule in rules.roles:
        names.setdefault(rule.role, []).append(rule.text)
    used = {role for role, _ in methods} | set(served_by.values())
    edges = tuple(
        Edge(role, service, tuple(sorted(called)), _is_audited(policy, service, called))
        for (role, service), called in sorted(methods.items())
    )
    return Graph(
        f"{policy.source}: who may call whom in {policy.trust_domain.name}",
        tuple((role, tuple(names.get(role, ()))) for role in sorted(used)),
        tuple((service, served_by.get(service, "")) for service in services),
        edges,
    )


def _is_audited(policy: Policy, service: str, methods: set[str]) -> bool:
    return any(
        policy.enforcement.audited_at(f"/{service}/{'Any' if name == '*' else name}") is not None
        for name in methods
    )


def to_mermaid(graph: Graph) -> str:
    """Return a graph as a Mermaid flowchart.

    Every name is in a quoted label, with Mermaid's markup characters escaped. The identifiers of
    the nodes are numbers, so that no name is read as a keyword.
    """
    roles = {name: f"r{number}" for number, (name, _) in enumerate(graph.roles)}
    services = {name: f"s{number}" for number, (name, _) in enumerate(graph.services)}
    lines = ["flowchart LR"]
    for name, patterns in graph.roles:
        lines.append(f'  {roles[name]}["{_label([name, *patterns[:_MAX_NAMES]])}"]')
    for name, role in graph.services:
        by = [f"answered by {role}"] if role else ["answered by nobody named"]
        lines.append(f'  {services[name]}(["{_label([name, *by])}"])')
    for edge in graph.edges:
        arrow = "-.->" if edge.audited else "-->"
        label = _label([", ".join(edge.methods)])
        lines.append(f'  {roles[edge.role]} {arrow}|"{label}"| {services[edge.service]}')
    return "\n".join(lines) + "\n"


_MAX_NAMES = 4


def _label(lines: list[str]) -> str:
    return "<br/>".join(_escaped(line) for line in lines)


def _escaped(text: str) -> str:
    return "".join(
        item if item.isascii() and (item.isalnum() or item in " .,:/=_-*@") else f"#{ord(item)};"
        for item in text
    )
