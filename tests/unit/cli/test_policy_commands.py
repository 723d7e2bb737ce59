"""What the policy commands answer, and what they refuse to answer."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.command import Capture, run_command, run_json

POLICY = Path("services/policy.toml").absolute()
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", ["explain --peer orders --method", "who-can"])
@pytest.mark.parametrize(
    ("method", "remedy"),
    [
        ("shop.v1.Payments/Settle", "Begin with a slash: /shop.v1.Payments/Settle"),
        ("/shop.v1.Payments.Settle", "/package.Service/Method"),
        ("/shop.v1.Payments/*", "/package.Service/Method"),
        ("Settle", "/package.Service/Method"),
        ("/shop.v1.Payments/Settle ", "/package.Service/Method"),
    ],
)
def test_what_is_no_method_is_wrong_usage(
    capsys: Capture, command: str, method: str, remedy: str
) -> None:
    code, out, err = run_command(capsys, "policy", *command.split(), method, "--policy", POLICY)
    assert (code, out) == (2, "")
    assert "is no method's path" in err
    assert remedy in err


def test_a_caller_that_is_allowed_is_told_so(capsys: Capture) -> None:
    asked = ("policy", "explain", "--peer", "orders", "--policy", POLICY, "--method")
    assert run_command(capsys, *asked, "/shop.v1.Payments/Settle")[0] == 0
    assert run_command(capsys, *asked, "/shop.v1.Payments/Nothing")[0] == 1


def test_what_is_no_service_is_wrong_usage(capsys: Capture) -> None:
    asked = ("policy", "explain", "--peer", "payments", "--policy", POLICY, "--serves")
    assert run_command(capsys, *asked, "shop.v1.Payments")[0] == 0
    code, out, err = run_command(capsys, *asked, "/shop.v1.Payments/Settle")
    assert (code, out) == (2, "")
    assert "package.Service" in err


@pytest.mark.parametrize("path", ["none.toml", ".", "none/policy.toml"])
@pytest.mark.parametrize(
    "command",
    [
        "check {}",
        "lint {}",
        "graph {}",
        "test {}",
        "diff {} {}",
        "explain --peer a --method /a.B/C --policy {}",
        "who-can /a.B/C --policy {}",
        "what-can a --policy {}",
    ],
)
def test_a_file_that_can_not_be_read_is_no_answer(capsys: Capture, command: str, path: str) -> None:
    code, out, err = run_command(capsys, "policy", *command.format(path, path).split())
    assert (code, out) == (3, "")
    assert err.startswith("handfast: could not tell: ")


def test_a_bad_policy_is_an_answer(capsys: Capture, here: Path) -> None:
    (here / "bad.toml").write_text("[roles\n")
    assert run_command(capsys, "policy", "check", "bad.toml")[0] == 1
    assert run_command(capsys, "policy", "check", POLICY)[0] == 0


# The graph


@pytest.mark.parametrize("name", ["policy.png", "policy.pdf", "policy", "policy.svgz"])
def test_a_picture_in_a_format_that_is_not_drawn_is_refused(capsys: Capture, name: str) -> None:
    code, out, err = run_command(capsys, "policy", "graph", POLICY, "--out", name)
    assert (code, out) == (2, "")
    assert "'--out'" in err
    assert ".svg" in err
    assert not Path(name).exists()
    assert run_command(capsys, "policy", "graph", POLICY, "--out", name, "--format", "svg")[0] == 0
    assert Path(name).read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("name", "beginning"),
    [("a.svg", "<?xml"), ("a.SVG", "<?xml"), ("a.mmd", "flowchart"), ("a.md", "flowchart")],
)
def test_the_name_of_the_file_gives_the_format(capsys: Capture, name: str, beginning: str) -> None:
    assert run_command(capsys, "policy", "graph", POLICY, "--out", name)[0] == 0
    assert Path(name).read_text().startswith(beginning)


def test_the_drawing_shows_the_methods_of_every_line(capsys: Capture) -> None:
    told = run_json(capsys, "policy", "graph", POLICY, "--out", "policy.svg")
    root = ElementTree.parse("policy.svg").getroot()
    labels = [text for text in root.iter(f"{SVG}text") if text.get("class") == "method"]
    assert sorted(str(label.text) for label in labels) == sorted(
        ", ".join(edge["methods"]) for edge in told["edges"]
    )
    places = [(float(label.get("x", "")), float(label.get("y", ""))) for label in labels]
    for number, (x, y) in enumerate(places):
        assert all(x != other or abs(y - below) >= 11 for other, below in places[:number])


def test_many_methods_are_cut_on_the_line_and_whole_in_its_title(
    capsys: Capture, here: Path
) -> None:
    methods = ", ".join(f'"/a.B/Method{number}"' for number in range(20))
    (here / "policy.toml").write_text(
        'trust_domain = "shop.internal"\n[roles]\nweb = ["spiffe://shop.internal/web"]\n'
        f'[[grant]]\nrole = "web"\nmethods = [{methods}]\n'
    )
    assert run_command(capsys, "policy", "graph", "--out", "policy.svg")[0] == 0
    text = Path("policy.svg").read_text()
    (label,) = re.findall(r'class="method"[^>]*>([^<]*)<', text)
    assert label.endswith("\u2026")
    (title,) = re.findall(r"<title>([^<]*)<", text)
    assert "Method19" in title
