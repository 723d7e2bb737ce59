"""What ``handfast watch`` shows: of credentials good and bad, of a ledger, live and in lines."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pki.cli.app import run
from pki.cli.state.authority import open_authority
from pki.cli.watch.board import Board, draw
from pki.cli.watch.credential_row import ReadCredential, State, credential_row
from pki.cli.watch.credentials import credentials_board, find_credentials
from pki.cli.watch.history import Event, History
from pki.cli.watch.ledger import ledger_board, ledger_view
from tests.interop.seeds import HOUR, Ca, Made, Scene, names_of, scene_in

Told = Callable[..., tuple[int, str, str]]
COMMAND = str(Path(sys.executable).with_name("handfast"))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with scene_in(tmp_path) as made:
        yield made


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Told:
    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(["watch", *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def rows(told: Told, folder: Path) -> dict[str, dict[str, Any]]:
    code, out, err = told(folder, "--json")
    assert code == 0, err
    return {row["name"]: row for row in json.loads(out)["credentials"]}


# Rows


def one(scene: Scene) -> ReadCredential:
    (found,) = find_credentials(scene.home)
    return found


@pytest.mark.parametrize(
    ("after", "state", "words"),
    [
        (timedelta(0), State.GOOD, ""),
        (timedelta(minutes=10), State.DUE, ""),
        (timedelta(minutes=40), State.LATE, "renewal is late"),
        (timedelta(minutes=61), State.BAD, "expired"),
        (-timedelta(hours=2), State.BAD, "valid only in"),
    ],
)
def test_how_a_credential_is_follows_its_life(
    scene: Scene, after: timedelta, state: State, words: str
) -> None:
    scene.credential("a", scene.ca.leaf(begin=-HOUR + timedelta(minutes=5)), crls=None)
    row = credential_row(one(scene), datetime.now(UTC) + after)
    assert row.state is state
    assert words in row.problem
    assert bool(words) == bool(row.problem)


def test_a_revoked_one_and_one_with_an_old_list_are_bad(scene: Scene, told: Told) -> None:
    revoked = scene.ca.leaf("revoked")
    scene.credential("revoked", revoked, crls=scene.ca.crls([revoked.chain[0]]))
    scene.credential("stale", scene.ca.leaf("stale"), crls=scene.ca.crls(end=-HOUR))
    scene.credential("good", scene.ca.leaf("good", begin=-timedelta(minutes=1)))
    found = rows(told, scene.home)
    assert found["revoked"]["problem"] == "revoked"
    assert found["stale"]["problem"].startswith("its CRLs became stale 1h")
    assert found["good"]["state"] == "good"
    assert found["good"]["crls"].startswith("stale in 59m")
    assert found["good"]["workload"] == "spiffe://seed.internal/good"


def test_a_credential_under_a_ca_that_has_expired_is_bad(scene: Scene) -> None:
    scene.credential("a", scene.ca.leaf(begin=-HOUR, end=1000 * HOUR), crls=None)
    now = datetime.now(UTC)
    assert credential_row(one(scene), now + HOUR).state is State.GOOD
    row = credential_row(one(scene), now + 25 * HOUR)
    assert row.state is State.BAD
    assert row.problem.startswith("its issuing CA expired 1h")
    row = credential_row(one(scene), now - 25 * HOUR)
    assert row.state is State.BAD


def test_a_credential_whose_roots_have_all_expired_is_bad(scene: Scene) -> None:
    made = scene.ca.leaf(begin=-HOUR, end=1000 * HOUR)
    scene.credential("a", Made(made.key, made.chain[:1]), crls=None)
    now = datetime.now(UTC)
    assert credential_row(one(scene), now + HOUR).state is State.GOOD
    row = credential_row(one(scene), now + 25 * HOUR)
    assert (row.state, row.problem) == (State.BAD, "every root of its bundle has expired")


def test_files_that_make_no_credential_are_told_with_the_reason(scene: Scene, told: Told) -> None:
    good = scene.ca.leaf("a")
    scene.credential("torn", good, key=good.key_pem[:60])
    scene.credential("mismatch", good, key=Ca().leaf().key_pem)
    (scene.home / "nothing").mkdir()
    found = rows(told, scene.home)
    assert set(found) == {"torn", "mismatch"}
    for row in found.values():
        assert row["state"] == "bad"
        assert row["problem"]
        assert row["not_after"] is None


def test_names_are_shown_as_they_are_and_nothing_is_obeyed(scene: Scene, told: Told) -> None:
    scene.credential("[red]x[", scene.ca.leaf("[blink]\x1b[2J", names=[]))
    code, out, err = told(scene.home, "--once")
    assert code == 0, err
    assert "[red]x[" in out
    assert "\x1b[2J" not in out


def test_a_history_tells_what_happened_and_nothing_else(scene: Scene) -> None:
    folder = scene.credential("a", scene.ca.leaf(begin=-timedelta(minutes=1)))
    now = datetime.now(UTC)
    history = History()

    def look(at: datetime = now) -> bool:
        return history.update(
            [credential_row(item, at) for item in find_credentials(scene.home)], at
        )

    assert look()
    assert not look()
    (folder / "key.pem").write_text("torn")
    assert look()
    shutil.rmtree(folder)
    scene.credential("a", scene.ca.leaf(begin=-timedelta(minutes=1)))
    assert look()
    scene.credential("b", scene.ca.leaf("b", begin=-timedelta(minutes=1)))
    assert look()
    assert look(now + 2 * HOUR)
    shutil.rmtree(folder)
    assert look(now + 2 * HOUR)
    words = [f"{item.name} {item.message}" for item in history.events]
    assert words[0].startswith("a '")
    assert words[0].endswith("a/key.pem': private key holds text outside a PEM block at line 1")
    assert words[1].startswith("a renewed: ")
    assert words[2] == "b appeared"
    assert [item.partition(" expired")[0] for item in words[3:5]] == ["a", "b"]
    assert words[5] == "a was removed"
    assert len(words) == 6


# Wrong input


def test_a_folder_that_is_not_there_or_is_a_file_is_an_error(tmp_path: Path, told: Told) -> None:
    (tmp_path / "file").write_text("x")
    for place in ("none", "file"):
        code, out, err = told(tmp_path / place)
        assert code == 1, err
        assert "is not there, or is no folder" in err
        assert not out


def test_an_empty_folder_says_so(tmp_path: Path, told: Told) -> None:
    code, out, _ = told(tmp_path)
    assert code == 0
    assert "no credential here" in out


def test_a_ledger_and_a_folder_at_once_are_refused(tmp_path: Path, told: Told) -> None:
    code, _, err = told(tmp_path, "--ledger")
    assert code == 2
    assert "either a folder or --ledger" in err


def test_a_folder_of_too_many_folders_is_refused(tmp_path: Path, told: Told) -> None:
    for number in range(501):
        (tmp_path / str(number)).mkdir()
    code, _, err = told(tmp_path, "--once")
    assert code == 1
    assert "holds more than 500 folders" in err


def test_a_circle_of_links_is_walked_once_over(scene: Scene, told: Told) -> None:
    folder = scene.credential("a", scene.ca.leaf())
    (folder / "again").symlink_to(scene.home)
    assert "a" in rows(told, scene.home)


# The ledger


@pytest.fixture
def state(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    folder = tmp_path / "ca"
    assert run(["ca", "init", "--trust-domain", "watch.internal", "--dir", str(folder)]) == 0
    for name in ("a", "b"):
        out = str(tmp_path / name)
        assert run(["issue", name, "--dir", str(folder), "--out", out]) == 0
    capsys.readouterr()
    return folder


def test_a_ledger_shows_what_is_in_force_and_what_was_revoked(state: Path, told: Told) -> None:
    _, out, _ = told("--ledger", "--dir", state, "--json")
    before = json.loads(out)
    serial = before["in_force"][0]["serial"]
    assert len(before["in_force"]) == 2
    assert {item["kind"] for item in before["issuers"]} == {"root", "issuing"}
    assert run(["revoke", serial, "--dir", str(state), "--reason", "key-compromise"]) == 0
    _, out, _ = told("--ledger", "--dir", state, "--json")
    after = json.loads(out)
    assert [item["serial"] for item in after["revoked"]] == [serial]
    assert len(after["in_force"]) == 1
    _, out, _ = told("--ledger", "--dir", state, "--once")
    assert "1 certificate in force" in out
    assert f"revoked: {after['revoked'][0]['spiffe_id']} {serial}" in out


def test_no_ledger_is_an_error(tmp_path: Path, told: Told) -> None:
    code, _, err = told("--ledger", "--dir", tmp_path / "none")
    assert code == 1, err


# Live


def lines_of(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert process.stdout is not None
    for line in process.stdout:
        yield json.loads(line)


def test_a_line_comes_at_each_change_and_an_interrupt_ends_it(scene: Scene) -> None:
    folder = scene.credential("a", scene.ca.leaf("a", begin=-timedelta(minutes=1)))
    with subprocess.Popen(
        [COMMAND, "watch", str(scene.home), "--json", "--follow", "--interval", "0.2"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            lines = lines_of(process)
            first = next(lines)
            assert first["credentials"][0]["name"] == "a"
            (folder / "key.pem").write_text("torn")
            assert next(lines)["credentials"][0]["state"] == "bad"
            os.replace(folder, scene.home.parent / f"{scene.home.name}-gone")
            events = next(lines)["events"]
            assert events[-1]["message"] == "was removed"
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    shutil.rmtree(scene.home.parent / f"{scene.home.name}-gone")


def test_a_terminal_shows_a_renewal_while_it_is_watched(scene: Scene) -> None:
    scene.credential("a", scene.ca.leaf("a", begin=-timedelta(minutes=1)))
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, "watch", str(scene.home), "--interval", "0.2"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "COLUMNS": "160", "LINES": "40", "TERM": "xterm"},
    )
    os.close(theirs)
    seen = ""
    try:
        seen = _until(ours, "spiffe://seed.internal/a")
        fresh = scene.credential(
            "fresh", scene.ca.leaf("a", begin=-timedelta(minutes=1), names=names_of("a"))
        )
        for name in ("key.pem", "chain.pem"):
            os.replace(fresh / name, scene.home / "a" / name)
        shutil.rmtree(fresh)
        seen += _until(ours, "a: renewed")
    finally:
        process.send_signal(signal.SIGINT)
        # A terminal that nobody reads is full after a few frames, and holds up whoever writes.
        seen += _rest(ours)
        code = process.wait(20)
        os.close(ours)
    assert code == 0, seen


def _until(terminal: int, words: str, seconds: float = 30) -> str:
    seen, end = "", time.monotonic() + seconds
    while words not in seen:
        ready, _, _ = select.select([terminal], [], [], max(0.0, end - time.monotonic()))
        assert ready, seen
        seen += os.read(terminal, 65536).decode("utf-8", "replace")
    return seen


def _rest(terminal: int, seconds: float = 30) -> str:
    """Read until the other side has closed it."""
    seen, end = "", time.monotonic() + seconds
    while select.select([terminal], [], [], max(0.0, end - time.monotonic()))[0]:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # EIO: how Linux tells the end of a terminal
            break
        if not data:
            break
        seen += data.decode("utf-8", "replace")
    return seen


# In little room


def board_of(scene: Scene, count: int, events: int) -> Board:
    for number in range(count):
        name = f"service-{number}"
        scene.credential(name, scene.ca.leaf(name, begin=-timedelta(minutes=1)))
    now = datetime.now(UTC)
    rows = [credential_row(item, now) for item in find_credentials(scene.home)]
    happened = [Event(now, f"service-{number}", "renewed: 0123.." * 9) for number in range(events)]
    return credentials_board(scene.home, rows, happened, now)


def drawn(board: Board, width: int, height: int | None) -> list[str]:
    console = Console(width=width, height=height or 500, file=io.StringIO())
    with console.capture() as caught:
        console.print(draw(board, width, height))
    return caught.get().splitlines()


def test_eight_credentials_and_what_happened_fit_a_terminal_of_80_by_24(scene: Scene) -> None:
    torn = scene.credential("torn", scene.ca.leaf("torn"))
    (torn / "key.pem").write_text("torn")
    lines = drawn(board_of(scene, 8, 5), 80, 24)
    assert len(lines) < 24
    assert all(len(line) <= 80 for line in lines)
    for number in range(8):
        (row,) = (line for line in lines if line.startswith(f"│ service-{number} "))
        assert "in 59m" in row or "in 58m" in row
    assert sum("renewed:" in line for line in lines) == 5
    (heading,) = (line for line in lines if line.startswith("┃"))
    for column in ("expires", "renewal", "life left"):
        assert column in heading


@pytest.mark.parametrize(("width", "height"), [(50, 24), (50, 10), (30, 24), (24, 10), (200, 12)])
def test_no_row_is_broken_however_narrow_the_terminal_is(
    scene: Scene, width: int, height: int
) -> None:
    lines = drawn(board_of(scene, 20, 8), width, height)
    assert len(lines) < height
    assert all(len(line) <= width for line in lines)
    rows = [line for line in lines if line.startswith("│")]
    assert rows
    assert all("serv" in line and "in 5" in line for line in rows)
    assert any(line.startswith("and ") for line in lines)
    assert any("service-7: r" in line for line in lines), "the latest event is kept"


def test_a_wide_terminal_shows_every_column_whole(scene: Scene) -> None:
    lines = drawn(board_of(scene, 3, 0), 160, None)
    heading = next(line for line in lines if line.startswith("┃"))
    for column in ("workload", "serial", "life left", "renewal", "last change", "CRLs"):
        assert column in heading
    assert any("spiffe://seed.internal/service-2" in line for line in lines)


def test_what_is_bad_is_kept_where_rows_have_to_go(scene: Scene) -> None:
    scene.credential("zz-old", scene.ca.leaf("zz", begin=-2 * HOUR, end=-HOUR))
    lines = drawn(board_of(scene, 20, 0), 80, 12)
    assert any("zz-old" in line and "expired" in line for line in lines)


def test_a_ledger_fits_a_terminal_of_80_by_24(state: Path) -> None:
    for number in range(12):
        out = str(state.parent / f"more-{number}")
        assert run(["issue", f"more-{number}", "--dir", str(state), "--out", out]) == 0
    with open_authority(state) as authority:
        now = authority.now()
        view = ledger_view(authority.issuers(), authority.certificates(with_ended=True), now)
    lines = drawn(ledger_board(view, now), 80, 24)
    assert len(lines) < 24
    assert all(len(line) <= 80 for line in lines)
    assert sum("spiffe://watch.internal/" in line for line in lines if line[0] == "│") >= 9
