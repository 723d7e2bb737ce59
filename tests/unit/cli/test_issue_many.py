"""``handfast issue A B ...`` and ``--from``: each directory whole or untouched, each end told."""

from __future__ import annotations

import errno
import io
import itertools
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pki.authority import Authority
from pki.cli.issue import fleet, orders_file
from pki.files import load_credential
from pki.files.open_folder import OpenFolder
from tests.command import Capture, files_of, make_state, run_command, run_json

MAIN = "from pki.cli.entry import main; main()"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    make_state(tmp_path / "certs")
    return tmp_path / "certs"


def issue(capsys: Capture, state: Path, *arguments: str) -> dict[str, Any]:
    return run_json(capsys, "issue", *arguments, "--dir", state)


def names_of(answer: dict[str, Any]) -> list[str]:
    return [
        item["spiffe_id"].removeprefix("spiffe://shop.internal/") for item in answer["directories"]
    ]


def left_over(state: Path) -> list[Path]:
    return [path for path in state.rglob("*.tmp") if "ca" not in path.relative_to(state).parts]


def test_several_names_are_issued_into_directories_of_their_own(
    capsys: Capture, state: Path
) -> None:
    answer = issue(capsys, state, "orders", "prod/payments", "prod", "--ttl", "2h")
    assert answer["code"] == 0
    assert names_of(answer) == ["orders", "prod/payments", "prod"]
    for name in ("orders", "prod/payments", "prod"):
        credential = load_credential(state / name).credential
        assert str(credential.spiffe_id).endswith(f"/{name}")
        assert (state / name / "key.pem").stat().st_mode & 0o777 == 0o600
        assert (state / name / "chain.pem").stat().st_mode & 0o777 == 0o644
        assert state.joinpath(name).stat().st_mode & 0o777 == 0o755
    assert left_over(state) == []
    assert run_command(capsys, "verify", state / "orders", "--as", "server")[0] == 0


@pytest.mark.parametrize("layout", ["kubernetes", "spiffe-files", "certbot"])
def test_every_layout_is_the_one_that_a_single_certificate_has(
    capsys: Capture, state: Path, layout: str
) -> None:
    issue(capsys, state, "one", "two", "--layout", layout)
    issue(capsys, state, "alone", "--layout", layout)

    def modes(name: str) -> dict[str, int]:
        return {
            path.name: path.stat().st_mode
            for path in (state / name).iterdir()
            if not path.name.startswith(".")
        }

    assert modes("one") == modes("two") == modes("alone")


def test_a_file_of_json_lines_says_what_each_one_needs(capsys: Capture, tmp_path: Path) -> None:
    state = tmp_path / "certs"
    code, _, _ = run_command(
        capsys, "ca", "init", "--trust-domain", "shop.internal", "--permit-dns", "example.org",
        "--permit-ip", "10.0.0.0/8", "--dir", state,
    )  # fmt: skip
    assert code == 0
    source = tmp_path / "fleet.jsonl"
    source.write_text(
        '{"name": "a", "dns": ["a.example.org", "b.example.org"], "ip": ["10.1.2.3"]}\n\n'
        f'{{"name": "b", "ttl": "3h", "out": "{tmp_path}/elsewhere", "profile": "workload"}}\n'
        '{"name": "c", "key_type": "ecdsa-p384"}\n'
    )
    answer = issue(capsys, state, "--from", str(source), "--ttl", "30m")
    a, b, c = answer["directories"]
    assert a["dns"] == ["a.shop.internal", "a.example.org", "b.example.org"]
    assert a["ip"] == ["10.1.2.3"]
    assert b["directory"] == f"{tmp_path}/elsewhere"
    assert a["not_after"] < b["not_after"]
    assert load_credential(tmp_path / "elsewhere").credential
    assert c["spiffe_id"] == "spiffe://shop.internal/c"


def test_a_spreadsheet_says_the_same(capsys: Capture, state: Path, tmp_path: Path) -> None:
    source = tmp_path / "fleet.csv"
    source.write_bytes('\ufeffname , ttl\r\norders,2h\r\n\r\n"payments",\r\n'.encode())
    assert names_of(issue(capsys, state, "--from", str(source))) == ["orders", "payments"]


