"""Draw a policy's graph as SVG: roles on the left, services on the right, a line for each grant.

It is plain SVG 1.1, which fetches and executes nothing; all text is escaped. The same policy always
gives the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from pki.authz.analysis.graph import Edge, Graph

_WIDTH, _GAP, _TOP = 330, 300, 60
_LINE, _PADDING, _SPACE = 17, 10, 22
_CHARACTER = 7.3
_MAX_LINES = 6
_LABEL, _LABEL_CHARACTER = 16, 6.7
_LEFT = 20
_COLOURS = ("#1b6ca8", "#2a7f62", "#8f4899", "#b3541e", "#4a5899", "#7a6a00")
_STYLE = (
    "text{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:12px;fill:#1c2330}"
    ".name{font-weight:bold}.dim{fill:#5b6472}.box{fill:#f5f7fa;stroke:#98a3b3}"
    ".service{fill:#eef6f0;stroke:#7fa58c}.edge{fill:none;stroke-width:1.6}"
    ".audited{stroke-dasharray:5 4}.method{font-size:11px;fill:#3b4454}"
)


@dataclass(frozen=True, slots=True)
class _Box:
    x: int
    y: int
    lines: tuple[str, ...]
    kind: str
    edges: int

    @property
    def height(self) -> int:
        # The lines that meet it are so far apart that their labels do not overlap.
        return max(len(self.lines) * _LINE + 2 * _PADDING, (self.edges + 1) * _LABEL)

    @property
    def middle(self) -> int:
        return self.y + self.height // 2


def to_svg(graph: Graph) -> str:
    """Return a graph as SVG."""
    roles = _column(
        _LEFT,
        "box",
        [(name, [name, *_few(held)]) for name, held in _order_by_target(graph)],
        [edge.role for edge in graph.edges],
    )
    services = _column(
        _LEFT + _WIDTH + _GAP,
        "service",
        [
            (name, [name, f"answered by {role}" if role else "answered by nobody named"])
            for name, role in graph.services
        ],
        [edge.service for edge in graph.edges],
    )
    boxes = [*roles.values(), *services.values()]
    height = max((box.y + box.height for box in boxes), default=_TOP) + 30
    width = _LEFT * 2 + _WIDTH * 2 + _GAP
    colours = {name: _COLOURS[at % len(_COLOURS)] for at, name in enumerate(roles)}
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label={quoteattr(graph.title)}>',
        f"<style>{_STYLE}</style>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text class="name" x="{_LEFT}" y="26">{escape(graph.title)}</text>',
        f'<text class="dim" x="{_LEFT}" y="46">roles, and the names that map to them</text>',
        f'<text class="dim" x="{_LEFT + _WIDTH + _GAP}" y="46">services</text>',
    ]
    parts += _draw_edges(graph.edges, roles, services, colours)
    parts += [_draw_box(box) for box in boxes]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _order_by_target(graph: Graph) -> list[tuple[str, tuple[str, ...]]]:
    """Return the roles ordered by the positions of their services, so that few lines cross."""
    at = {name: number for number, (name, _) in enumerate(graph.services)}
    reached: dict[str, list[int]] = {}
    for edge in graph.edges:
        reached.setdefault(edge.role, []).append(at[edge.service])

    def place(item: tuple[str, tuple[str, ...]]) -> tuple[float, str]:
        targets = reached.get(item[0])
        return (sum(targets) / len(targets) if targets else len(at), item[0])

    return sorted(graph.roles, key=place)


def _few(names: tuple[str, ...]) -> list[str]:
    if len(names) <= _MAX_LINES:
        return list(names)
    return [*names[: _MAX_LINES - 1], f"and {len(names) - _MAX_LINES + 1} more"]


def _column(
    x: int, kind: str, items: list[tuple[str, list[str]]], ends: list[str]
) -> dict[str, _Box]:
    boxes: dict[str, _Box] = {}
    y = _TOP
    for name, lines in items:
        boxes[name] = _Box(x, y, tuple(_cut(line) for line in lines), kind, ends.count(name))
        y += boxes[name].height + _SPACE
    return boxes


def _cut(line: str, width: int = _WIDTH - 2 * _PADDING, character: float = _CHARACTER) -> str:
    most = int(width / character)
    return line if len(line) <= most else line[: most - 1] + "\u2026"


def _draw_box(box: _Box) -> str:
    rows = [
        f'<text class="{"name" if number == 0 else "dim"}" x="{box.x + _PADDING}" '
        f'y="{box.y + _PADDING + 12 + number * _LINE}">{escape(line)}</text>'
        for number, line in enumerate(box.lines)
    ]
    frame = (
        f'<rect class="{box.kind}" x="{box.x}" y="{box.y}" width="{_WIDTH}" '
        f'height="{box.height}" rx="6"/>'
    )
    return "\n".join([frame, *rows])


def _draw_edges(
    edges: tuple[Edge, ...],
    roles: dict[str, _Box],
    services: dict[str, _Box],
    colours: dict[str, str],
) -> list[str]:
    leaving = _ports([edge.role for edge in edges], roles)
    arriving = _ports([edge.service for edge in edges], services)
    parts = []
    for edge, begin, end in zip(edges, leaving, arriving, strict=True):
        x1, x2 = roles[edge.role].x + _WIDTH, services[edge.service].x
        bend = _GAP // 2
        methods = ", ".join(edge.methods)
        kind = "edge audited" if edge.audited else "edge"
        parts.append(
            f'<path class="{kind}" stroke="{colours[edge.role]}" '
            f'd="M{x1},{begin} C{x1 + bend},{begin} {x2 - bend},{end} {x2},{end}">'
            f"<title>{escape(f'{edge.role} may call {edge.service}: {methods}')}</title></path>"
        )
        label = _cut(methods, _GAP - 2 * _PADDING, _LABEL_CHARACTER)
        parts.append(
            f'<text class="method" x="{x1 + _PADDING}" y="{begin - 4}">{escape(label)}</text>'
        )
        parts.append(f'<circle cx="{x2}" cy="{end}" r="3" fill="{colours[edge.role]}"/>')
    return parts


def _ports(ends: list[str], boxes: dict[str, _Box]) -> list[int]:
    """Return the heights at which lines meet the boxes, spread over the height of each box."""
    count = {name: ends.count(name) for name in set(ends)}
    used: dict[str, int] = {}
    heights = []
    for name in ends:
        used[name] = used.get(name, 0) + 1
        box = boxes[name]
        heights.append(box.y + box.height * used[name] // (count[name] + 1))
    return heights
