"""The commands on policies: who can, what can, graph, test, lint and diff."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from pki.authz import read_policy
from pki.authz.analysis.graph import build_graph, to_mermaid
from pki.authz.analysis.replay import read_decision_log
from pki.cli.app import run

ROOT = Path(__file__).resolve().parents[3]
POLICY = """\
trust_domain = "shop.internal"
[roles]
clerk = ["spiffe://shop.internal/gateway", "spiffe://shop.internal/*/gateway"]
reader = ["spiffe://shop.internal/audit"]
orders = ["spiffe://shop.internal/orders"]
[[grant]]
role = "clerk"
methods = ["/shop.v1.Orders/*"]
scopes = ["write"]
[[grant]]
role = "reader"
methods = ["/shop.v1.Orders/Get"]
[[served_by]]
service = "shop.v1.Orders"
role = "orders"
"""
GET = "/shop.v1.Orders/Get"

Told = Callable[..., tuple[int, str, str]]


@pytest.fixture
def told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Told:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.toml").write_text(POLICY)

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(["policy", *arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def asked(told: Told, *arguments: str) -> tuple[int, dict[str, object]]:
    code, out, err = told(*arguments, "--json")
    assert out, err
    found: dict[str, object] = json.loads(out)
    return code, found


# Who can, what can


def test_who_can_names_roles_names_grants_and_scopes(told: Told) -> None:
    code, out, _ = told("who-can", GET)
    assert code == 0
    assert out.splitlines() == [
        "clerk (policy.toml:6) with write",
        "  spiffe://shop.internal/gateway (policy.toml:3)",
        "  spiffe://shop.internal/*/gateway (policy.toml:3)",
        "reader (policy.toml:10)",
        "  spiffe://shop.internal/audit (policy.toml:4)",
    ]


def test_who_can_says_that_nobody_can_and_what_may_be_meant(told: Told) -> None:
    code, out, _ = told("who-can", "/shop.v1.Orders.Get/Get")
    assert code == 1
    assert "nobody" in out


@pytest.mark.parametrize("method", ["Orders/Get", "", "/", "/a/b/c", "/shop.v1.Orders/*", "ü"])
def test_who_can_call_what_is_no_method_is_wrong_usage(told: Told, method: str) -> None:
    assert told("who-can", method)[0] == 2
    assert told("explain", "--peer", "orders", "--method", method)[0] == 2


def test_who_can_says_that_everybody_goes_through_where_nothing_is_enforced(
    told: Told, tmp_path: Path
) -> None:
    (tmp_path / "policy.toml").write_text('enforce = "audit"\n' + POLICY)
    code, out, _ = told("who-can", "/shop.v1.Stock/Get")
    assert code == 0
    assert "everybody goes through" in out


def test_what_can_names_roles_grants_and_services(told: Told) -> None:
    code, found = asked(told, "what-can", "orders")
    assert code == 0
    assert found["serves"] == [{"service": "shop.v1.Orders", "role": "orders", "line": 13}]
    code, out, _ = told("what-can", "spiffe://shop.internal/prod/gateway")
    assert code == 0
    assert "spiffe://shop.internal/*/gateway gives the role clerk" in out
    assert "may call /shop.v1.Orders/* as clerk (policy.toml:6) with write" in out


def test_what_can_a_stranger_is_nothing_with_a_word_on_who_may_be_meant(told: Told) -> None:
    code, out, _ = told("what-can", "gatewy")
    assert code == 1
    assert "is spiffe://shop.internal/gateway meant? It gives clerk" in out


def test_a_name_of_another_trust_domain_is_told_as_what_missed(told: Told) -> None:
    code, out, _ = told("explain", "--peer", "spiffe://other.internal/gateway", "--method", GET)
    assert code == 1
    assert "is of another trust domain, and would give clerk (policy.toml:3)" in out


def test_a_star_that_would_have_to_be_two_segments_is_told_as_what_missed(told: Told) -> None:
    _, out, _ = told(
        "explain", "--peer", "spiffe://shop.internal/prod/gateway/blue", "--method", GET
    )
    assert "a star is one segment" in out


def test_explain_says_which_server_may_answer(told: Told) -> None:
    code, out, _ = told("explain", "--peer", "orders", "--serves", "shop.v1.Orders")
    assert code == 0
    assert "served_by at policy.toml:13 requires the role orders" in out
    code, out, _ = told("explain", "--peer", "gateway", "--serves", "shop.v1.Orders")
    assert code == 1
    assert "SERVER_ROLE_MISSING" in out
    code, out, _ = told("explain", "--peer", "gateway", "--serves", "shop.v1.Stock")
    assert code == 1
    assert "SERVICE_NOT_LISTED" in out


def test_explain_takes_a_method_or_a_service(told: Told) -> None:
    assert told("explain", "--peer", "orders")[0] == 2
    assert told("explain", "--peer", "orders", "--method", GET, "--serves", "a.B")[0] == 2


@pytest.mark.parametrize(
    "arguments",
    [("who-can", GET), ("what-can", "gateway"), ("explain", "--peer", "a", "--method", GET)],
)
def test_questions_on_a_policy_that_is_not_there_can_not_be_told(
    told: Told, arguments: tuple[str, ...]
) -> None:
    code, _, err = told(*arguments, "--policy", "none.toml")
    assert code == 3
    assert "is not there" in err


@pytest.mark.parametrize("command", ["graph", "lint"])
def test_a_policy_that_is_not_there_or_is_none_can_not_be_told(
    told: Told, tmp_path: Path, command: str
) -> None:
    (tmp_path / "bad.toml").write_text("= 1")
    (tmp_path / "folder").mkdir()
    for name in ("none.toml", "bad.toml", "folder"):
        code, out, err = told(command, name)
        assert (code, out) == (3, ""), name
        assert "could not tell" in err


# Graph


def test_the_picture_is_svg_with_every_role_and_service(told: Told, tmp_path: Path) -> None:
    assert told("graph", "--out", "policy.svg")[0] == 0
    root = ET.parse(tmp_path / "policy.svg").getroot()
    words = " ".join(root.itertext())
    for name in ("clerk", "reader", "shop.v1.Orders", "answered by orders", "Get"):
        assert name in words
    first = (tmp_path / "policy.svg").read_bytes()
    told("graph", "--out", "policy.svg")
    assert (tmp_path / "policy.svg").read_bytes() == first


def test_names_can_not_break_out_of_the_picture() -> None:
    hostile = POLICY.replace(
        '["spiffe://shop.internal/audit"]', '["subject:CN=<script>]|end;%%\\",O=\\"x\\""]'
    )
    try:
        policy = read_policy(hostile.encode(), source='"]<b>.toml')
    except Exception:
        policy = read_policy(POLICY.encode(), source='"]<b>.toml')
    text = to_mermaid(build_graph(policy))
    assert "<script" not in text
    assert '""' not in text


def test_mermaid_is_printed_by_default(told: Told) -> None:
    code, out, _ = told("graph")
    assert code == 0
    assert out.startswith("flowchart LR\n")
    assert '|"*"|' in out


def test_what_is_not_enforced_is_drawn_with_a_broken_line(told: Told, tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text('enforce = "audit"\n' + POLICY)
    code, out, err = told("graph")
    assert code == 0
    assert "-.->" in out
    assert "NOT ENFORCED" in err


def test_a_picture_of_many_roles_is_drawn(told: Told, tmp_path: Path) -> None:
    roles = "\n".join(f'r{n} = ["spiffe://shop.internal/w{n}"]' for n in range(60))
    grants = "\n".join(
        f'[[grant]]\nrole = "r{n}"\nmethods = ["/s.v1.S{n % 7}/*", "/s.v1.S{n % 5}/M{n}"]'
        for n in range(60)
    )
    text = f'trust_domain = "shop.internal"\n[roles]\n{roles}\n{grants}\n'
    (tmp_path / "policy.toml").write_text(text)
    assert told("graph", "--out", "big.svg")[0] == 0
    ET.parse(tmp_path / "big.svg")


# Test

EXPECTED = """\
policy = "policy.toml"
[[expect]]
peer = "gateway"
method = "/shop.v1.Orders/Get"
allowed = true
roles = ["clerk"]
scopes = ["write"]
[[expect]]
peer = "orders"
serves = "shop.v1.Orders"
allowed = true
"""


def test_expectations_that_are_met_pass(told: Told, tmp_path: Path) -> None:
    (tmp_path / "policy.test.toml").write_text(EXPECTED)
    code, out, _ = told("test", "policy.test.toml")
    assert code == 0
    assert "2 expectations of policy.toml, 2 met, 0 not" in out


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        ("allowed = true\nroles", "allowed = false\nroles", "expected refused, and it is allowed"),
        ('["clerk"]', '["reader"]', "expected the roles reader, and has clerk"),
        ('["write"]', "[]", "expected the scopes none, and has write"),
        ('peer = "gateway"', 'peer = "audit"', "expected the roles clerk, and has reader"),
        ('peer = "orders"', 'peer = "audit"', "expected allowed, and it is refused"),
        ("roles = [", 'reason = "NO_ROLE"\nroles = [', "expected NO_ROLE, and it is ALLOWED"),
    ],
)
def test_an_expectation_that_is_not_met_fails_with_its_line_and_the_steps(
    told: Told, tmp_path: Path, right: str, wrong: str, words: str
) -> None:
    assert right in EXPECTED
    (tmp_path / "policy.test.toml").write_text(EXPECTED.replace(right, wrong))
    code, out, _ = told("test", "policy.test.toml")
    assert code == 1
    assert words in out
    assert "policy.test.toml:" in out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "policy is missing"),
        ('policy = "policy.toml"\n', "expect is missing"),
        ('policy = "policy.toml"\nexpect = []\n', "is empty"),
        (EXPECTED + "colour = 1\n", "is no key"),
        (EXPECTED.replace("allowed = true", 'allowed = "yes"'), "policy.test.toml:5"),
        (EXPECTED.replace('serves = "shop.v1.Orders"\n', ""), "either method or serves"),
        (EXPECTED.replace('peer = "gateway"', 'peer = "a b"'), "policy.test.toml:2"),
        (EXPECTED.replace('["clerk"]', '["clerk"]\nreason = "BECAUSE"'), "is unknown"),
        ("= 1", "is not valid TOML"),
        ('policy = "none.toml"\n[[expect]]\npeer="a"\nmethod="/a/b"\nallowed=true', "not there"),
    ],
)
def test_a_file_of_expectations_that_is_none_is_refused(
    told: Told, tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "policy.test.toml").write_text(text)
    code, _, err = told("test", "policy.test.toml")
    assert code == 3
    assert words in err


def test_expectations_that_are_not_there_or_not_utf8_are_refused(
    told: Told, tmp_path: Path
) -> None:
    assert told("test", "none.toml")[0] == 3
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe")
    assert "UTF-8" in told("test", "bad.toml")[2]


def test_the_shops_own_expectations_are_met(told: Told) -> None:
    assert told("test", str(ROOT / "services" / "policy.test.toml"))[0] == 0


# Lint


def linted(told: Told, tmp_path: Path, text: str, *more: str) -> dict[str, int]:
    (tmp_path / "policy.toml").write_text(text)
    code, found = asked(told, "lint", *more)
    findings = found["findings"]
    assert isinstance(findings, list)
    assert code == (1 if findings else 0)
    return {item["code"]: item["line"] for item in findings}


def test_a_policy_without_oddities_is_clean(told: Told, tmp_path: Path) -> None:
    assert linted(told, tmp_path, POLICY) == {}


@pytest.mark.parametrize(
    ("change", "code", "line"),
    [
        (('[[served_by]]\nservice = "shop.v1.Orders"\nrole = "orders"\n', ""), "unused-role", 5),
        (('["spiffe://shop.internal/audit"]', '["dns:a.shop.internal", "dns:a.shop.internal"]'), "name-twice", 4),
        (('"spiffe://shop.internal/gateway"', '"spiffe://shop.internal/prod/gateway"'), "shadowed-name", 3),
        (('["spiffe://shop.internal/audit"]', '["dns:*.shop.internal", "dns:a.shop.internal"]'), "shadowed-name", 4),
        (('["spiffe://shop.internal/audit"]', '["dns:audit.example.org"]'), "foreign-name", 4),
        (('role = "reader"\nmethods', 'role = "clerk"\nmethods'), "shadowed-grant", 10),
        (("trust_domain", 'enforce = "audit"\ntrust_domain'), "not-enforced", 1),
    ],
)  # fmt: skip
def test_what_does_nothing_is_found_with_its_line(
    told: Told, tmp_path: Path, change: tuple[str, str], code: str, line: int
) -> None:
    assert change[0] in POLICY
    found = linted(told, tmp_path, POLICY.replace(*change))
    assert found[code] == line


def test_a_grant_with_scopes_of_its_own_is_not_shadowed(told: Told, tmp_path: Path) -> None:
    more = '[[grant]]\nrole = "clerk"\nmethods = ["/shop.v1.Orders/Get"]\nscopes = ["read"]\n'
    assert linted(told, tmp_path, POLICY + more) == {}


def test_of_two_grants_that_are_the_same_one_is_kept(told: Told, tmp_path: Path) -> None:
    more = '[[grant]]\nrole = "reader"\nmethods = ["/shop.v1.Orders/Get"]\n'
    (tmp_path / "policy.toml").write_text(POLICY + more)
    _, found = asked(told, "lint")
    assert [item["code"] for item in found["findings"]] == ["shadowed-grant"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("methods", "found"),
    [
        (['"/shop.v1.Orders/Get", "/shop.v1.Stock/Get"'], {"shadowed-method": 18}),
        (['"/shop.v1.Stock/*", "/shop.v1.Stock/Get"'], {"shadowed-method": 18}),
        (
            ['"/shop.v1.Stock/*"', '"/shop.v1.Stock/Get", "/shop.v1.Pay/Get"'],
            {"shadowed-method": 22},
        ),
        (
            ['"/shop.v1.Stock/Get", "/shop.v1.Pay/Get"', '"/shop.v1.Stock/Get"'],
            {"shadowed-grant": 22},
        ),
        (['"/shop.v1.Stock/Get", "/shop.v1.Pay/*"'], {}),
    ],
)
def test_a_method_in_a_longer_grant_that_adds_nothing_is_found(
    told: Told, tmp_path: Path, methods: list[str], found: dict[str, int]
) -> None:
    more = "".join(f'# a line\n[[grant]]\nrole = "clerk"\nmethods = [{item}]\n' for item in methods)
    assert linted(told, tmp_path, POLICY + "# another\n" + more) == found


def test_of_two_grants_that_share_a_method_one_is_told(told: Told, tmp_path: Path) -> None:
    more = "".join(
        f'[[grant]]\nrole = "clerk"\nmethods = ["/shop.v1.Stock/Get", "/shop.v1.{name}/Get"]\n'
        for name in ("Pay", "Bill")
    )
    (tmp_path / "policy.toml").write_text(POLICY + more)
    _, found = asked(told, "lint")
    assert [item["code"] for item in found["findings"]] == ["shadowed-method"]  # type: ignore[attr-defined]


def test_a_method_with_scopes_of_its_own_is_not_shadowed(told: Told, tmp_path: Path) -> None:
    more = (
        '[[grant]]\nrole = "clerk"\nmethods = ["/shop.v1.Orders/Get", "/shop.v1.Stock/Get"]\n'
        'scopes = ["read"]\n'
    )
    assert linted(told, tmp_path, POLICY + more) == {}


def contracts(tmp_path: Path, *methods: str, service: str = "Orders") -> str:
    made = FileDescriptorSet()
    file = made.file.add(name="orders.proto", package="shop.v1")
    held = file.service.add(name=service)
    for method in methods:
        held.method.add(name=method)
    path = tmp_path / "set.bin"
    path.write_bytes(made.SerializeToString())
    return str(path)


def test_methods_and_services_that_do_not_exist_are_errors(told: Told, tmp_path: Path) -> None:
    one = contracts(tmp_path, "Gett", "Put")
    assert linted(told, tmp_path, POLICY, "--descriptor-set", one) == {"unknown-method": 10}
    other = contracts(tmp_path, "Get", service="Order")
    found = linted(told, tmp_path, POLICY, "--descriptor-set", other)
    assert "unknown-service" in found
    assert found["ungranted-method"] == 0
    _, out, _ = told("lint", "--descriptor-set", other)
    assert "Is shop.v1.Order meant?" in out


def test_a_service_that_nobody_answers_is_found(told: Told, tmp_path: Path) -> None:
    text = POLICY.partition("[[served_by]]")[0].replace("orders = [", "# orders = [")
    found = linted(told, tmp_path, text, "--descriptor-set", contracts(tmp_path, "Get"))
    assert found == {"unserved-service": 0}


def test_warnings_alone_may_pass(told: Told, tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text('enforce = "audit"\n' + POLICY)
    assert told("lint", "--fail-on", "error")[0] == 0
    assert told("lint")[0] == 1


def test_the_shops_own_policy_is_clean_by_its_contracts(told: Told) -> None:
    code, out, _ = told(
        "lint", str(ROOT / "services" / "policy.toml"), "--proto", str(ROOT / "protos" / "shop")
    )
    assert code == 0, out


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "holds no service"), (b"\xff" * 100, "is no descriptor set"), (b"syntax", "descriptor")],
)
def test_what_is_no_descriptor_set_is_refused(
    told: Told, tmp_path: Path, data: bytes, words: str
) -> None:
    (tmp_path / "set.bin").write_bytes(data)
    code, _, err = told("lint", "--descriptor-set", "set.bin")
    assert code == 3
    assert words in err


def test_contracts_that_do_not_compile_or_are_not_there_are_refused(
    told: Told, tmp_path: Path
) -> None:
    assert told("lint", "--proto", "none.proto")[0] == 3
    (tmp_path / "bad.proto").write_text("this is none")
    code, _, err = told("lint", "--proto", "bad.proto")
    assert code == 3
    assert "do not compile" in err
    (tmp_path / "empty").mkdir()
    assert "no .proto" in told("lint", "--proto", "empty")[2]


# Diff


def line(peer: str, method: str, reason: str = "ALLOWED", **more: object) -> str:
    return json.dumps(
        {
            "timestamp": "2026-11-02T12:00:00.000+00:00",
            "rpc_method": method,
            "principal": f"spiffe://shop.internal/{peer}" if peer else "",
            "reason": reason,
            "authorized": reason == "ALLOWED",
            **more,
        }
    )


@pytest.fixture
def changed(tmp_path: Path) -> str:
    text = POLICY.replace('"/shop.v1.Orders/*"', '"/shop.v1.Orders/Put"').replace(
        'role = "reader"\nmethods = ["/shop.v1.Orders/Get"]',
        'role = "reader"\nmethods = ["/shop.v1.Orders/Get", "/shop.v1.Orders/List"]',
    )
    (tmp_path / "new.toml").write_text(text)
    return "new.toml"


def test_a_new_policy_is_compared_by_what_it_says(told: Told, changed: str) -> None:
    code, out, _ = told("diff", "policy.toml", changed)
    assert code == 1
    assert out.splitlines() == [
        "- clerk may call /shop.v1.Orders/* (write)",
        "+ clerk may call /shop.v1.Orders/Put (write)",
        "+ reader may call /shop.v1.Orders/List",
    ]


def test_a_policy_that_says_the_same_in_another_order_is_the_same(
    told: Told, tmp_path: Path
) -> None:
    (tmp_path / "new.toml").write_text("# a comment\n\n" + POLICY)
    assert told("diff", "policy.toml", "new.toml")[0] == 0


def test_the_calls_of_yesterday_are_replayed(told: Told, tmp_path: Path, changed: str) -> None:
    log = [
        line("gateway", GET),
        line("gateway", GET),
        line("gateway", "/shop.v1.Orders/Put"),
        line("audit", "/shop.v1.Orders/List", "METHOD_NOT_GRANTED"),
        line("gateway", GET, "CERTIFICATE_REVOKED"),
        line("", GET, "CERTIFICATE_INVALID"),
        line("stranger", GET, "NO_ROLE", suppressed=7),
        json.dumps({"timestamp": "x", "suppressed": 5, "principals": {}}),
        "",
        "no json",
        '["a list"]',
        json.dumps({"rpc_method": 1, "principal": "a", "reason": "b", "timestamp": "c"}),
        "[" * 100_000,
    ]
    (tmp_path / "calls.jsonl").write_text("\n".join(log))
    code, found = asked(told, "diff", "policy.toml", changed, "--calls", "calls.jsonl")
    assert code == 1
    changes = [(item["peer"], item["refused"], item["count"]) for item in found["changes"]]  # type: ignore[attr-defined]
    assert changes == [
        ("spiffe://shop.internal/gateway", True, 2),
        ("spiffe://shop.internal/audit", False, 1),
    ]
    assert found["calls"] == {
        "replayed": 5,
        "kinds": 4,
        "refused_before_policy": 2,
        "suppressed": 12,
        "invalid": 4,
        "invalid_lines": [10, 11, 12, 13],
    }
    _, out, _ = told("diff", "policy.toml", changed, "--calls", "calls.jsonl")
    assert "1 kinds of calls would be newly refused, 2 of those recorded" in out


def test_calls_that_go_on_as_they_were_change_nothing(
    told: Told, tmp_path: Path, changed: str
) -> None:
    (tmp_path / "calls.jsonl").write_text(line("gateway", "/shop.v1.Orders/Put") + "\n")
    assert told("diff", "policy.toml", changed, "--calls", "calls.jsonl")[0] == 0


def test_a_call_that_goes_through_unenforced_and_would_be_refused_is_a_change(
    told: Told, tmp_path: Path
) -> None:
    (tmp_path / "tried.toml").write_text('enforce = "audit"\n' + POLICY)
    recorded = line("stranger", GET, "NO_ROLE", audited=True)
    (tmp_path / "calls.jsonl").write_text(recorded)
    code, found = asked(told, "diff", "tried.toml", "policy.toml", "--calls", "calls.jsonl")
    assert code == 1
    assert found["changes"][0]["refused"] is True  # type: ignore[index]


def test_calls_come_from_standard_input_too(
    told: Told, changed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Piped(io.StringIO):
        buffer = io.BytesIO(line("gateway", GET).encode() + b"\n" + b"x" * 200_000)

    monkeypatch.setattr(sys, "stdin", Piped())
    code, found = asked(told, "diff", "policy.toml", changed, "--calls", "-")
    assert code == 1
    assert found["calls"]["invalid_lines"] == [2]  # type: ignore[index]


def test_a_log_that_is_not_there_can_not_be_told(told: Told, changed: str) -> None:
    assert told("diff", "policy.toml", changed, "--calls", "none.jsonl")[0] == 3
    assert told("diff", "policy.toml", changed, "--calls", ".")[0] == 3
    assert told("diff", "policy.toml", "none.toml")[0] == 3


@pytest.mark.parametrize(
    "text", ["", "\n", "def gen():\n    pass\n", '{"level": "info", "msg": "started"}\n']
)
def test_a_file_without_a_line_of_a_decision_log_can_not_be_told(
    told: Told, tmp_path: Path, changed: str, text: str
) -> None:
    (tmp_path / "gen.py").write_text(text)
    code, out, err = told("diff", "policy.toml", changed, "--calls", "gen.py")
    assert (code, out) == (3, "")
    assert "holds no line of a decision log" in err


def test_a_log_of_calls_that_no_policy_was_asked_about_changes_nothing(
    told: Told, tmp_path: Path, changed: str
) -> None:
    (tmp_path / "calls.jsonl").write_text(line("", GET, "CERTIFICATE_INVALID"))
    assert told("diff", "policy.toml", changed, "--calls", "calls.jsonl")[0] == 0


def test_a_hostile_name_in_a_log_is_shown_escaped(told: Told, tmp_path: Path, changed: str) -> None:
    (tmp_path / "calls.jsonl").write_text(line("gateway", GET, timestamp="\x1b[31m"))
    _, out, _ = told("diff", "policy.toml", changed, "--calls", "calls.jsonl")
    assert "\x1b" not in out


def test_an_empty_log_holds_nothing() -> None:
    assert read_decision_log([]).calls == {}
