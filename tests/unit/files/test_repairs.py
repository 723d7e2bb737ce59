"""Each readable part of a directory is used; renewal repairs everything but the key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from pki.authority import Authority
from pki.cli.app import run
from pki.files import LAYOUTS, load_credential
from pki.files.writer import save_chain
from pki.keys import generate_key, private_key_to_pem
from pki.x509 import CrlSet
from tests.command import Capture, files_of, make_state, run_command, run_json, write_request

ORDERS = Path("certs/orders")


@pytest.fixture(autouse=True)
def ca(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_state(Path("certs"))
    return Path("certs/ca")


def emptied(data: bytes) -> bytes:
    return b""


def cut(data: bytes) -> bytes:
    return data[: len(data) - 200]


def words_in_it(data: bytes) -> bytes:
    return b"# by hand\n" + data


def doubled(data: bytes) -> bytes:
    return data + data


def the_first_alone(data: bytes) -> bytes:
    """Keep only the first object: of a chain, the leaf without its issuing CA."""
    return data[: data.index(b"-----END CERTIFICATE-----") + 26]


SPOILS = [emptied, cut, words_in_it, None]


def spoil(path: Path, how: Callable[[bytes], bytes] | None) -> None:
    if how is None:
        path.unlink()
    else:
        path.write_bytes(how(path.read_bytes()))


def is_whole(folder: Path) -> bool:
    credential = load_credential(folder, sleep=lambda _: None).credential
    return credential.crls is not None and len(credential.chain) == 2


@pytest.mark.parametrize("how", SPOILS)
@pytest.mark.parametrize("file", ["bundle", "crls", "chain"])
@pytest.mark.parametrize("layout", ["handfast", "kubernetes", "certbot"])
def test_renewal_repairs_what_is_not_the_key(
    ca: Path, capsys: Capture, layout: str, file: str, how: Callable[[bytes], bytes] | None
) -> None:
    assert run_command(capsys, "issue", "orders", "--layout", layout)[0] == 0
    before = load_credential(ORDERS).credential
    spoil(ORDERS / getattr(LAYOUTS[layout], file), how)
    assert run_command(capsys, "renew", ORDERS, "--check")[0] == 0
    found = run_json(capsys, "renew", ORDERS)
    assert found["code"] == 0
    assert is_whole(ORDERS)
    assert load_credential(ORDERS).credential.chain == before.chain
    assert run_command(capsys, "renew", ORDERS, "--check")[0] == 1


@pytest.mark.parametrize("file", ["bundle", "crls", "chain"])
def test_a_forced_renewal_repairs_and_renews(ca: Path, capsys: Capture, file: str) -> None:
    run(["issue", "orders"])
    before = load_credential(ORDERS).credential
    spoil(ORDERS / getattr(LAYOUTS["handfast"], file), cut)
    assert run_json(capsys, "renew", ORDERS, "--force")["renewed"] is True
    assert is_whole(ORDERS)
    assert load_credential(ORDERS).credential.leaf != before.leaf


@pytest.mark.parametrize("how", [doubled, the_first_alone])
def test_a_chain_that_reads_well_and_is_not_whole_is_repaired(
    ca: Path, capsys: Capture, how: Callable[[bytes], bytes]
) -> None:
    run(["issue", "orders"])
    whole = (ORDERS / "chain.pem").read_bytes()
    spoil(ORDERS / "chain.pem", how)
    code, out, _ = run_command(capsys, "renew", ORDERS, "--check")
    assert code == 0
    assert "the chain is damaged" in out
    assert run_json(capsys, "renew", ORDERS)["repaired"] == ["chain.pem"]
    assert (ORDERS / "chain.pem").read_bytes() == whole


def test_a_combined_file_whose_chain_is_cut_is_repaired(ca: Path, capsys: Capture) -> None:
    run(["issue", "orders", "--layout", "spiffe-files"])
    path = ORDERS / LAYOUTS["spiffe-files"].key
    whole = path.read_bytes()
    for length in (len(whole) - 200, whole.find(b"-----BEGIN CERT") + 300):
        path.write_bytes(whole[:length])
        assert run_command(capsys, "renew", ORDERS)[0] == 0
        assert path.read_bytes() == whole


@pytest.mark.parametrize("file", ["bundle", "crls", "chain"])
@pytest.mark.parametrize("how", SPOILS)
def test_lists_come_into_a_damaged_directory(
    ca: Path, capsys: Capture, file: str, how: Callable[[bytes], bytes] | None
) -> None:
    run(["issue", "orders"])
    run(["issue", "payments"])
    spoil(ORDERS / getattr(LAYOUTS["handfast"], file), how)
    serial = load_credential(Path("certs/payments")).credential.leaf.serial_number
    found = run_json(capsys, "revoke", f"{serial:x}")
    assert (found["code"], found["failed"]) == (0, [])
    assert "certs/orders" in found["updated"]
    crls = CrlSet.read((ORDERS / "crl.pem").read_bytes())
    assert any(serial in item.revoked for item in crls.crls.values())


@pytest.mark.parametrize("file", ["bundle", "crls", "chain"])
@pytest.mark.parametrize("how", SPOILS)
def test_a_damaged_directory_s_certificate_is_revoked(
    ca: Path, capsys: Capture, file: str, how: Callable[[bytes], bytes] | None
) -> None:
    run(["issue", "orders"])
    serial = load_credential(ORDERS).credential.leaf.serial_number
    spoil(ORDERS / getattr(LAYOUTS["handfast"], file), how)
    found = run_json(capsys, "revoke", ORDERS)
    assert [item["serial"] for item in found["revoked"]] == [f"{serial:x}"]


@pytest.mark.parametrize(
    "how",
    [
        lambda path: path.chmod(0o644),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(private_key_to_pem(generate_key())),
        lambda path: path.unlink(),
        lambda path: (path.unlink(), path.mkdir()),
    ],
    ids=["readable by others", "empty", "another", "gone", "a folder"],
)
def test_a_directory_whose_key_is_damaged_is_revoked_and_gets_lists(
    ca: Path, capsys: Capture, how: Callable[[Path], None]
) -> None:
    run(["issue", "orders"])
    how(ORDERS / "key.pem")
    assert "certs/orders" in run_json(capsys, "crl", "--force")["updated"]
    assert run_json(capsys, "revoke", ORDERS)["code"] == 0


@pytest.mark.parametrize(
    "how",
    [
        lambda path: path.chmod(0o644),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(private_key_to_pem(generate_key())),
    ],
    ids=["readable by others", "empty", "another"],
)
def test_a_key_is_no_thing_to_repair(
    ca: Path, capsys: Capture, how: Callable[[Path], None]
) -> None:
    run(["issue", "orders"])
    how(ORDERS / "key.pem")
    before = files_of(ORDERS)
    for arguments, expected in ((["--force"], 1), (["--check"], 3)):
        code, out, err = run_command(capsys, "renew", ORDERS, *arguments)
        assert (code, out) == (expected, "")
        assert "key.pem" in err
    assert files_of(ORDERS) == before


def test_what_is_damaged_beyond_telling_whose_it_is_is_left_and_told(
    ca: Path, capsys: Capture
) -> None:
    run(["issue", "orders"])
    for name in ("key.pem", "chain.pem", "bundle.pem"):
        (ORDERS / name).write_bytes(b"")
    found = run_json(capsys, "crl")
    assert found["code"] == 5
    assert found["failed"][0]["directory"] == "certs/orders"
    assert "chain.pem" in found["failed"][0]["error"]


def test_a_pending_key_that_is_damaged_is_replaced(ca: Path, capsys: Capture) -> None:
    run(["issue", "orders"])
    (ORDERS / "key.pem.next").write_bytes(b"-----BEGIN PRIVATE KEY-----\nAAAA\n")
    (ORDERS / "key.pem.next").chmod(0o600)
    assert load_credential(ORDERS).warnings
    assert run_json(capsys, "renew", ORDERS, "--force")["renewed"] is True
    assert is_whole(ORDERS)


def test_a_directory_of_a_request_is_renewed_with_a_new_request(ca: Path, capsys: Capture) -> None:
    first = write_request(Path("first.csr"), generate_key())
    issued = run_json(capsys, "issue", "web", "--csr", first)
    folder = Path("certs/web")
    again = write_request(
        Path("again.csr"),
        generate_key(),
        x509.UniformResourceIdentifier("spiffe://shop.internal/web"),
    )
    code, out, _ = run_command(capsys, "renew", folder, "--csr", again)
    assert code == 0
    assert "not due" in out
    renewed = run_json(capsys, "renew", folder, "--csr", again, "--force")
    assert renewed["renewed"] is True
    assert renewed["serial"] != issued["serial"]
    assert not (folder / "key.pem").exists()
    assert (
        run_command(capsys, "verify", folder / "chain.pem", "--as", "server", "--name", "web")[0]
        == 0
    )
    # Its renewals are revoked with it.
    revoked = run_json(capsys, "revoke", issued["serial"])
    assert [item["serial"] for item in revoked["revoked"]] == [issued["serial"], renewed["serial"]]


def test_a_directory_of_a_request_gets_trust_and_lists_without_one(
    ca: Path, capsys: Capture
) -> None:
    first = write_request(Path("first.csr"), generate_key())
    run(["issue", "web", "--csr", str(first)])
    folder = Path("certs/web")
    assert run_command(capsys, "renew", folder, "--check")[0] == 1
    for name in ("crl.pem", "bundle.pem"):
        (folder / name).write_bytes(b"")
    assert run_command(capsys, "renew", folder, "--check")[0] == 0
    assert run_command(capsys, "renew", folder)[0] == 0
    assert CrlSet.read((folder / "crl.pem").read_bytes())
    code, _, err = run_command(capsys, "renew", folder, "--force")
    assert code == 1
    assert "--csr FILE" in err


@pytest.mark.parametrize(
    "names",
    [
        [x509.DNSName("payments.shop.internal")],
        [x509.UniformResourceIdentifier("spiffe://shop.internal/payments")],
        [x509.DNSName("web.example")],
    ],
    ids=["another's DNS name", "another's SPIFFE ID", "a further name"],
)
def test_a_request_that_renews_may_ask_for_the_old_names_alone(
    ca: Path, capsys: Capture, names: list[x509.GeneralName]
) -> None:
    run(["issue", "web", "--csr", str(write_request(Path("first.csr"), generate_key()))])
    before = files_of(Path("certs/web"))
    other = write_request(Path("other.csr"), generate_key(), *names)
    code, _, err = run_command(capsys, "renew", "certs/web", "--csr", other, "--force")
    assert code == 1
    assert "asks for" in err
    assert files_of(Path("certs/web")) == before


def test_a_request_for_a_directory_with_a_key_of_its_own_is_refused(
    ca: Path, capsys: Capture
) -> None:
    run(["issue", "orders"])
    before = files_of(ORDERS)
    request = write_request(Path("o.csr"), generate_key())
    code, _, err = run_command(capsys, "renew", ORDERS, "--csr", request, "--force")
    assert code == 1
    assert "holds its own key" in err
    assert files_of(ORDERS) == before


def test_the_chain_of_a_request_s_directory_is_repaired(ca: Path, capsys: Capture) -> None:
    run(["issue", "web", "--csr", str(write_request(Path("first.csr"), generate_key()))])
    path = Path("certs/web/chain.pem")
    whole = path.read_bytes()
    path.write_bytes(cut(whole))
    assert run_command(capsys, "renew", "certs/web")[0] == 0
    assert path.read_bytes() == whole
    path.write_bytes(b"")
    code, _, err = run_command(capsys, "renew", "certs/web")
    assert code == 1
    assert "chain.pem" in err


def test_a_revoked_certificate_is_never_not_due(ca: Path, capsys: Capture) -> None:
    run(["issue", "orders"])
    run(["revoke", str(ORDERS)])
    code, out, _ = run_command(capsys, "renew", ORDERS, "--check")
    assert code == 0
    assert "revoked" in out
    code, _, err = run_command(capsys, "renew", ORDERS)
    assert code == 1
    assert "was revoked" in err


def test_a_renewal_that_was_cut_off_is_due(ca: Path, capsys: Capture) -> None:
    run(["issue", "orders"])
    with Authority.open(ca) as authority:
        new = authority.renew(load_credential(ORDERS).credential.leaf)
        key = new.credential.key
    (ORDERS / "key.pem.next").write_bytes(private_key_to_pem(key))
    (ORDERS / "key.pem.next").chmod(0o600)
    save_chain(new.chain, ORDERS)
    code, out, _ = run_command(capsys, "renew", ORDERS, "--check")
    assert code == 0
    assert "cut off" in out
    assert run_command(capsys, "renew", ORDERS)[0] == 0
    assert not (ORDERS / "key.pem.next").exists()
    assert run_command(capsys, "renew", ORDERS, "--check")[0] == 1
