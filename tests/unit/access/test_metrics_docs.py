"""docs/metrics.md, the dashboard and the alert rules name what there is, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pki.access.metric_families import FAMILIES as WORKLOAD_FAMILIES
from pki.access.metric_families import MetricFamily
from pki.ca_client.identity_metrics import IDENTITY_FAMILIES
from pki.daemon.ca_metrics import CA_FAMILIES

FAMILIES = (*WORKLOAD_FAMILIES, *CA_FAMILIES, *IDENTITY_FAMILIES)

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "metrics.md").read_text(encoding="utf-8")
DASHBOARD: Any = json.loads((DOCS / "grafana" / "handfast.json").read_text(encoding="utf-8"))
BY_NAME = {family.name: family for family in FAMILIES}
# What Prometheus adds to each metric when it scrapes.
ADDED = {"job", "instance"}

Lines = list[tuple[int, str]]


def kind(family: MetricFamily) -> str:
    return family.empty().type


def lines_of(text: str) -> Lines:
    return [
        (len(line) - len(line.lstrip()), line.strip())
        for line in text.splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]


def read(lines: Lines) -> Any:
    """Read the part of YAML that the rules are written in; anything else is an error."""
    depth, first = lines[0]
    if first.startswith("- "):
        return [read(item) for item in items_of(lines, depth)]
    found: dict[str, Any] = {}
    while lines:
        at, line = lines.pop(0)
        match = re.fullmatch(r"(\w+):(?: (.+))?", line)
        assert at == depth, line
        assert match, line
        key, value = match.groups()
        assert key not in found, f"{key} twice"
        inner = []
        while lines and lines[0][0] > depth:
            inner.append(lines.pop(0))
        if value == "|":
            found[key] = " ".join(text for _, text in inner)
        elif value is None:
            found[key] = read(inner)
        else:
            assert not inner, line
            found[key] = scalar(value)
    return found


def items_of(lines: Lines, depth: int) -> Iterator[Lines]:
    item: Lines = []
    for at, line in lines:
        if at == depth:
            assert line.startswith("- "), line
            if item:
                yield item
            item = [(depth + 2, line[2:])]
        else:
            item.append((at, line))
    yield item


def scalar(text: str) -> str:
    if text.startswith('"'):
        whole: str = json.loads(text)
        return whole
    # What would be read as something else than these words.
    assert text[0] not in "{}[]&*#?|-<>=!%@`'", text
    assert ": " not in text, text
    assert " #" not in text, text
    return text


RULES = read(lines_of((DOCS / "prometheus" / "alerts.yml").read_text(encoding="utf-8")))
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in ALERTS)
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))


def wrong_in(expression: str) -> str:
    """Return what in an expression there is not; empty if there is nothing such."""
    for opening, closing in ("()", "{}", "[]"):
        if expression.count(opening) != expression.count(closing):
            return f"unbalanced {opening}"
    names = re.findall(r"handfast_\w+", expression)
    if not names or (strange := [name for name in names if name not in BY_NAME]):
        return f"no metric: {strange}" if names else "no metric at all"
    for name, matchers in re.findall(r"(handfast_\w+)\{([^}]*)\}", expression):
        labels = re.findall(r'(\w+)(?:=~|!~|!=|=)"', matchers)
        if unknown := set(labels) - {"workload", *BY_NAME[name].labels}:
            return f"{name} has no {unknown}"
    known = {"workload", *ADDED}.union(*(BY_NAME[name].labels for name in names))
    for listed in re.findall(r"\bby \(([^)]*)\)", expression):
        if unknown := set(re.split(r",\s*", listed)) - known:
            return f"by {unknown}"
    for name in names:
        rated = re.search(rf"(?:rate|increase)\({name}\b", expression) is not None
        if rated != (kind(BY_NAME[name]) == "counter"):
            return f"{name} is a {kind(BY_NAME[name])}"
    return ""


def test_the_page_tells_each_metric_as_it_is_and_no_other() -> None:
    rows = re.findall(r"^\| `(handfast_\w+)` \| (\w+) \| (.*?) \|", PAGE, re.MULTILINE)
    told = [(name, kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows]
    assert sorted(told) == sorted((item.name, kind(item), item.labels) for item in FAMILIES)


def test_names_follow_the_rules_of_prometheus() -> None:
    for family in FAMILIES:
        assert re.fullmatch(r"handfast(_[a-z]+)+", family.name)
        assert ("_timestamp_" in family.name) == family.name.endswith("_timestamp_seconds")
        assert family.help.endswith(".")


@pytest.mark.parametrize("expression", list(expressions()))
def test_each_expression_of_dashboard_and_alerts_asks_for_what_there_is(expression: str) -> None:
    assert wrong_in(expression) == ""


@pytest.mark.parametrize(
    ("expression", "wrong"),
    [
        ("handfast_unready", "no metric: ['handfast_unready']"),
        ("up == 0", "no metric at all"),
        ("sum(handfast_unready_problems", "unbalanced ("),
        ('handfast_unready_problems{policy="x"}', "handfast_unready_problems has no {'policy'}"),
        ("sum by (job, reason) (handfast_unready_problems)", "by {'reason'}"),
        ("handfast_audited_total > 0", "handfast_audited_total is a counter"),
        ("rate(handfast_unready_problems[5m])", "handfast_unready_problems is a gauge"),
    ],
)
def test_a_wrong_expression_would_be_seen(expression: str, wrong: str) -> None:
    assert wrong_in(expression) == wrong


def test_each_metric_is_somewhere_on_the_dashboard_or_in_an_alert() -> None:
    asked = set(re.findall(r"handfast_\w+", " ".join(expressions())))
    assert asked == set(BY_NAME)


def test_the_page_names_the_alerts_that_there_are() -> None:
    told = re.findall(r"^\| `(Handfast\w+)` \|", PAGE, re.MULTILINE)
    assert sorted(told) == sorted(rule["alert"] for rule in ALERTS)
    assert len(set(told)) == len(told)


def test_each_alert_says_what_is_wrong_and_what_to_do() -> None:
    for rule in ALERTS:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "remedy"}
        used = re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])
        names = re.findall(r"handfast_\w+", rule["expr"])
        given = {"workload"}.union(*(BY_NAME[name].labels for name in names))
        kept = re.findall(r"\bby \(([^)]*)\)", rule["expr"])
        # group_left keeps all labels of the left side.
        if kept and "group_left" not in rule["expr"]:
            given = set(re.split(r",\s*", kept[0]))
        assert set(used) <= given, rule["alert"]
        assert re.fullmatch(r"\d+[mhd]", rule.get("for", "1m"))


def test_panels_have_numbers_of_their_own_and_do_not_overlap() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (place["x"] + column, place["y"] + line)
            for column in range(place["w"])
            for line in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        assert all(column < 24 for column, _ in cells)
        taken |= cells
