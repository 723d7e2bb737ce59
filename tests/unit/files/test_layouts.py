"""Layouts of other tools: what their files mean there, and what handfast makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.errors import CredentialError
from pki.files import LAYOUTS, detect_layout, find_layout, load_credential, save_credential
from pki.keys import private_key_to_pem
from pki.x509 import Credential
from pki.x509.readers import to_pem
from tests.support import make_authority


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    with make_authority(tmp_path_factory.mktemp("home")) as made:
        yield made


@pytest.fixture
def credential(ca: Authority) -> Credential:
    return ca.issue("orders").credential


@pytest.fixture
def live(tmp_path: Path, credential: Credential) -> Path:
    """Return a folder as certbot writes it: links into an archive, and no root."""
    folder, archive = tmp_path / "live", tmp_path / "archive"
    folder.mkdir()
    archive.mkdir()
    assert credential.key is not None
    contents = {
        "privkey.pem": private_key_to_pem(credential.key),
        "cert.pem": to_pem(credential.chain[:1]),
        "chain.pem": to_pem(credential.chain[1:]),
        "fullchain.pem": to_pem(credential.chain),
    }
    for name, data in contents.items():
        target = archive / name.replace(".pem", "1.pem")
        target.write_bytes(data)
        target.chmod(0o600 if name == "privkey.pem" else 0o644)
        (folder / name).symlink_to(target)
    assert credential.crls is not None
    (folder / "crl.pem").write_bytes(to_pem([item.crl for item in credential.crls.crls.values()]))
    return folder


def test_the_intermediates_of_certbot_are_no_roots(live: Path) -> None:
    assert detect_layout(live).name == "certbot"
    with pytest.raises(CredentialError, match=r"roots\.pem"):
        load_credential(live)


def test_a_root_among_the_intermediates_of_certbot_is_not_trusted_either(
    live: Path, credential: Credential
) -> None:
    chain = live / "chain.pem"
    chain.write_bytes(chain.read_bytes() + credential.bundle.to_pem())
    with pytest.raises(CredentialError, match=r"roots\.pem"):
        load_credential(live)


def test_a_folder_of_certbot_with_its_roots_is_read(live: Path, credential: Credential) -> None:
    (live / "roots.pem").write_bytes(credential.bundle.to_pem())
    loaded = load_credential(live).credential
    assert loaded.chain == credential.chain
    assert loaded.bundle.roots == credential.bundle.roots


def test_the_layout_of_certbot_leaves_its_intermediates_as_they_are(
    live: Path, ca: Authority, credential: Credential
) -> None:
    before = (live / "chain.pem").read_bytes()
    (live / "roots.pem").write_bytes(credential.bundle.to_pem())
    fresh = ca.issue("orders").credential
    for name in ("privkey.pem", "fullchain.pem"):
        (live / name).unlink()
    save_credential(fresh, live, layout=LAYOUTS["certbot"])
    assert (live / "chain.pem").read_bytes() == before
    assert load_credential(live).credential.leaf == fresh.leaf


def test_a_folder_of_certbot_without_its_key_is_no_other_layout(live: Path) -> None:
    (live / "privkey.pem").unlink()
    found = find_layout(live)
    assert found is not None
    assert (found[0].name, found[1]) == ("certbot", False)
