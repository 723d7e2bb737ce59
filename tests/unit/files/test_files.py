"""Files: written whole or not at all, private where needed, and credentials in every layout."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.errors import CredentialError, InputError, PkiError, StateError, UnreadableError
from pki.files import (
    LAYOUTS,
    KeyMode,
    Layout,
    atomic,
    detect_layout,
    ensure_pending_key,
    load_credential,
    read_bounded,
    remove_durably,
    save_credential,
    save_trust,
    write_durably,
)
from pki.files.layouts import HANDFAST, layout_named
from pki.files.writer import promote_pending_key, save_chain
from pki.keys import generate_key, private_key_to_pem
from pki.x509 import Credential, TrustBundle
from pki.x509.readers import to_pem
from tests.support import make_authority


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    with make_authority(tmp_path_factory.mktemp("home")) as made:
        yield made


@pytest.fixture
def credential(ca: Authority) -> Credential:
    return ca.issue("orders").credential


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_has_its_mode_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_durably(tmp_path / "key", b"secret", mode=0o600)
    finally:
        os.umask(0o077)
    try:
        write_durably(tmp_path / "cert", b"public", mode=0o644)
    finally:
        os.umask(before)
    assert mode(tmp_path / "key") == 0o600
    assert mode(tmp_path / "cert") == 0o644
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cert", "key"]


def test_a_symbolic_link_is_neither_followed_nor_replaced(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_bytes(b"keep me")
    link = tmp_path / "key.pem"
    link.symlink_to(target)
    with pytest.raises(StateError, match="symbolic link"):
        write_durably(link, b"new", mode=0o600)
    assert target.read_bytes() == b"keep me"
    assert link.is_symlink()


def test_what_is_no_regular_file_is_never_written_over_or_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    for name in ("pipe", "dangling", "folder", "socket"):
        before = (tmp_path / name).lstat()
        with pytest.raises(StateError, match=r"regular file|can't be written"):
            write_durably(tmp_path / name, b"x", mode=0o644)
        after = (tmp_path / name).lstat()
        assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    listener.close()
    for path in (Path("/"), Path(), Path("/dev/null")):
        with pytest.raises(StateError):
            write_durably(path, b"x", mode=0o644)
    for name in ("pipe", "folder"):
        with pytest.raises(StateError, match="no regular file"):
            read_bounded(tmp_path / name, max_bytes=10)
    for device in ("/dev/zero", "/dev/null"):
        with pytest.raises(StateError, match="no regular file"):
            read_bounded(Path(device), max_bytes=10)


def test_what_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "taken"
    folder.mkdir()
    with pytest.raises(StateError, match="is a directory"):
        write_durably(folder, b"x", mode=0o600)
    with pytest.raises(StateError, match="can't be written"):
        write_durably(tmp_path / "none" / "x", b"x", mode=0o600)
    assert list(tmp_path.iterdir()) == [folder]


def test_a_file_that_has_nothing_to_read_yet_can_not_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Like /proc/kmsg, which claims to be regular: a pipe that is read without waiting.
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    monkeypatch.setattr(atomic, "open_regular", lambda _: os.fdopen(reading, "rb"))
    with pytest.raises(UnreadableError, match="holds nothing now"):
        read_bounded(tmp_path / "kmsg", max_bytes=10)
    os.close(writing)


def test_reading_is_bounded_and_of_regular_files_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 11)
    with pytest.raises(StateError, match="11 bytes; 10"):
        read_bounded(path, max_bytes=10)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(StateError, match="no regular file"):
        read_bounded(pipe, max_bytes=10)
    with pytest.raises(StateError, match="can't be read"):
        read_bounded(path / "below", max_bytes=10)
    with pytest.raises(FileNotFoundError):
        read_bounded(tmp_path / "none", max_bytes=10)
    remove_durably(path)
    remove_durably(path)
    assert not path.exists()


@pytest.mark.parametrize("layout", list(LAYOUTS.values()), ids=list(LAYOUTS))
def test_every_layout_is_written_detected_and_read_back(
    tmp_path: Path, credential: Credential, layout: Layout
) -> None:
    folder = tmp_path / "new" / "orders"
    save_credential(credential, folder, layout=layout)
    assert detect_layout(folder) is layout
    assert layout_named(layout.name) is layout
    loaded = load_credential(folder).credential
    assert loaded.chain == credential.chain
    assert loaded.bundle.roots == credential.bundle.roots
    assert loaded.crls is not None
    assert mode(folder / layout.key) == 0o600
    assert not (folder / layout.next_key).exists()


def test_a_credential_never_prints_its_key(credential: Credential) -> None:
    assert repr(credential) == f"Credential(serial={credential.leaf.serial_number:x})"
    assert str(credential.spiffe_id) == "spiffe://shop.internal/orders"


def test_no_layout_or_two_are_refused(tmp_path: Path, credential: Credential) -> None:
    with pytest.raises(CredentialError, match="holds no credential"):
        detect_layout(tmp_path)
    save_credential(credential, tmp_path)
    save_credential(credential, tmp_path, layout=LAYOUTS["kubernetes"])
    with pytest.raises(CredentialError, match="several layouts"):
        load_credential(tmp_path)
    assert load_credential(tmp_path, layout=HANDFAST)
    with pytest.raises(CredentialError, match="unknown"):
        layout_named("tar")


def test_a_key_that_others_may_read_is_refused_and_the_error_names_the_setting(
    tmp_path: Path, credential: Credential
) -> None:
    save_credential(credential, tmp_path)
    (tmp_path / "key.pem").chmod(0o644)
    with pytest.raises(CredentialError, match="key_mode"):
        load_credential(tmp_path)
    loaded = load_credential(tmp_path, key_mode=KeyMode.WARN)
    assert "0644" in loaded.warnings[0]


@pytest.mark.parametrize("missing", ["chain.pem", "bundle.pem", "key.pem"])
def test_a_missing_file_is_named(tmp_path: Path, credential: Credential, missing: str) -> None:
    save_credential(credential, tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(CredentialError, match=r"is not there|holds no credential"):
        load_credential(tmp_path, sleep=lambda _: None)


def test_a_directory_without_lists_is_read_without_them(
    tmp_path: Path, credential: Credential
) -> None:
    save_credential(credential, tmp_path)
    (tmp_path / "crl.pem").unlink()
    assert load_credential(tmp_path).credential.crls is None


def test_a_torn_pair_is_read_again_and_then_reported(
    tmp_path: Path, credential: Credential, ca: Authority
) -> None:
    save_credential(credential, tmp_path)
    (tmp_path / "key.pem").write_bytes(private_key_to_pem(generate_key()))
    waits: list[float] = []
    with pytest.raises(CredentialError, match="does not belong"):
        load_credential(tmp_path, sleep=waits.append)
    assert len(waits) == 4

    def mend(_: float) -> None:
        (tmp_path / "key.pem").write_bytes(private_key_to_pem(credential.key))

    assert load_credential(tmp_path, sleep=mend).credential.chain == credential.chain


def test_between_chain_and_key_the_waiting_key_is_used(
    tmp_path: Path, credential: Credential, ca: Authority
) -> None:
    save_credential(credential, tmp_path)
    new = ca.issue("orders").credential
    write_durably(tmp_path / "key.pem.next", private_key_to_pem(new.key), mode=0o600)
    assert load_credential(tmp_path).credential.chain == credential.chain
    assert not promote_pending_key(tmp_path)
    save_chain(new.chain, tmp_path)
    assert load_credential(tmp_path).credential.chain == new.chain
    assert promote_pending_key(tmp_path)
    assert not promote_pending_key(tmp_path)
    assert load_credential(tmp_path).credential.chain == new.chain


def test_a_waiting_key_is_asked_for_again(tmp_path: Path) -> None:
    first, second = generate_key(), generate_key()
    ensure_pending_key(tmp_path, first)
    assert private_key_to_pem(ensure_pending_key(tmp_path, second)) == private_key_to_pem(first)
    assert mode(tmp_path / "key.pem.next") == 0o600


def test_a_chain_alone_has_no_place_in_a_combined_layout(
    tmp_path: Path, credential: Credential
) -> None:
    with pytest.raises(CredentialError, match="one file"):
        save_chain(credential.chain, tmp_path, layout=LAYOUTS["spiffe-files"])


def test_a_combined_file_must_begin_with_the_key(tmp_path: Path, credential: Credential) -> None:
    layout = LAYOUTS["spiffe-files"]
    save_credential(credential, tmp_path, layout=layout)
    path = tmp_path / layout.key
    key, chain = private_key_to_pem(credential.key), to_pem(credential.chain)
    for wrong in (chain, key):
        path.write_bytes(wrong)
        with pytest.raises(PkiError):
            load_credential(tmp_path, sleep=lambda _: None)
    path.write_bytes(key + chain)
    assert load_credential(tmp_path)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda good, _: b"",
        lambda good, _: good[:-30],
        lambda good, key: good + key,
        lambda good, _: good + b"word\n",
    ],
    ids=["empty", "broken", "a private key in it", "text in it"],
)
def test_a_bad_trust_bundle_is_refused(
    tmp_path: Path, credential: Credential, spoil: object
) -> None:
    save_credential(credential, tmp_path)
    good = (tmp_path / "bundle.pem").read_bytes()
    assert callable(spoil)
    (tmp_path / "bundle.pem").write_bytes(spoil(good, private_key_to_pem(credential.key)))
    with pytest.raises(InputError):
        load_credential(tmp_path, sleep=lambda _: None)


def test_a_trust_bundle_that_holds_a_leaf_is_refused(
    tmp_path: Path, credential: Credential
) -> None:
    save_credential(credential, tmp_path)
    (tmp_path / "bundle.pem").write_bytes(to_pem([*credential.bundle.all_roots(), credential.leaf]))
    with pytest.raises(InputError):
        load_credential(tmp_path, sleep=lambda _: None)


def test_trust_that_is_there_already_is_left_alone(tmp_path: Path, credential: Credential) -> None:
    save_credential(credential, tmp_path)
    before = (tmp_path / "bundle.pem").stat().st_mtime_ns
    save_trust(credential.bundle, credential.crls, tmp_path)
    assert (tmp_path / "bundle.pem").stat().st_mtime_ns == before
    save_trust(TrustBundle(credential.bundle.roots), None, tmp_path)


def test_a_folder_that_can_not_be_made_is_reported(tmp_path: Path, credential: Credential) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StateError, match="can't be made"):
        save_credential(credential, tmp_path / "file" / "orders")
