"""A backup is one private file with everything in it, and is verified before it is used."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.authority.backups.archive import opened_archive
from pki.authority.backups.restoring import restore_backup
from pki.authority.signers import Pkcs11Uri
from pki.authority.signers.key_file import write_key_file
from pki.errors import InputError, PkiError, StateError
from tests.support import Clock, make_authority
from tests.unit.authority.backups.conftest import Lost

pytestmark = pytest.mark.sqlite


def rows_of(ledger: Path) -> dict[str, list[object]]:
    with sqlite3.connect(ledger) as connection:
        names = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        ).fetchall()
        return {
            name: sorted(connection.execute(f"SELECT * FROM {name}").fetchall(), key=repr)
            for (name,) in names
        }


def test_a_backup_is_private_whatever_the_umask_is_and_replaces_no_file(
    tmp_path: Path, lost: Lost
) -> None:
    before = os.umask(0)
    try:
        lost.back_up()
    finally:
        os.umask(before)
    assert stat.S_IMODE(lost.file.stat().st_mode) == 0o600
    data = lost.file.read_bytes()
    with pytest.raises(StateError, match="replaces no other file"):
        lost.ca.backup(lost.file)
    assert lost.file.read_bytes() == data
    lost.file.unlink()
    lost.file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateError, match="symbolic link"):
        lost.ca.backup(lost.file)
    assert [item.name for item in tmp_path.glob("*.tmp")] == []


def test_every_row_and_every_key_comes_back_as_it_was(lost: Lost) -> None:
    first = lost.ca.issue("orders")
    lost.ca.renew(first.leaf)
    lost.ca.revoke(first.leaf.serial_number, reason="key-compromise")
    lost.back_up()
    before = rows_of(lost.ca.path / "ledger.db")
    keys = {path.name: path.read_bytes() for path in lost.ca.path.glob("*.key.pem")}
    lost.restore()
    after = rows_of(lost.home / "ledger.db")
    own = {"ledger_state", "commits", "events", "audit_entries", "audit_log", "lines"}
    assert {name for name in before if before[name] != after[name]} <= own
    assert before["certificates"]
    assert before["lines"] == after["lines"]
    assert after["audit_entries"][: len(before["audit_entries"])] == before["audit_entries"]
    assert {path.name: path.read_bytes() for path in lost.home.glob("*.key.pem")} == keys
    assert {stat.S_IMODE(path.stat().st_mode) for path in lost.home.glob("*.key.pem")} == {0o600}
    assert stat.S_IMODE(lost.home.stat().st_mode) == 0o700


def test_encrypted_keys_stay_encrypted_and_nobody_asks_for_the_passphrase(tmp_path: Path) -> None:
    made = Authority.create(tmp_path / "ca", "shop.internal", passphrase=b"correct horse")
    made.close()
    with Authority.open(tmp_path / "ca", read_only=True) as ca:
        ca.backup(tmp_path / "ca.backup")
    with zipfile.ZipFile(tmp_path / "ca.backup") as archive:
        keys = [name for name in archive.namelist() if name.endswith(".key.pem")]
        assert len(keys) == 3
        for name in keys:
            assert b"BEGIN ENCRYPTED PRIVATE KEY" in archive.read(name)


def test_the_policy_and_what_is_pending_are_in_it(tmp_path: Path) -> None:
    ca = make_authority(tmp_path, Clock())
    ca.close()
    (tmp_path / "ca" / "policy.toml").write_text("# mine\n")
    (tmp_path / "ca" / "revocations.kept").write_text("")
    (tmp_path / "ca" / "notes.txt").write_text("not the CA's\n")
    with Authority.open(tmp_path / "ca", read_only=True, clock=Clock()) as again:
        manifest = again.backup(tmp_path / "ca.backup")
    names = {part.name for part in manifest.parts}
    assert {"files/policy.toml", "files/revocations.kept", "files/revocations.pending"} <= names
    assert {"files/audit.key.pem", "files/crl.pem", "files/bundle.pem"} <= names
    assert "files/notes.txt" not in names
    assert not any("ledger.db" in name or ".lock" in name for name in names)
    assert manifest.holds_root_key


def test_a_restore_is_refused_over_anything_that_is_there(tmp_path: Path, lost: Lost) -> None:
    lost.back_up()
    lost.home.mkdir(parents=True)
    with pytest.raises(StateError, match="replaces nothing"):
        lost.restore()
    assert list(lost.home.iterdir()) == []
    lost.home.rmdir()
    lost.restore()
    assert [item.name for item in lost.home.parent.iterdir()] == ["ca"]


def _rewritten(file: Path, change: Callable[[dict[str, bytes]], None], *, target: Path) -> Path:
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    change(parts)
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return target


def _change_part(parts: dict[str, bytes]) -> None:
    parts["ledger/certificates.jsonl"] = parts["ledger/certificates.jsonl"].replace(
        b"orders", b"hacker"
    )


def _lengthen_part(parts: dict[str, bytes]) -> None:
    parts["ledger/names.jsonl"] += b"[]\n"


def _drop_part(parts: dict[str, bytes]) -> None:
    del parts["ledger/lines.jsonl"]


def _add_part(parts: dict[str, bytes]) -> None:
    parts["files/more.toml"] = b""


def _climb_out(parts: dict[str, bytes]) -> None:
    manifest = json.loads(parts["manifest.json"])
    manifest["parts"][0]["name"] = "files/../../evil.toml"
    parts["manifest.json"] = json.dumps(manifest).encode()


def _no_manifest(parts: dict[str, bytes]) -> None:
    del parts["manifest.json"]


def _other_format(parts: dict[str, bytes]) -> None:
    parts["manifest.json"] = parts["manifest.json"].replace(b"backup v1", b"backup v9")


def _wrong_kind(parts: dict[str, bytes]) -> None:
    manifest = json.loads(parts["manifest.json"])
    manifest["sequence"] = "1"
    parts["manifest.json"] = json.dumps(manifest).encode()


def _newer_schema(parts: dict[str, bytes]) -> None:
    manifest = json.loads(parts["manifest.json"])
    manifest["schema"] = "9999"
    parts["manifest.json"] = json.dumps(manifest).encode()


@pytest.mark.parametrize(
    "change",
    [
        _change_part,
        _lengthen_part,
        _drop_part,
        _add_part,
        _climb_out,
        _no_manifest,
        _other_format,
        _wrong_kind,
        _newer_schema,
    ],
)
def test_a_damaged_or_foreign_backup_is_refused_and_nothing_is_written(
    tmp_path: Path, lost: Lost, change: Callable[[dict[str, bytes]], None]
) -> None:
    lost.ca.issue("orders")
    lost.back_up()
    bad = _rewritten(lost.file, change, target=tmp_path / "bad.backup")
    with pytest.raises(InputError):
        restore_backup(bad, lost.home, clock=lost.clock)
    assert not lost.home.parent.exists()
    same = _rewritten(lost.file, lambda _: None, target=tmp_path / "same.backup")
    restore_backup(same, lost.home, clock=lost.clock)


def test_a_backup_that_was_cut_off_is_refused(tmp_path: Path, lost: Lost) -> None:
    lost.back_up()
    data = lost.file.read_bytes()
    for size in (0, 10, len(data) // 2, len(data) - 1):
        cut = tmp_path / "cut.backup"
        cut.write_bytes(data[:size])
        with pytest.raises(PkiError):
            restore_backup(cut, lost.home, clock=lost.clock)
    with pytest.raises(StateError, match="is not there"):
        restore_backup(tmp_path / "none", lost.home, clock=lost.clock)
    assert not lost.home.exists()


def test_a_restore_that_fails_leaves_no_ca(lost: Lost, monkeypatch: pytest.MonkeyPatch) -> None:
    lost.back_up()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pki.files.open_folder.OpenFolder.rename", fail)
    with pytest.raises(OSError, match="No space"):
        restore_backup(lost.file, lost.home, clock=lost.clock)
    assert list(lost.home.parent.iterdir()) == []


def test_a_backup_of_an_older_schema_is_brought_up_to_date(tmp_path: Path, lost: Lost) -> None:
    from tests.older_ledger import make_older  # noqa: PLC0415

    lost.ca.issue("orders")
    lost.back_up()
    # What the handfast before this one would have written: fewer columns, and its own version.
    old = tmp_path / "old"
    shutil.copytree(lost.ca.path, old)
    lost.ca.close()
    make_older(old, "0007")
    with sqlite3.connect(old / "ledger.db") as connection:
        columns = [
            row[1] for row in connection.execute("PRAGMA table_info(registrations)").fetchall()
        ]
    assert "unconfirmed_since" not in columns

    def age(parts: dict[str, bytes]) -> None:
        import hashlib  # noqa: PLC0415

        manifest = json.loads(parts["manifest.json"])
        manifest["schema"] = "0007"
        dropped = {"restored_at", "waits_since", "pruned_before", "unconfirmed_since"}
        for name in ("ledger/ledger_state.jsonl", "ledger/registrations.jsonl"):
            rows = [json.loads(line) for line in parts[name].splitlines()]
            kept = [at for at, column in enumerate(rows[0]) if column not in dropped]
            lines = [json.dumps([row[at] for at in kept]).encode() + b"\n" for row in rows]
            parts[name] = b"".join(lines)
            for part in manifest["parts"]:
                if part["name"] == name:
                    part["size"] = len(parts[name])
                    part["sha256"] = hashlib.sha256(parts[name]).hexdigest()
        # A table that came with replicas.
        del parts["ledger/key_files.jsonl"]
        manifest["parts"] = [item for item in manifest["parts"] if item["name"] in parts]
        parts["manifest.json"] = json.dumps(manifest).encode()

    bad = _rewritten(lost.file, age, target=tmp_path / "aged.backup")
    restore_backup(bad, lost.home, clock=lost.clock)
    with lost.open() as ca:
        assert [item.spiffe_id for item in ca.certificates()] == ["spiffe://shop.internal/orders"]


def test_a_backup_holds_one_moment_of_the_ledger(lost: Lost) -> None:
    with lost.ca.context.ledger.snapshot() as transaction:
        transaction.state()
    lost.ca.issue("orders")
    lost.back_up()
    with opened_archive(lost.file) as archive:
        parts = {part.name: part for part in archive.manifest.parts}
        (_, state) = [
            json.loads(line) for line in archive.lines(parts["ledger/ledger_state.jsonl"])
        ]
        entries = list(archive.lines(parts["ledger/audit_entries.jsonl"]))
        assert archive.manifest.sequence in state
        assert len(entries) - 1 == archive.manifest.log_size
        assert archive.manifest.certificates == 1


def test_a_key_in_a_token_is_said_to_be_elsewhere(lost: Lost) -> None:
    issuing = lost.ca.issuers()[1]
    key = lost.ca.path / f"issuing-{issuing.key_id}.key.pem"
    key.rename(lost.file.with_name("in-a-token"))
    uri = Pkcs11Uri.parse("pkcs11:token=ca-1;object=issuing")
    place = key.with_suffix(".toml")
    place.write_bytes(write_key_file(uri))
    place.chmod(0o600)
    manifest = lost.ca.backup(lost.file)
    assert manifest.keys_elsewhere == {place.name: str(uri)}
    assert f"files/{key.name}" not in {part.name for part in manifest.parts}
    lost.restore()
    assert (lost.home / place.name).read_bytes() == place.read_bytes()
