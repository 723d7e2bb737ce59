"""``handfast audit``: what people and scripts see of the log."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from pki.transparency import InclusionProofFile, VerifierKey
from tests.command import Capture, run_command, run_json


@pytest.fixture
def state(tmp_path: Path, capsys: Capture) -> Path:
    """Return a state folder: orders was issued and renewed, payments issued and revoked."""
    folder = tmp_path / "certs"
    for command in (
        ("ca", "init", "--trust-domain", "shop.internal"),
        ("issue", "orders"),
        ("issue", "payments"),
        ("renew", folder / "orders", "--force"),
        ("revoke", "payments"),
    ):
        done = run_command(capsys, *command, "--dir", folder)
        assert done[0] == 0, done
    return folder


def change_history(state: Path) -> None:
    connection = sqlite3.connect(state / "ca" / "ledger.db")
    connection.execute("DROP TRIGGER audit_entries_update")
    connection.execute("UPDATE audit_entries SET entry = replace(entry, '/orders', '/thief')")
    connection.commit()
    connection.close()


def test_a_whole_log_is_told_as_one(state: Path, capsys: Capture) -> None:
    code, out, _ = run_command(capsys, "audit", "verify", "--dir", state)
    assert code == 0
    assert "The audit log holds 7 entries, and they are whole" in out
    told = run_json(capsys, "audit", "verify", "--dir", state)
    assert (told["verified"], told["size"], told["findings"]) == (True, 7, [])
    assert told["verifier_key"] == (state / "ca" / "audit.vkey").read_text().strip()


def test_a_changed_log_fails_with_what_is_wrong_and_changes_nothing(
    state: Path, capsys: Capture
) -> None:
    change_history(state)
    before = (state / "ca" / "ledger.db").read_bytes()
    code, out, _ = run_command(capsys, "audit", "verify", "--dir", state)
    assert code == 1
    assert "An entry was changed: the stored tree is not that of the entries" in out
    assert "Keep this ledger and its checkpoints as they are" in out
    told = run_json(capsys, "audit", "verify", "--dir", state)
    assert (told["code"], told["verified"]) == (1, False)
    assert {"tree", "rewritten", "certificate"} <= {item["kind"] for item in told["findings"]}
    assert (state / "ca" / "ledger.db").read_bytes() == before


def test_a_checkpoint_that_was_kept_elsewhere_must_be_extended(
    state: Path, tmp_path: Path, capsys: Capture
) -> None:
    kept, key = tmp_path / "kept", tmp_path / "kept.vkey"
    shutil.copy(state / "ca" / "audit.checkpoint", kept)
    shutil.copy(state / "ca" / "audit.vkey", key)
    assert run_command(capsys, "issue", "billing", "--dir", state)[0] == 0
    arguments = ("audit", "verify", "--against", kept, "--key", key, "--dir", state)
    code, out, _ = run_command(capsys, *arguments)
    assert code == 0
    assert "It extends" in out
    change_history(state)
    code, out, _ = run_command(capsys, *arguments)
    assert code == 1
    assert "history was rewritten" in out


@pytest.mark.parametrize("option", ["--against", "--key"])
def test_a_file_that_can_not_be_read_is_named(
    state: Path, tmp_path: Path, capsys: Capture, option: str
) -> None:
    code, _, err = run_command(capsys, "audit", "verify", option, tmp_path / "x", "--dir", state)
    assert code == 1
    assert "/x' is not there" in err
    (tmp_path / "x").write_bytes(b"\xff\xfe")
    code, out, err = run_command(capsys, "audit", "verify", option, tmp_path / "x", "--dir", state)
    assert code == 1
    assert "a signed note is not UTF-8" in out or "must hold one line" in err


def test_entries_are_shown_by_kind_by_name_and_by_time(state: Path, capsys: Capture) -> None:
    def shown(*options: str) -> list[tuple[int, str]]:
        told = run_json(capsys, "audit", "show", *options, "--dir", state)
        return [(item["index"], item["action"]) for item in told["entries"]]

    everything = shown()
    assert [action for _, action in everything] == [
        "init",
        "prepare",
        "activate",
        "issue",
        "issue",
        "renew",
        "revoke",
    ]
    assert shown("--action", "issue") == [(3, "issue"), (4, "issue")]
    assert shown("--name", "orders") == [(3, "issue"), (5, "renew")]
    assert shown("--name", "spiffe://shop.internal/payments", "--last", "1") == [(6, "revoke")]
    assert shown("--since", "1h") == everything
    assert shown("--action", "distrust") == []


def test_the_table_names_who_did_what_and_why(
    state: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = run_command(capsys, "audit", "show", "--last", "2", "--dir", state)
    assert code == 0
    assert "2 entries of shop.internal" in out
    line = next(line for line in out.splitlines() if "revoke" in line)
    for word in ("6", "payments", "local:", "unspecified"):
        assert word in line


def test_an_unknown_kind_of_entry_is_wrong_usage(state: Path, capsys: Capture) -> None:
    code, _, err = run_command(capsys, "audit", "show", "--action", "x", "--dir", state)
    assert code == 2
    assert "issue" in err


def test_a_proof_is_written_and_verifies_with_the_key_alone(
    state: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    entry = run_json(capsys, "audit", "show", "--dir", state)["entries"][3]
    code, out, _ = run_command(capsys, "audit", "prove", entry["serial"][:12], "--dir", state)
    assert code == 0
    assert "Wrote the proof of entry 3 of 7" in out
    proof = InclusionProofFile.parse((tmp_path / f"{entry['serial']}.tlog-proof").read_bytes())
    key = VerifierKey.parse((state / "ca" / "audit.vkey").read_text().strip())
    assert proof.verify(proof.extra, [key]).checkpoint.size == 7
    told = run_json(
        capsys, "audit", "prove", "--entry", "6", "--out", tmp_path / "x", "--dir", state
    )
    assert (told["index"], told["size"], told["file"]) == (6, 7, str(tmp_path / "x"))
    assert (tmp_path / "x").exists()


def test_a_proof_of_the_issuing_ca_is_of_the_entry_that_made_it(
    state: Path, tmp_path: Path, capsys: Capture
) -> None:
    entry = run_json(capsys, "audit", "show", "--dir", state)["entries"][1]
    told = run_json(
        capsys, "audit", "prove", entry["serial"], "--out", tmp_path / "x", "--dir", state
    )
    assert told["index"] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("prove",), 2, "give a serial number, or --entry N"),
        (("prove", "ab", "--entry", "1"), 2, "give a serial number, or --entry N"),
        (("prove", "--entry", "-1"), 2, "--entry"),
        (("prove", "--entry", "7"), 1, "has no entry 7"),
        (("prove", "--entry", "99999999999999999999"), 1, "has no entry"),
        (("prove", "ffffffffff"), 1, "is the beginning of no serial numbers"),
        (("prove", "0"), 1, "is no serial number"),
    ],
)
def test_what_can_not_be_proved_is_refused(
    state: Path, capsys: Capture, arguments: tuple[str, ...], code: int, text: str
) -> None:
    done = run_command(capsys, "audit", *arguments, "--dir", state)
    assert done[0] == code
    assert text in done[2]


def test_a_changed_log_proves_nothing(state: Path, tmp_path: Path, capsys: Capture) -> None:
    change_history(state)
    code, _, err = run_command(
        capsys, "audit", "prove", "--entry", "3", "--out", tmp_path / "x", "--dir", state
    )
    assert code == 1
    assert "does not hold this entry" in err
    assert not (tmp_path / "x").exists()


def test_nothing_found_is_said_on_stderr(state: Path, capsys: Capture) -> None:
    code, out, err = run_command(capsys, "audit", "show", "--name", "ordrs", "--dir", state)
    assert (code, out) == (0, "")
    assert err.startswith("handfast: note: no entry is about ordrs. ")
