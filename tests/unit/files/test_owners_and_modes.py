"""Modes are set whatever the umask is, and files that other users can change are refused."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.cli.app import run
from pki.errors import CredentialError, StateError
from pki.files import (
    KeyMode,
    ensure_pending_key,
    load_credential,
    read_partial_credential,
    save_credential,
)
from pki.files.layouts import HANDFAST, LAYOUTS
from pki.files.writer import promote_pending_key
from pki.keys import generate_key, private_key_to_pem
from tests.command import MALLORY, NOBODY, Capture, chown_all, files_of, run_as, run_command

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make others' files")
ORDERS = Path("certs/orders")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def umask_000() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def orders() -> Path:
    assert run(["ca", "init", "--trust-domain", "shop.internal"]) == 0
    assert run(["issue", "orders"]) == 0
    return ORDERS


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_under_umask_000_nothing_is_writable_for_others_and_no_key_readable(
    umask_000: None, orders: Path
) -> None:
    assert run(["issue", "prod/eu/web"]) == 0
    assert run(["renew", str(orders), "--force"]) == 0
    assert run(["revoke", str(orders)]) == 0
    assert run(["ca", "rotate"]) == 0
    for path in (Path("certs"), *Path("certs").rglob("*")):
        assert not mode(path) & 0o022, path
        is_public = path.name == "audit.vkey"
        if ("key" in path.name and not is_public) or "ledger" in path.name or "lock" in path.name:
            assert mode(path) == 0o600, path
    assert mode(Path("certs")) == mode(Path("certs/prod/eu")) == 0o755
    assert mode(Path("certs/ca")) == 0o700


@needs_root
@pytest.mark.parametrize(
    "name", ["key.pem.next", "chain.pem", "bundle.pem", "crl.pem", ".handfast.lock"]
)
def test_a_stranger_s_file_is_not_written_over_nor_taken(
    orders: Path, capsys: Capture, name: str
) -> None:
    path = orders / name
    if not path.exists():
        shutil.copy(orders / "key.pem", path)
    os.chown(path, MALLORY, MALLORY)
    before = files_of(orders)
    code, out, err = run_command(capsys, "renew", orders, "--force")
    assert (code, out) == (1, "")
    assert name in err
    assert "54321" in err
    assert files_of(orders) == before


@needs_root
@pytest.mark.parametrize("name", ["key.pem", "chain.pem", "bundle.pem", "crl.pem"])
def test_a_reader_takes_no_stranger_s_file_unless_it_is_told_to(orders: Path, name: str) -> None:
    os.chown(orders / name, MALLORY, MALLORY)
    with pytest.raises(CredentialError, match=r"belongs to user 54321.*key_mode"):
        load_credential(orders)
    loaded = load_credential(orders, key_mode=KeyMode.WARN)
    assert any("54321" in words for words in loaded.warnings)


@needs_root
def test_a_planted_next_key_is_not_taken(orders: Path) -> None:
    planted = generate_key()
    path = orders / "key.pem.next"
    path.write_bytes(private_key_to_pem(planted))
    path.chmod(0o600)
    os.chown(path, MALLORY, MALLORY)
    with pytest.raises(CredentialError, match="54321"):
        ensure_pending_key(orders, generate_key())
    with pytest.raises(CredentialError, match="54321"):
        promote_pending_key(orders)
    loaded = load_credential(orders)
    assert any("next key is not used" in words for words in loaded.warnings)


def test_a_next_key_that_others_may_read_is_not_taken(orders: Path) -> None:
    path = orders / "key.pem.next"
    path.write_bytes(private_key_to_pem(generate_key()))
    path.chmod(0o644)
    with pytest.raises(CredentialError, match="0644"):
        ensure_pending_key(orders, generate_key())


@pytest.mark.parametrize("name", ["key.pem", "chain.pem", "bundle.pem", "crl.pem"])
def test_what_everybody_may_write_to_is_refused_in_every_mode(orders: Path, name: str) -> None:
    (orders / name).chmod(0o666)
    for key_mode in KeyMode:
        with pytest.raises(CredentialError, match=r"0666.*go-w"):
            load_credential(orders, key_mode=key_mode)


def test_a_folder_that_everybody_may_write_to_is_refused(orders: Path, capsys: Capture) -> None:
    orders.chmod(0o777)
    with pytest.raises(CredentialError, match="everybody may write"):
        load_credential(orders)
    assert load_credential(orders, key_mode=KeyMode.WARN).warnings
    code, _, err = run_command(capsys, "renew", orders, "--force")
    assert code == 1
    assert "chmod go-w" in err
    orders.chmod(0o1777)
    assert load_credential(orders)


@pytest.mark.parametrize("folder", ["certs", "certs/ca"])
def test_a_ca_whose_folder_everybody_may_write_to_signs_nothing(
    orders: Path, capsys: Capture, folder: str
) -> None:
    Path(folder).chmod(0o777)
    for arguments in (["issue", "web"], ["renew", str(orders), "--force"], ["crl"], ["list"]):
        code, out, err = run_command(capsys, *arguments)
        assert (code, out) == (1, "")
        assert "everybody may write" in err


@needs_root
@pytest.mark.parametrize("pattern", ["ledger.db", "issuing-*.key.pem", ".publish.lock"])
def test_a_ca_s_file_of_a_stranger_is_refused(orders: Path, capsys: Capture, pattern: str) -> None:
    (path,) = Path("certs/ca").glob(pattern)
    os.chown(path, MALLORY, MALLORY)
    code, _, err = run_command(capsys, "issue", "web")
    assert code == 1
    assert path.name in err
    assert not Path("certs/web").exists()


def test_a_ledger_that_others_may_write_to_is_refused(orders: Path, capsys: Capture) -> None:
    Path("certs/ca/ledger.db").chmod(0o666)
    code, _, err = run_command(capsys, "issue", "web")
    assert code == 1
    assert "ledger.db" in err


# Volumes as Kubernetes makes them


def secret_volume(source: Path, target: Path, file_mode: int, group: int) -> Path:
    """Arrange files as in the volume of a secret: owned by root, sticky, each through ..data."""
    kubernetes = LAYOUTS["kubernetes"]
    data = target / "..2026_11_25"
    data.mkdir(parents=True)
    for ours, theirs in zip(
        ("key", "chain", "bundle", "crls"), ("key", "chain", "bundle", "crls"), strict=True
    ):
        shutil.copy(source / getattr(HANDFAST, ours), data / getattr(kubernetes, theirs))
    for path in data.iterdir():
        path.chmod(file_mode)
        os.chown(path, os.geteuid(), group)
        (target / path.name).symlink_to(f"..data/{path.name}")
    (target / "..data").symlink_to(data.name)
    os.chown(target, os.geteuid(), group)
    target.chmod(0o3777)
    return target


@pytest.mark.parametrize("file_mode", [0o644, 0o640, 0o440])
def test_a_secret_s_volume_is_read_with_a_warning_where_that_is_set(
    orders: Path, file_mode: int
) -> None:
    group = 2000 if os.geteuid() == 0 else os.getegid()
    volume = secret_volume(orders, Path("volume"), file_mode, group)
    with pytest.raises(CredentialError, match="set key_mode to warn"):
        load_credential(volume)
    loaded = load_credential(volume, key_mode=KeyMode.WARN)
    assert loaded.layout.name == "kubernetes"
    assert len(loaded.warnings) == 1
    assert f"{file_mode:04o}" in loaded.warnings[0]


def test_a_secret_s_volume_of_0400_files_needs_no_setting(orders: Path) -> None:
    volume = secret_volume(orders, Path("volume"), 0o400, os.getegid())
    assert load_credential(volume).warnings == ()


def test_a_group_of_one_s_own_may_write_as_a_umask_of_002_has_it(orders: Path) -> None:
    for path in (orders, orders / "chain.pem", orders / "bundle.pem", orders / "crl.pem"):
        os.chown(path, -1, os.getegid())
        path.chmod(mode(path) | 0o020)
    assert load_credential(orders).warnings == ()
    assert run(["renew", str(orders), "--force"]) == 0


@needs_root
def test_another_group_may_not_write(orders: Path) -> None:
    (orders / "bundle.pem").chmod(0o664)
    os.chown(orders / "bundle.pem", 0, 2000)
    with pytest.raises(CredentialError, match="group 2000 may write"):
        load_credential(orders)
    assert load_credential(orders, key_mode=KeyMode.WARN).warnings


# Owners are kept


@needs_root
def test_root_s_renewal_leaves_every_file_to_its_owner(orders: Path, capsys: Capture) -> None:
    chown_all(NOBODY, orders)
    (orders / "chain.pem").chmod(0o640)
    assert run_command(capsys, "renew", orders, "--force")[0] == 0
    assert run_command(capsys, "crl", "--force")[0] == 0
    for path in orders.iterdir():
        assert (path.stat().st_uid, path.stat().st_gid) == (NOBODY, NOBODY), path
    assert mode(orders / "chain.pem") == 0o640
    assert mode(orders / "key.pem") == 0o600


@needs_root
def test_root_issues_into_a_user_s_folder_what_that_user_can_read(orders: Path) -> None:
    folder = Path("theirs")
    folder.mkdir(0o750)
    chown_all(NOBODY, folder)
    assert run(["issue", "web", "--out", str(folder)]) == 0
    assert {path.stat().st_uid for path in folder.iterdir()} == {NOBODY}


@needs_root
def test_another_user_s_renewal_is_refused_before_anything_changes(
    shared_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shared_folder)
    assert run(["ca", "init", "--trust-domain", "shop.internal"]) == 0
    assert run(["issue", "orders"]) == 0
    chown_all(NOBODY, shared_folder)
    chown_all(MALLORY, ORDERS)
    ORDERS.chmod(0o755)
    before = files_of(ORDERS)
    done = run_as(NOBODY, shared_folder, "renew", "certs/orders", "--force")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
    assert files_of(ORDERS) == before
    with Authority.open("certs/ca") as authority:
        assert len(authority.certificates()) == 1


@needs_root
def test_an_ordinary_user_does_all_of_it_in_a_folder_of_their_own(shared_folder: Path) -> None:
    folder = shared_folder / "home"
    folder.mkdir()
    chown_all(NOBODY, folder)
    for words in (
        "ca init --trust-domain shop.internal",
        "issue orders",
        "renew certs/orders --force",
        "revoke certs/orders",
        "crl --force",
        "ca rotate",
    ):
        done = run_as(NOBODY, folder, *words.split(), umask=0)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
    for path in folder.rglob("*"):
        assert not mode(path) & 0o022, path


# What a writer refuses to replace


@pytest.mark.parametrize("name", ["key.pem", "chain.pem", "bundle.pem", "crl.pem"])
def test_a_writer_replaces_no_pipe(orders: Path, name: str) -> None:
    credential = load_credential(orders).credential
    (orders / name).unlink()
    os.mkfifo(orders / name)
    with pytest.raises(StateError, match="no regular file"):
        save_credential(credential, orders)
    assert stat.S_ISFIFO((orders / name).stat().st_mode)


def test_contents_of_a_folder_that_strangers_write_to_are_not_read(orders: Path) -> None:
    orders.chmod(0o777)
    with pytest.raises(CredentialError, match="everybody may write"):
        read_partial_credential(orders, HANDFAST)
