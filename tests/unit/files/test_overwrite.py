"""A working credential is never overwritten by another, and neither is one that can't be read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from pki.authority import Authority
from pki.errors import CredentialError, PkiError
from pki.files import load_credential
from pki.keys import generate_key, private_key_to_pem
from pki.x509 import SERVER
from tests.command import Capture, files_of, run_command, run_json, write_request

ORDERS = Path("certs/orders")


@pytest.fixture(autouse=True)
def ca(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Path:
    monkeypatch.chdir(tmp_path)
    assert run_command(capsys, "ca", "init", "--trust-domain", "shop.internal")[0] == 0
    assert run_command(capsys, "issue", "orders")[0] == 0
    return Path("certs/ca")


def issued(ca: Path) -> int:
    with Authority.open(ca) as authority:
        return len(authority.certificates(with_ended=True))


def refused(capsys: Capture, ca: Path, *arguments: str | Path) -> str:
    """Check that a command is refused in one line, issues nothing and changes nothing."""
    before, number = files_of(ORDERS), issued(ca)
    code, out, err = run_command(capsys, *arguments)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert files_of(ORDERS) == before
    assert issued(ca) == number
    return err


def other_mode(folder: Path) -> None:
    (folder / "key.pem").chmod(0o644)


def encrypted(folder: Path) -> None:
    key = load_credential(folder).credential.key
    (folder / "key.pem").write_bytes(private_key_to_pem(key, b"open sesame"))


def cut_chain(folder: Path) -> None:
    (folder / "chain.pem").write_bytes((folder / "chain.pem").read_bytes()[:300])


def empty_chain(folder: Path) -> None:
    (folder / "chain.pem").write_bytes(b"")


def no_chain(folder: Path) -> None:
    (folder / "chain.pem").unlink()


def other_key(folder: Path) -> None:
    (folder / "key.pem").write_bytes(private_key_to_pem(generate_key()))


def empty_key(folder: Path) -> None:
    (folder / "key.pem").write_bytes(b"")


def key_through_a_link_to_nowhere(folder: Path) -> None:
    (folder / "key.pem").unlink()
    (folder / "key.pem").symlink_to("gone")


def key_is_a_folder(folder: Path) -> None:
    (folder / "key.pem").unlink()
    (folder / "key.pem").mkdir()


UNREADABLE = [
    other_mode,
    encrypted,
    cut_chain,
    empty_chain,
    no_chain,
    other_key,
    empty_key,
    key_through_a_link_to_nowhere,
    key_is_a_folder,
]


@pytest.mark.parametrize("spoil", UNREADABLE)
@pytest.mark.parametrize("workload", ["orders", "payments"])
def test_a_credential_that_cannot_be_read_is_not_overwritten(
    ca: Path, capsys: Capture, spoil: Callable[[Path], None], workload: str
) -> None:
    spoil(ORDERS)
    err = refused(capsys, ca, "issue", workload, "--out", ORDERS)
    assert "certs/orders" in err
    assert "another" in err or "away" in err


@pytest.mark.parametrize("spoil", [lambda _: None, *UNREADABLE])
def test_the_answer_to_a_request_never_goes_beside_a_key_that_it_does_not_fit(
    ca: Path, capsys: Capture, spoil: Callable[[Path], None]
) -> None:
    spoil(ORDERS)
    request = write_request(Path("orders.csr"), generate_key())
    refused(capsys, ca, "issue", "orders", "--csr", request)


def test_the_answer_to_a_request_goes_beside_the_key_that_it_was_made_with(
    ca: Path, capsys: Capture
) -> None:
    key = generate_key()
    folder = Path("own")
    folder.mkdir()
    (folder / "key.pem").write_bytes(private_key_to_pem(key))
    (folder / "key.pem").chmod(0o600)
    request = write_request(Path("own.csr"), key)
    assert run_command(capsys, "issue", "own", "--csr", request, "--out", folder)[0] == 0
    assert load_credential(folder).credential.spiffe_id


def test_a_request_s_directory_takes_no_credential_with_a_key(ca: Path, capsys: Capture) -> None:
    request = write_request(Path("web.csr"), generate_key())
    assert run_command(capsys, "issue", "web", "--csr", request)[0] == 0
    before, number = files_of(Path("certs/web")), issued(ca)
    for workload in ("web", "payments"):
        code, _, err = run_command(capsys, "issue", workload, "--out", "certs/web")
        assert code == 1
        assert "--csr" in err
    again = write_request(Path("again.csr"), generate_key())
    assert run_command(capsys, "issue", "payments", "--csr", again, "--out", "certs/web")[0] == 1
    assert (files_of(Path("certs/web")), issued(ca)) == (before, number)
    assert run_command(capsys, "issue", "web", "--csr", again)[0] == 0


def test_a_request_in_a_layout_of_one_file_is_refused_before_anything_is_done(
    ca: Path, capsys: Capture
) -> None:
    request = write_request(Path("web.csr"), generate_key())
    number = issued(ca)
    code, _, err = run_command(capsys, "issue", "web", "--csr", request, "--layout", "spiffe-files")
    assert code == 1
    assert "another layout" in err
    assert not Path("certs/web").exists()
    assert issued(ca) == number


def test_what_the_ca_refuses_leaves_no_folder_behind(ca: Path, capsys: Capture) -> None:
    code, _, _ = run_command(capsys, "issue", "a/b/c", "--dns", "payments.shop.internal")
    assert code == 1
    assert not Path("certs/a").exists()


def test_a_credential_of_another_tool_is_not_overwritten(ca: Path, capsys: Capture) -> None:
    with Authority.create("other/ca", "else.internal") as other:
        other.issue("site", profile=SERVER).save("site")
        other.issue("site").save("named")
    for folder in (Path("site"), Path("named")):
        before = files_of(folder)
        code, _, err = run_command(capsys, "issue", "orders", "--out", folder)
        assert code == 1
        assert "holds the credential of" in err
        assert files_of(folder) == before


def test_a_server_s_certificate_gives_way_to_the_next_of_the_same_name(
    ca: Path, capsys: Capture
) -> None:
    for _ in range(2):
        assert run_command(capsys, "issue", "proxy", "--profile", "server")[0] == 0
    assert (
        run_command(capsys, "issue", "other", "--profile", "server", "--out", "certs/proxy")[0] == 1
    )


def test_the_folder_of_a_ca_takes_no_credential(ca: Path, capsys: Capture) -> None:
    number, before = issued(ca), {path.name for path in ca.iterdir()}
    code, _, err = run_command(capsys, "issue", "web", "--out", ca)
    assert code == 1
    assert "folder of a CA" in err
    assert {path.name for path in ca.iterdir()} == before
    assert issued(ca) == number


def test_a_first_credential_that_was_cut_off_is_issued_anew(ca: Path, capsys: Capture) -> None:
    folder = Path("certs/new")
    folder.mkdir()
    (folder / "key.pem.next").write_bytes(private_key_to_pem(generate_key()))
    (folder / "key.pem.next").chmod(0o600)
    assert run_command(capsys, "issue", "new")[0] == 0
    assert load_credential(folder).credential.spiffe_id


@pytest.mark.parametrize("name", ["key.pem", "chain.pem", "bundle.pem", "crl.pem", "key.pem.next"])
def test_a_folder_in_a_file_s_place_is_told_before_the_certificate_is_issued(
    ca: Path, capsys: Capture, name: str
) -> None:
    Path("certs/new", name).mkdir(parents=True)
    number = issued(ca)
    assert run_command(capsys, "issue", "new")[0] == 1
    assert issued(ca) == number
    assert [path.name for path in Path("certs/new").iterdir() if path.name[0] != "."] == [name]


def test_a_library_s_save_overwrites_no_other_credential_either(ca: Path) -> None:
    before = files_of(ORDERS)
    with Authority.open(ca) as authority:
        request = write_request(Path("o.csr"), generate_key()).read_bytes()
        for made in (authority.issue("payments"), authority.issue_request("orders", request)):
            with pytest.raises(PkiError, match="Choose another directory"):
                made.save(ORDERS)
        (ORDERS / "key.pem").chmod(0o640)
        with pytest.raises(CredentialError, match="not overwritten"):
            authority.issue("orders").save(ORDERS)
    assert files_of(ORDERS) == before


def test_a_credential_that_could_not_be_put_in_place_is_told_as_issued(
    ca: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.replace

    def full(source: str, target: str, **folders: int) -> None:
        if target == "chain.pem":
            raise OSError(28, "No space left on device")
        real(source, target, **folders)

    before = load_credential(ORDERS).credential
    monkeypatch.setattr(os, "replace", full)
    for arguments in (["issue", "orders"], ["renew", str(ORDERS), "--force"]):
        code, _, err = run_command(capsys, *arguments)
        assert code == 1
        assert "is issued and recorded, but not in place" in err
        assert "Nothing was changed" not in err
        assert load_credential(ORDERS).credential.chain == before.chain
    monkeypatch.setattr(os, "replace", real)
    renewed = run_json(capsys, "renew", ORDERS, "--force")
    assert renewed["renewed"] is True


@pytest.mark.parametrize("is_request", [False, True])
def test_a_credential_of_another_ca_is_not_overwritten_though_the_names_are_the_same(
    ca: Path, capsys: Capture, is_request: bool
) -> None:
    request = write_request(Path("web.csr"), generate_key())
    csr = ["--csr", str(request)] if is_request else []
    assert run_command(capsys, "issue", "web", *csr)[0] == 0
    (Path("certs/web") / "bundle.pem").write_bytes(b"")  # damaged: the chain alone decides then
    assert (
        run_command(capsys, "ca", "init", "--trust-domain", "shop.internal", "--dir", "b")[0] == 0
    )
    for name, options in (("web", csr), ("orders", [])):
        before = files_of(Path("certs", name))
        code, out, err = run_command(
            capsys, "issue", name, *options, "--dir", "b", "--out", Path("certs", name)
        )
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert "another CA" in err
        assert "--dir" in err
        assert "--out" in err
        assert files_of(Path("certs", name)) == before
    assert issued(Path("b/ca")) == 0
    with Authority.open("b/ca") as other, pytest.raises(CredentialError, match="another CA"):
        other.issue("orders").save(ORDERS)


def test_a_credential_of_a_distrusted_issuing_ca_gives_way_to_one_of_the_next(
    ca: Path, capsys: Capture
) -> None:
    (ORDERS / "bundle.pem").write_bytes(b"")
    old = load_issuer(ORDERS)
    assert run_command(capsys, "ca", "rotate")[0] == 0
    assert run_command(capsys, "issue", "orders")[0] == 0
    assert load_issuer(ORDERS) != old
    with Authority.open(ca) as authority:
        authority.issue("orders").save(ORDERS)
    assert load_credential(ORDERS).credential.spiffe_id


def test_a_credential_with_the_new_root_in_its_bundle_changes_over_to_it(
    ca: Path, capsys: Capture
) -> None:
    assert (
        run_command(capsys, "ca", "init", "--trust-domain", "shop.internal", "--dir", "b")[0] == 0
    )
    with (ORDERS / "bundle.pem").open("ab") as bundle:
        bundle.write(Path("b/ca/bundle.pem").read_bytes())
    assert run_command(capsys, "issue", "orders", "--dir", "b", "--out", ORDERS)[0] == 0


def load_issuer(folder: Path) -> str:
    chain = x509.load_pem_x509_certificates((folder / "chain.pem").read_bytes())
    return chain[0].issuer.rfc4514_string()
