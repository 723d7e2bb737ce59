"""What commands say of files: which one, in letters that paint nothing, and no "no" for a guess."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pki import Workload
from pki.authority import Authority
from pki.cli import renew as renewing
from pki.cli.app import run
from pki.errors import CredentialError, PkiError, printable
from pki.files import LAYOUTS, load_credential, save_credential
from pki.keys import generate_key
from pki.x509.readers import to_pem
from tests.command import Capture, files_of, make_state, run_command, write_request

ORDERS = Path("certs/orders")
NASTY = "a\x1b[31m\u202e\u2066\x07b\nc;d"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def orders() -> Path:
    make_state(Path("certs"), "orders")
    return ORDERS


# Could not tell


@pytest.mark.parametrize(
    "cause",
    [OSError(5, "Input/output error"), ValueError("odd"), RecursionError(), KeyboardInterrupt()],
    ids=lambda cause: type(cause).__name__,
)
def test_whatever_keeps_check_from_an_answer_is_no_answer(
    orders: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, cause: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise cause

    monkeypatch.setattr(renewing, "_due_reasons", fail)
    code, out, err = run_command(capsys, "renew", orders, "--check")
    assert (code, out) == (3, "")
    assert "could not tell" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "key.pem").chmod(0o644),
        lambda folder: (folder / "key.pem").write_bytes(b""),
        lambda folder: folder.chmod(0o777),
        lambda folder: Path("certs/ca/ledger.db").write_bytes(b"no ledger"),
        lambda folder: Path("certs/ca/ledger.db").unlink(),
        lambda folder: Path("certs/ca/ledger.db").chmod(0o666),
        lambda folder: (folder / "tls.key").write_bytes(b""),
    ],
    ids=["key mode", "no key", "folder", "ledger", "no ledger", "ledger mode", "two layouts"],
)
def test_a_check_that_could_not_tell_has_its_own_code(
    orders: Path, capsys: Capture, spoil: Callable[[Path], object]
) -> None:
    spoil(orders)
    code, out, err = run_command(capsys, "renew", orders, "--check")
    assert (code, out) == (3, "")
    assert err.startswith("handfast: could not tell: ")


# Paths


def is_clean(text: str) -> bool:
    return all(character.isprintable() or character == "\n" for character in text)


def test_a_path_s_letters_paint_no_terminal(capsys: Capture) -> None:
    state = str(Path(NASTY))
    at = ["--dir", state]
    for arguments in (
        ["issue", "orders", *at],
        ["ca", "init", "--trust-domain", "shop.internal", *at],
        ["issue", "orders", *at],
        ["renew", f"{state}/orders", *at],
        ["renew", f"{state}/orders", "--force", *at],
        ["renew", f"{state}/none", *at],
        ["renew", f"{state}/none", "--check", *at],
        ["issue", "web", "--csr", f"{state}/none", *at],
        ["issue", "web", "--out", f"{state}/orders", *at],
        ["issue", "orders", "--layout", "kubernetes", *at],
        ["crl", *at],
        ["revoke", f"{state}/orders", *at],
        ["ca", "rotate", *at],
        ["verify", f"{state}/none", "--as", "server", *at],
        ["list", *at],
    ):
        code, out, err = run_command(capsys, *arguments)
        assert code in {0, 1, 3}
        assert is_clean(out), arguments
        assert is_clean(err), arguments
        assert err.count("\n") <= 1


def test_a_path_in_a_command_to_copy_is_one_word_of_a_shell(orders: Path, capsys: Capture) -> None:
    _, out, _ = run_command(capsys, "issue", "web", "--out", "certs/a; true")
    assert "handfast renew 'certs/a; true'" in out
    _, out, _ = run_command(capsys, "issue", "web", "--out", "certs/wäb")
    assert "certs/wäb" in out


def test_a_path_that_is_no_utf_8_is_refused(orders: Path, capsys: Capture) -> None:
    name = os.fsdecode(b"certs/\xff\xfe")
    code, _, err = run_command(capsys, "issue", "web", "--out", name)
    assert code == 2
    assert "is not UTF-8" in err
    assert "\\udcff" in err


def test_printable_escapes_what_is_not_seen_and_keeps_letters() -> None:
    assert printable("wäb 日本") == "wäb 日本"
    for hostile in ("\x1b", "\n", "\r", "\u202e", "\u2066", "\u200b", "\u2028", "\udc80", "\x9b"):
        assert printable(f"a{hostile}b").isascii()
        assert hostile not in printable(f"a{hostile}b")


@pytest.mark.parametrize(
    "arguments", [["issue", "web", "--out", ""], ["renew", ""], ["revoke", ""]]
)
def test_an_empty_path_is_not_the_folder_that_one_stands_in(
    orders: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    state = str(Path("certs").absolute())
    monkeypatch.chdir(orders)
    before = files_of(Path())
    code, out, err = run_command(capsys, *arguments, "--dir", state)
    assert (code, out) == (2, "")
    assert "can't be empty" in err
    assert files_of(Path()) == before
    assert run(["verify", str(Path().absolute()), "--as", "client"]) == 0


@pytest.mark.parametrize("name", ["loop", "nowhere", "file", "file/below", "/dev/null", "/proc/x"])
def test_an_output_that_is_no_folder_costs_one_line(
    orders: Path, capsys: Capture, name: str
) -> None:
    Path("loop").symlink_to("loop")
    Path("nowhere").symlink_to("gone")
    Path("file").write_bytes(b"keep me")
    code, out, err = run_command(capsys, "issue", "web", "--out", name)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert Path("file").read_bytes() == b"keep me"
    assert not Path("gone").exists()


# Names of files


@pytest.mark.parametrize("name", ["key.pem", "chain.pem", "bundle.pem", "crl.pem"])
@pytest.mark.parametrize(
    "data",
    [b"", b"words", b"\xff\xfe", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"],
    ids=["empty", "words", "no text", "no certificate"],
)
def test_every_error_of_a_file_names_it(orders: Path, name: str, data: bytes) -> None:
    (orders / name).write_bytes(data)
    with pytest.raises(PkiError) as caught:
        load_credential(orders, sleep=lambda _: None)
    assert f"certs/orders/{name}" in caught.value.message
    assert caught.value.message.count("certs/orders") == 1


@pytest.mark.parametrize("data", [b"", b"words", b"\x30\x03\x02\x01\x05"])
def test_errors_of_requests_chains_and_keys_of_the_ca_name_the_file(
    orders: Path, capsys: Capture, data: bytes
) -> None:
    Path("bad.pem").write_bytes(data)
    for arguments in (
        ["issue", "web", "--csr", "bad.pem"],
        ["verify", "bad.pem", "--as", "server"],
        ["verify", "certs/orders", "--as", "server", "--bundle", "bad.pem"],
        ["verify", "certs/orders/chain.pem", "--as", "server", "--crl", "bad.pem"],
    ):
        code, _, err = run_command(capsys, *arguments)
        assert code in {1, 3}
        assert "bad.pem" in err, arguments
    (key,) = Path("certs/ca").glob("issuing-*.key.pem")
    key.write_bytes(data)
    code, _, err = run_command(capsys, "issue", "web")
    assert code == 1
    assert key.name in err


# The passphrase's file


@pytest.mark.parametrize(
    ("data", "passphrase"),
    [
        (b"open sesame", b"open sesame"),
        (b"open sesame\n", b"open sesame"),
        (b"open sesame\r\n", b"open sesame"),
        (b"open sesame\nsecond line\n", b"open sesame"),
        (b" spaces stay \t\n", b" spaces stay \t"),
        (b"one\rtwo\r\r\n", b"one\rtwo\r"),
        (b"not \xff utf-8\n", b"not \xff utf-8"),
    ],
)
def test_the_passphrase_is_the_first_line_of_its_file(
    monkeypatch: pytest.MonkeyPatch, data: bytes, passphrase: bytes
) -> None:
    monkeypatch.setenv("HANDFAST_CA_PASSPHRASE_FILE", "secret")
    Path("secret").write_bytes(data)
    assert run(["ca", "init", "--trust-domain", "shop.internal"]) == 0
    with Authority.open("certs/ca", passphrase=passphrase) as authority:
        assert authority.issue("orders")


def test_a_passphrase_file_that_is_not_one_is_named(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = Path("the-secret")
    monkeypatch.setenv("HANDFAST_CA_PASSPHRASE_FILE", str(secret))

    def refused() -> None:
        code, _, err = run_command(capsys, "ca", "init", "--trust-domain", "shop.internal")
        assert code == 1
        assert "the-secret" in err
        assert not Path("certs/ca/ledger.db").exists()

    refused()
    secret.write_bytes(b"\nsecond line\n")
    refused()
    secret.write_bytes(b"open sesame" * 10_000)
    refused()
    secret.write_bytes(b"open sesame\n")
    secret.chmod(0o666)
    refused()
    secret.unlink()
    os.mkfifo(secret)
    refused()
    secret.unlink()
    secret.mkdir()
    refused()
    monkeypatch.setenv("HANDFAST_CA_PASSPHRASE_FILE", "/dev/zero")
    assert run_command(capsys, "ca", "init", "--trust-domain", "shop.internal")[0] == 1


# A first start


def test_one_start_tells_both_settings_that_another_tool_s_files_need(orders: Path) -> None:
    folder = Path("foreign")
    save_credential(load_credential(orders).credential, folder, layout=LAYOUTS["kubernetes"])
    (folder / "ca.crl").unlink()
    (folder / "tls.key").chmod(0o644)
    with pytest.raises(CredentialError) as caught:
        Workload.from_directory(folder)
    assert "key_mode" in caught.value.remedy
    assert "revocation" in caught.value.remedy
    with Workload.from_directory(folder, key_mode="warn", revocation="when-present"):
        pass


@pytest.mark.parametrize("left", [0, 1])
def test_a_workload_without_a_list_of_each_issuer_does_not_start(orders: Path, left: int) -> None:
    credential = load_credential(orders).credential
    assert credential.crls is not None
    crls = list(credential.crls.crls.values())
    assert len(crls) == 2
    (orders / "crl.pem").write_bytes(to_pem([crls[left].crl]))
    with pytest.raises(CredentialError, match=r"no revocation list of .*CN=handfast"):
        Workload.from_directory(orders)
    with Workload.from_directory(orders, revocation="when-present") as me:
        assert me.credential.crls is not None
        assert me.credential.crls.crls.keys() == {crls[left].issuer}


def test_a_request_that_does_not_parse_changes_nothing(orders: Path, capsys: Capture) -> None:
    request = write_request(Path("web.csr"), generate_key())
    request.write_bytes(request.read_bytes()[:-60])
    assert run_command(capsys, "issue", "web", "--csr", request)[0] == 1
    assert not Path("certs/web").exists()
