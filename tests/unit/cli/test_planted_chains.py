"""A chain is public: one that another user put into a directory changes nobody's identity."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pki.authority import Authority
from pki.cli.app import run
from pki.keys import PrivateKey, generate_key, private_key_to_pem
from tests.command import Capture, make_state, run_command, run_json
from tests.support import request_for

MALLORY = 4001
HERE, ZED = Path("certs/mallory"), Path("certs/zed")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to act as several users")


@pytest.fixture(autouse=True)
def ca(shared_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(shared_folder)
    make_state(Path("certs"), "zed")
    return shared_folder


def write_request(path: Path, key: PrivateKey) -> Path:
    path.write_bytes(request_for(key).public_bytes(Encoding.PEM))
    return path


def give(folder: Path, user: int = MALLORY) -> None:
    for path in (folder, *folder.iterdir()):
        os.chown(path, user, user)


def plant() -> None:
    """Put zed's chain into mallory's directory, as its owner can."""
    shutil.copyfile(ZED / "chain.pem", HERE / "chain.pem")


def of_workload(name: str) -> list[bool]:
    """Return for each certificate of a workload whether it was revoked."""
    with Authority.open("certs/ca", read_only=True) as authority:
        return [
            item.revoked_at is not None
            for item in authority.certificates()
            if item.spiffe_id.endswith(f"/{name}")
        ]


@pytest.fixture
def keyless() -> PrivateKey:
    """Make mallory's directory from a request, and give it to mallory."""
    key = generate_key()
    request = write_request(Path("first.csr"), key)
    assert run(["issue", "mallory", "--csr", str(request)]) == 0
    give(HERE)
    return key


@pytest.mark.parametrize("named", [[], ["--name", "mallory"]])
def test_a_planted_chain_gives_no_other_identity(
    keyless: PrivateKey, capsys: Capture, named: list[str]
) -> None:
    plant()
    request = write_request(Path("second.csr"), generate_key())
    code, _, err = run_command(capsys, "renew", HERE, "--csr", request, "--force", *named)
    assert code == 1
    assert "spiffe://shop.internal/zed" in err
    assert len(of_workload("zed")) == 1


def test_who_names_the_workload_renews_it(keyless: PrivateKey, capsys: Capture) -> None:
    request = write_request(Path("second.csr"), generate_key())
    code, _, err = run_command(capsys, "renew", HERE, "--csr", request, "--force")
    assert code == 1
    assert "belongs to user 4001" in err
    assert "--name spiffe://shop.internal/mallory" in err
    told = run_json(
        capsys,
        "renew",
        HERE,
        "--csr",
        request,
        "--force",
        "--name",
        "spiffe://shop.internal/mallory",
    )
    assert told["spiffe_id"] == "spiffe://shop.internal/mallory"
    assert len(of_workload("mallory")) == 2


def test_a_directory_that_root_alone_can_change_needs_no_name(
    keyless: PrivateKey, capsys: Capture
) -> None:
    give(HERE, 0)
    request = write_request(Path("second.csr"), generate_key())
    assert run_json(capsys, "renew", HERE, "--csr", request, "--force")["code"] == 0


def test_a_parent_that_another_user_can_change_counts_too(
    keyless: PrivateKey, capsys: Capture
) -> None:
    give(HERE, 0)
    os.chown("certs", MALLORY, MALLORY)
    request = write_request(Path("second.csr"), generate_key())
    assert run_command(capsys, "renew", HERE, "--csr", request, "--force")[0] == 1


@pytest.mark.parametrize("key", ["none", "fresh"])
def test_a_planted_chain_revokes_nobody_else(capsys: Capture, key: str) -> None:
    assert run(["issue", "mallory"]) == 0
    plant()
    (HERE / "key.pem").unlink()
    if key == "fresh":
        (HERE / "key.pem").write_bytes(private_key_to_pem(generate_key()))
        (HERE / "key.pem").chmod(0o600)
    give(HERE)
    code, _, err = run_command(capsys, "revoke", HERE, "--reason", "key-compromise")
    assert code == 1
    assert "Nothing was revoked: name the workload that is meant" in err
    assert of_workload("zed") == [False]


def test_a_foreign_certificate_beside_a_known_key_protects_nobody(capsys: Capture) -> None:
    assert run(["issue", "mallory"]) == 0
    assert run(["ca", "init", "--trust-domain", "shop.internal", "--dir", "elsewhere"]) == 0
    assert run(["issue", "mallory", "--dir", "elsewhere"]) == 0
    shutil.copyfile("elsewhere/mallory/chain.pem", HERE / "chain.pem")
    give(HERE)
    capsys.readouterr()
    told = run_json(capsys, "revoke", HERE)
    assert [item["spiffe_id"] for item in told["revoked"]] == ["spiffe://shop.internal/mallory"]
    assert of_workload("mallory") == [True]


def test_a_text_that_means_a_directory_and_a_workload_is_refused(capsys: Capture) -> None:
    assert run(["issue", "prod/orders"]) == 0
    shutil.copytree(ZED, Path("prod/orders"))
    code, _, err = run_command(capsys, "revoke", "prod/orders")
    assert code == 1
    assert "./prod/orders" in err
    assert of_workload("zed") == of_workload("orders") == [False]
    assert run_command(capsys, "revoke", "./prod/orders")[0] == 0
    assert of_workload("zed") == [True]


def test_a_certificate_is_read_as_it_was_issued(keyless: PrivateKey) -> None:
    chain = x509.load_pem_x509_certificates((HERE / "chain.pem").read_bytes())
    assert chain[0].public_key() == keyless.public_key()


def test_a_planted_chain_reports_no_bundle_for_its_workload(
    keyless: PrivateKey, capsys: Capture
) -> None:
    """Else the root would be activated while zed, elsewhere, does not trust it."""
    plant()
    shutil.move(ZED, "elsewhere")
    assert run(["ca", "root", "prepare"]) == 0
    assert run_json(capsys, "ca", "root", "distribute")["updated"] == ["certs/mallory"]
    code, _, err = run_command(capsys, "ca", "root", "activate")
    assert (code, "spiffe://shop.internal/zed" in err) == (1, True)
