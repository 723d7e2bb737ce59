"""Lists reach every directory that can be written, and what is left is told."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.authority.directory import AuthorityDirectory
from pki.ca_client.storage.identity_store import IdentityStore
from pki.cli.app import run
from pki.errors import StateError
from pki.files import load_credential
from pki.keys import generate_key
from pki.x509 import CrlSet
from pki.x509.readers import to_pem
from tests.command import (
    MALLORY,
    NOBODY,
    Capture,
    chown_all,
    files_of,
    make_state,
    run_as,
    run_command,
    run_json,
    write_request,
)
from tests.support import Hierarchy, sign_unchecked

WORKLOADS = ("a", "b", "c", "d")


@pytest.fixture(autouse=True)
def ca(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_state(Path("certs"), *WORKLOADS)
    return Path("certs/ca")


def revoked_in(folder: Path) -> set[int]:
    crls = CrlSet.read((folder / "crl.pem").read_bytes())
    return {serial for item in crls.crls.values() for serial in item.revoked}


def serial_of(name: str) -> int:
    return load_credential(Path("certs", name)).credential.leaf.serial_number


def crls_are_a_folder(folder: Path) -> None:
    (folder / "crl.pem").unlink()
    (folder / "crl.pem").mkdir()


def bundle_is_a_pipe(folder: Path) -> None:
    (folder / "bundle.pem").unlink()
    os.mkfifo(folder / "bundle.pem")


def everybody_may_write(folder: Path) -> None:
    folder.chmod(0o777)


def lock_is_a_link(folder: Path) -> None:
    (folder / ".handfast.lock").unlink()
    (folder / ".handfast.lock").symlink_to("/etc/hostname")


def two_layouts(folder: Path) -> None:
    (folder / "tls.key").write_bytes(b"")


SPOILT = [
    crls_are_a_folder,
    bundle_is_a_pipe,
    everybody_may_write,
    lock_is_a_link,
    two_layouts,
]


@pytest.mark.parametrize("spoil", SPOILT)
@pytest.mark.parametrize("command", ["revoke", "crl", "rotate", "distrust"])
def test_one_directory_that_cannot_be_written_holds_up_none_behind_it(
    ca: Path, capsys: Capture, spoil: Callable[[Path], None], command: str
) -> None:
    serial = serial_of("a")
    spoil(Path("certs/b"))
    arguments = {
        "revoke": ["revoke", f"{serial:x}"],
        "crl": ["crl", "--force"],
        "rotate": ["ca", "rotate"],
    }.get(command)
    if arguments is None:
        with Authority.open(ca) as authority:
            arguments = ["ca", "distrust", authority.issuers()[1].key_id]
    capsys.readouterr()
    code = run([*arguments, "--json"])
    captured = capsys.readouterr()
    assert code == 5
    found = json.loads(captured.out)
    assert found["updated"] == ["certs/a", "certs/c", "certs/d"]
    assert [item["directory"] for item in found["failed"]] == ["certs/b"]
    assert found["failed"][0]["error"]
    assert "certs/b" in captured.err
    assert "handfast crl" in captured.err
    assert captured.err.count("\n") == 1
    assert "othing was changed" not in captured.err
    newest = files_of(ca)["crl.pem"]
    for name in ("a", "c", "d"):
        assert Path("certs", name, "crl.pem").read_bytes() == newest
    if command == "revoke":
        assert serial in revoked_in(Path("certs/d"))
    if command == "rotate":
        assert found["status"] == "prepared"


def test_what_was_left_is_reached_once_it_is_mended(ca: Path, capsys: Capture) -> None:
    serial = serial_of("a")
    crls_are_a_folder(Path("certs/b"))
    code, out, err = run_command(capsys, "revoke", f"{serial:x}")
    assert code == 5
    assert "brought to 3 credential directories" in out
    assert "The certificate is revoked, and the new CRLs did not reach 1 of 4 places" in err
    Path("certs/b/crl.pem").rmdir()
    assert run_command(capsys, "crl")[0] == 0
    assert serial in revoked_in(Path("certs/b"))


def test_a_folder_that_cannot_be_looked_into_is_told(
    shared_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shared_folder)
    assert run(["ca", "init", "--trust-domain", "shop.internal"]) == 0
    for name in WORKLOADS:
        assert run(["issue", name]) == 0
    chown_all(NOBODY, shared_folder)
    os.chown("certs/b", 0, 0)
    Path("certs/b").chmod(0o700)
    done = run_as(NOBODY, shared_folder, "revoke", "certs/a", "--json")
    assert done.returncode == 5, done.stderr
    found = json.loads(done.stdout)
    assert found["updated"] == ["certs/a", "certs/c", "certs/d"]
    assert [item["directory"] for item in found["failed"]] == ["certs/b"]


def test_a_directory_of_another_user_s_files_keeps_them(ca: Path, capsys: Capture) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to make another user's file")
    os.chown("certs/b/crl.pem", MALLORY, MALLORY)
    found = run_json(capsys, "crl", "--force")
    assert found["code"] == 5
    assert "54321" in found["failed"][0]["error"]


def test_a_list_that_cannot_be_published_is_brought_to_the_directories_all_the_same(
    ca: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    serial = serial_of("a")
    calls = iter(range(100))
    real = AuthorityDirectory.publish

    def fail_after_opening(self: AuthorityDirectory, *trust: object) -> None:
        if next(calls) > 0:
            raise StateError("crl.pem can't be written: No space left on device")
        real(self, *trust)  # type: ignore[arg-type]

    monkeypatch.setattr(AuthorityDirectory, "publish", fail_after_opening)
    found = run_json(capsys, "revoke", f"{serial:x}")
    assert found["code"] == 5
    assert [item["serial"] for item in found["revoked"]] == [f"{serial:x}"]
    assert found["failed"][0]["directory"] == "certs/ca"
    for name in WORKLOADS:
        assert serial in revoked_in(Path("certs", name))


def test_a_revocation_is_not_held_up_by_a_list_of_the_ca_that_cannot_be_written(
    ca: Path, capsys: Capture
) -> None:
    serial = serial_of("a")
    (ca / "crl.pem").unlink()
    (ca / "crl.pem").mkdir()
    found = run_json(capsys, "revoke", "certs/a", "--reason", "key-compromise")
    assert found["code"] == 5
    assert [item["directory"] for item in found["failed"]] == ["certs/ca"]
    for name in WORKLOADS:
        assert serial in revoked_in(Path("certs", name))
    (ca / "crl.pem").rmdir()
    assert run_command(capsys, "crl")[0] == 0
    assert serial in revoked_in(ca)


def test_the_directory_of_a_request_gets_lists_and_is_revoked(ca: Path, capsys: Capture) -> None:
    request = write_request(Path("web.csr"), generate_key())
    issued = run_json(capsys, "issue", "web", "--csr", request)
    assert "certs/web" in run_json(capsys, "crl", "--force")["updated"]
    revoked = run_json(capsys, "revoke", "certs/web")
    assert [item["serial"] for item in revoked["revoked"]] == [issued["serial"]]
    assert int(issued["serial"], 16) in revoked_in(Path("certs/web"))


def test_a_directory_is_revoked_by_its_certificate_and_not_by_a_number_in_it(
    ca: Path, capsys: Capture
) -> None:
    forged = sign_unchecked(Hierarchy(), serial=serial_of("b"))
    Path("certs/a/chain.pem").write_bytes(to_pem([forged]))
    # The key beside the forged certificate says whose directory it is.
    assert run_command(capsys, "revoke", "certs/a")[0] == 0
    with Authority.open(ca) as authority:
        revoked = [item.spiffe_id for item in authority.certificates() if item.revoked_at]
    assert revoked == ["spiffe://shop.internal/a"]


def test_what_else_of_the_workload_is_good_is_said(ca: Path, capsys: Capture) -> None:
    other = run_json(capsys, "issue", "a", "--out", "second")
    code, out, _ = run_command(capsys, "revoke", "certs/a")
    assert code == 0
    assert f"STILL VALID is the certificate {other['serial']}" in out
    assert run_json(capsys, "revoke", "certs/a")["still_valid"] == [
        {"serial": other["serial"], "spiffe_id": "spiffe://shop.internal/a"}
    ]


def test_an_older_list_never_takes_the_place_of_a_newer_one(ca: Path) -> None:
    with Authority.open(ca) as authority:
        issued = authority.issue("late")
        serial = serial_of("a")
        authority.revoke(serial)
        authority.issue("late").save("late")
        assert serial in revoked_in(Path("late"))
        # Issued before the revocation, and saved after it.
        issued.save("late")
    assert serial in revoked_in(Path("late"))


def test_a_directory_that_waits_for_its_first_certificate_stops_nothing(capsys: Capture) -> None:
    """An enrollment that failed, or goes on, has left the key of its request."""
    IdentityStore(Path("certs/new")).keys(with_recovery=True)
    for command in (("crl",), ("revoke", "a"), ("renew", "--all", "certs", "--force")):
        _, _, err = run_command(capsys, *command)
        assert "certs/new" not in err
