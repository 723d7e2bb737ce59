"""docs/policy.md is true: its example, decisions and errors."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pki.authz import Principal, explain, read_policy
from pki.authz.schema import ENFORCEMENT, GRANT, POLICY, SERVED_BY
from pki.cli.app import run
from pki.errors import PolicyError
from pki.identity import SpiffeId, TrustDomain, derive_names

PAGE = (Path(__file__).parents[3] / "docs" / "policy.md").read_text(encoding="utf-8")
EXAMPLE = PAGE.partition("```toml\n")[2].partition("```")[0]
ERRORS = PAGE.partition("## Errors")[2].partition("```text\n")[2].partition("```")[0].splitlines()


def caller(name: str) -> Principal:
    spiffe_id = (
        SpiffeId.parse(name)
        if "://" in name
        else SpiffeId.of_path(TrustDomain("shop.internal"), name.removeprefix("/"))
    )
    derived = derive_names(spiffe_id)
    return Principal(spiffe_id, frozenset({derived.dns} if derived.dns else ()), derived.subject)


def test_the_example_says_to_each_call_what_its_table_says() -> None:
    policy = read_policy(EXAMPLE.encode())
    rows = re.findall(r"^\| `(\S+)` \| `(/\S+)` \| `([A-Z_]+)`", PAGE, re.MULTILINE)
    assert len(rows) == 5
    for name, method, answer in rows:
        assert policy.decide(caller(name), method).reason == answer


def test_the_explanation_is_the_one_that_is_shown() -> None:
    said = explain(
        read_policy(EXAMPLE.encode()), caller("audit"), "/shop.v1.Orders/PlaceOrder"
    ).lines()
    assert "".join(f"  {line}\n" for line in said) in PAGE


def test_every_key_of_the_schema_is_in_the_table() -> None:
    for field in POLICY.keys:
        assert re.search(rf"^\| `\[*{field}\]*` \|", PAGE, re.MULTILINE), field
    for field in GRANT.keys:
        assert f"| `grant.{field}` |" in PAGE
    for field in SERVED_BY.keys:
        assert f"| `served_by.{field}` |" in PAGE
    for field in ENFORCEMENT.keys:
        assert f"| `enforcement.{field}` |" in PAGE


def test_the_example_of_a_policy_that_is_tried_says_what_the_page_says_of_it() -> None:
    tables = PAGE.partition("## Trying a policy")[2].partition("```toml\n")[2].partition("```")[0]
    policy = read_policy((EXAMPLE + tables).encode())
    stranger = caller("stranger")
    assert not policy.decide(stranger, "/shop.v1.Payments/Settle").audited
    assert policy.decide(stranger, "/shop.v1.Payments/GetSettlement").audited
    assert not policy.decide(stranger, "/shop.v1.Orders/GetOrder").audited


def test_what_the_command_prints_of_such_a_policy_is_what_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("policy.toml").write_text('enforce = "audit"\n' + EXAMPLE)
    assert run(["policy", "check", "policy.toml"]) == 0
    assert f"$ handfast policy check policy.toml\n{capsys.readouterr().out}```" in PAGE


SPOILT_AS_SHOWN = [
    ('scopes = ["orders:read", "orders:write"]', "scope = []"),
    ('role = "auditor"', 'role = "auditer"'),
    ("fleet  ", "orders "),
    ("/shop.v1.Payments/GetS", "shop.v1.Payments/GetS"),
    ('["/shop.v1.Orders/*"]', "[]"),
    ("dns:*.shop", "dns:a*.shop"),
    ('"5m"', "5"),
    ('service = "shop.v1.Orders"', 'service = "shop.v1.Payments"'),
    ('gateway"]', 'gateway"'),
    ("audit.shop", "audit.sh\udce9p"),
]


def test_each_error_that_is_shown_is_the_one_that_comes() -> None:
    printed = []
    for old, new in SPOILT_AS_SHOWN:
        assert old in EXAMPLE
        data = EXAMPLE.replace(old, new, 1).encode("utf-8", "surrogateescape")
        with pytest.raises(PolicyError) as caught:
            read_policy(data, source="shop.toml")
        printed.append(str(caught.value))
    assert printed == ERRORS