def test_standard_input_can_be_the_file(
    capsys: Capture, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = io.TextIOWrapper(io.BytesIO(b'{"name": "orders"}\n'))
    monkeypatch.setattr(sys, "stdin", text)
    assert names_of(issue(capsys, state, "also", "--from", "-")) == ["also", "orders"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_lines_of_a_spreadsheet_end_as_on_any_system(
    capsys: Capture, state: Path, tmp_path: Path, end: str
) -> None:
    source = tmp_path / "fleet.csv"
    source.write_bytes(end.join(["name,ttl", "orders,2h", "payments,", ""]).encode())
    assert names_of(issue(capsys, state, "--from", str(source))) == ["orders", "payments"]


@pytest.mark.parametrize("source", ["/dev/stdin", '<(printf \'{"name": "orders"}\')'])
def test_the_file_may_be_a_pipe_of_a_shell(state: Path, source: str) -> None:
    command = f"""exec {sys.executable} -c '{MAIN}' issue --dir {state} --json --from {source}"""
    done = subprocess.run(
        ["bash", "-c", command], input=b'{"name": "orders"}\n', capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert names_of(json.loads(done.stdout)) == ["orders"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "names no workloads"),
        ("\n\n", "names no workloads"),
        ("name\n", "names no workloads"),
        ("orders\n", "names no column 'name'"),
        ("name;ttl\na;1h\n", "separate the columns with commas"),
        ('["a"]\n', "one object a line"),
        ('{"name": "a"}\n{"name": ""}\n', "line 2: its name is empty"),
        ('{"name": "a"}\n{"nme": "b"}\n', "line 2: 'nme' is none of name, dns"),
        ('{"name": 7}', "line 1: its name is no string"),
        ('{"ttl": "1h"}', "line 1: it has no name"),
        ('{"name": "a", "dns": "b"}', "line 1: its dns is no list"),
        ('{"name": "a", "ip": ["10.0.0"]}', "line 1: '10.0.0' does not appear"),
        ('{"name": "a", "ttl": "soon"}', "line 1:"),
        ('{"name": "a", "profile": "x"}', "line 1: profile 'x' is none of workload"),
        ('{"name": "a", "key_type": "dsa"}', "line 1: key_type 'dsa' is none of ecdsa-p256"),
        ('{"name": "a"}\nno json\n', "line 2: it is no JSON object"),
        ('{"name": "a"}\n["a"]\n', "line 2: it is no JSON object"),
        ("{" * 100_000, "line 1: it is no JSON object"),
        ("name,ttl\na,1h,2h\n", "line 2: it has 3 cells, and the heading 2"),
        ('name\n"a\n', "is no CSV"),
        ('{"name": "a"}\n{"name": "a"}\n', "line 2: 'a' and 'a' would both be written to"),
        ('{"name": "a"}\n{"name": "no name !"}', "line 2: SPIFFE ID path"),
        ('{"name": "a"}\n{"name": "../b"}\n{"name": ".."}', "2 lines that can't be issued: line 2"),
        ('{"name": "a", "name": "b"}', "line 1: 'name' is named twice"),
        ("name,ttl,name\na,1h,b\n", "'name' is named twice"),
        ('{"name": "a", "out": "b\\u0000c"}', "line 1: its out 'b\\x00c' can't be a path"),
        ('{"name": "a", "out": "b\\ud800c"}', "line 1: its out"),
        ('{"name": "a", "out": "~/a"}', "line 1: its out '~/a' begins with ~"),
        ("\x00\xff", ""),
    ],
)
def test_a_file_with_a_fault_issues_nothing_and_names_the_line(
    capsys: Capture, state: Path, tmp_path: Path, text: str, fault: str
) -> None:
    source = tmp_path / "fleet"
    source.write_text(text, encoding="latin-1")
    before = files_of(state / "ca")
    code, out, err = run_command(capsys, "issue", "--from", source, "--dir", state)
    assert (code, out) == (1, "")
    assert fault in err
    assert err.count("\n") == 1
    assert sorted(path.name for path in state.iterdir() if path.name != "ca") == []
    assert files_of(state / "ca").keys() == before.keys()


def test_a_file_that_is_too_large_or_not_there_is_refused(
    capsys: Capture, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders_file, "MOST_ORDERS", 3)
    source = tmp_path / "fleet.csv"
    source.write_text("name\na\nb\nc\nd\n")
    assert (
        "holds more than 3 orders"
        in run_command(capsys, "issue", "--from", source, "--dir", state)[2]
    )
    monkeypatch.setattr(orders_file, "_MOST_BYTES", 4)
    assert run_command(capsys, "issue", "--from", source, "--dir", state)[0] == 1
    code, _, err = run_command(capsys, "issue", "--from", tmp_path / "none", "--dir", state)
    assert (code, "is not there" in err) == (1, True)


def test_one_that_fails_does_not_stop_the_others_and_the_code_says_so(
    capsys: Capture, state: Path
) -> None:
    run_command(capsys, "issue", "orders", "--dir", state)
    (state / "busy").write_text("a file is in the way")
    (state / "orders" / "key.pem").chmod(0o644)
    before = files_of(state / "orders")
    answer = issue(capsys, state, "first", "orders", "busy", "spiffe://other.internal/x", "last")
    assert answer["code"] == 5
    assert names_of(answer) == ["first", "last"]
    assert answer["issued"] == 2
    failed = {item["name"]: item for item in answer["failed"]}
    assert set(failed) == {"orders", "busy", "spiffe://other.internal/x"}
    assert files_of(state / "orders") == before
    assert (state / "busy").read_text() == "a file is in the way"
    assert failed["orders"]["serial"] is None
    assert load_credential(state / "last").credential


def test_if_none_succeeds_the_code_is_that_of_a_failure(capsys: Capture, state: Path) -> None:
    for name in ("a", "b"):
        (state / name).write_text("")
    answer = issue(capsys, state, "a", "b")
    assert (answer["code"], answer["issued"], len(answer["failed"])) == (1, 0, 2)


def test_a_directory_that_is_there_is_issued_to_again(capsys: Capture, state: Path) -> None:
    first = issue(capsys, state, "a", "b", "c")
    assert first["code"] == 0
    again = issue(capsys, state, "a", "d", "c")
    assert names_of(again) == ["a", "d", "c"]
    serials = {item["spiffe_id"]: item["serial"] for item in first["directories"]}
    for item in again["directories"]:
        assert item["serial"] != serials.get(item["spiffe_id"])
        leaf = load_credential(Path(item["directory"])).credential.leaf
        assert f"{leaf.serial_number:x}" == item["serial"]


def test_a_name_is_no_way_into_the_cas_own_folder(capsys: Capture, state: Path) -> None:
    before = files_of(state / "ca").keys()
    answer = issue(capsys, state, "a", "ca", "ca/deeper")
    assert answer["code"] == 5
    assert [item["name"] for item in answer["failed"]] == ["ca", "ca/deeper"]
    code, _, err = run_command(capsys, "issue", "ca/alone", "--dir", state)
    assert (code, "is the folder of a CA" in err) == (1, True)
    assert files_of(state / "ca").keys() >= before
    assert not (state / "ca" / "key.pem").exists()


def test_what_can_not_be_written_leaves_nothing_behind(
    capsys: Capture, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    made = OpenFolder.made_folder
    beside: dict[str, Path] = {}

    def made_folder(self: OpenFolder, name: str) -> Any:
        # The second directory is that of b.
        beside["abc"[len(beside)]] = self.path / name
        return made(self, name)

    monkeypatch.setattr(OpenFolder, "made_folder", made_folder)

    def write(descriptor: int, data: Any) -> int:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if path.name == "chain.pem" and path.parent == beside.get("b"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data)

    monkeypatch.setattr("pki.files.open_folder.os.write", write)
    answer = issue(capsys, state, "a", "b", "c")
    assert names_of(answer) == ["a", "c"]
    [failed] = answer["failed"]
    assert "can't be written: No space left" in failed["error"]
    assert failed["serial"] is not None
    assert not (state / "b").exists()
    assert left_over(state) == []


def test_a_directory_that_appears_meanwhile_is_left_alone(
    capsys: Capture, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue_each = Authority.issue_each

    def other_is_faster(self: Authority, orders: Any) -> Any:
        (state / "b").mkdir()
        (state / "b" / "key.pem").write_text("of somebody else")
        return issue_each(self, orders)

    monkeypatch.setattr(Authority, "issue_each", other_is_faster)
    answer = issue(capsys, state, "a", "b")
    assert names_of(answer) == ["a"]
    assert "was made by somebody else meanwhile" in answer["failed"][0]["error"]
    assert files_of(state / "b") == {"key.pem": b"of somebody else"}
    assert left_over(state) == []


def test_who_interrupts_is_told_what_is_in_place_and_no_key_is_left_over(
    capsys: Capture, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "_AT_ONCE", 3)
    create = OpenFolder.create
    number = itertools.count()

    def interrupted(self: OpenFolder, name: str, data: bytes, *, mode: int) -> None:
        if next(number) == 18:  # in the second commit's second directory
            raise KeyboardInterrupt
        create(self, name, data, mode=mode)

    monkeypatch.setattr(OpenFolder, "create", interrupted)
    answer = issue(capsys, state, *(f"w{number}" for number in range(8)))
    assert answer["code"] == 5
    assert names_of(answer) == ["w0", "w1", "w2"]
    assert [item["name"] for item in answer["failed"]] == [f"w{number}" for number in range(3, 8)]
    assert {item["error"] for item in answer["failed"]} == {"interrupted before it was in place"}
    assert left_over(state) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_who_ends_the_command_is_told_the_same_as_who_interrupts_it(
    state: Path, number: signal.Signals
) -> None:
    # Whoever runs the tests may ignore it: nohup does.
    main = f"import signal; signal.signal({int(number)}, signal.SIG_DFL); {MAIN}"
    process = subprocess.Popen(
        [sys.executable, "-c", main, "issue", *map(str, range(300)), "--dir", str(state), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    while not left_over(state) and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(number)
    answer = json.loads(process.communicate()[0])
    assert process.returncode in {1, 5}
    assert answer["issued"] + len(answer["failed"]) == 300
    assert answer["failed"][-1]["error"] == "interrupted before it was in place"
    assert left_over(state) == []


def test_a_long_name_is_issued_as_one_alone_would_be(capsys: Capture, state: Path) -> None:
    long = "x" * 250
    assert names_of(issue(capsys, state, long, "a")) == [long, "a"]


def test_a_line_within_a_text_is_none_of_the_file(
    capsys: Capture, tmp_path: Path, state: Path
) -> None:
    source = tmp_path / "fleet"
    source.write_text('{"name": "a", "out": "' + str(state / "b\u2028c") + '"}\r\n{"name": "d"}\n')
    assert len(names_of(issue(capsys, state, "--from", str(source)))) == 2
    assert (state / "b\u2028c" / "key.pem").exists()


def test_the_number_of_faulty_lines_has_an_end(
    capsys: Capture, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders_file, "MOST_ORDERS", 3)
    source = tmp_path / "fleet"
    source.write_text("{}\n" * 5)
    assert "more than 3" in run_command(capsys, "issue", "--from", source, "--dir", state)[2]


def test_more_than_one_commit_holds_are_issued_in_several(
    capsys: Capture, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "_AT_ONCE", 3)
    answer = issue(capsys, state, *(f"w{number}" for number in range(8)))
    assert len(names_of(answer)) == 8
    code, out, _ = run_command(capsys, "audit", "verify", "--dir", state)
    assert (code, "they are whole" in out) == (0, True)


def test_a_killed_command_leaves_each_directory_whole_or_not_there(
    state: Path, tmp_path: Path
) -> None:
    source = tmp_path / "fleet.csv"
    source.write_text("name\n" + "".join(f"w{number}\n" for number in range(2000)))
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, "issue", "--from", str(source), "--dir", str(state)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + 60
    while not (state / "w150").exists() and time.monotonic() < end:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    there = [path for path in state.iterdir() if path.name.startswith("w")]
    assert 0 < len(there) < 2000
    for path in there:
        assert load_credential(path).credential.crls is not None
    with Authority.open(state / "ca") as ca:
        recorded = {item.serial for item in ca.certificates()}
        for path in there:
            leaf = load_credential(path).credential.leaf
            assert f"{leaf.serial_number:x}" in recorded
        assert ca.verify_audit_log().findings == ()


def test_what_a_killed_command_leaves_is_no_credential(capsys: Capture, state: Path) -> None:
    issue(capsys, state, "a", "b")
    left = state / ".a.0123456789abcdef.tmp"
    (state / "a").rename(left)
    answer = run_json(capsys, "renew", "--all", state, "--force", "--dir", state)
    assert [item["directory"] for item in answer["directories"]] == [str(state / "b")]


def test_a_terminal_sees_a_bar_and_a_pipe_does_not(state: Path) -> None:
    def run(stderr: int) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-c", MAIN, "issue", "a", "b", "--dir", str(state)],
            stdout=subprocess.PIPE,
            stderr=stderr,
            check=True,
            env={**os.environ, "TERM": "xterm"},
        )

    assert run(subprocess.PIPE).stderr == b""
    master, terminal = pty.openpty()
    out = run(terminal).stdout
    # While the terminal is open: what is left in it goes with it.
    os.set_blocking(master, False)
    seen = os.read(master, 65536)
    os.close(terminal)
    os.close(master)
    assert b"Issuing" in seen
    assert b"Issued 2 of 2 certificates" in out


def test_the_lines_for_people_name_each_directory(capsys: Capture, state: Path) -> None:
    code, out, err = run_command(capsys, "issue", "a", "b", "--dir", state)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith(f"{state}/a: spiffe://shop.internal/a, until ")
    assert lines[-1] == "Issued 2 of 2 certificates"
    assert json.loads(run_command(capsys, "issue", "c", "d", "--dir", state, "--json")[1])
