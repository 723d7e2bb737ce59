"""The ``openssl`` command reads and accepts what is built: ``verify`` with lists, and ``crl``."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

import cryptography
import pytest

from pki.keys import KeyType, generate_key, private_key_to_pem, read_private_key
from pki.x509 import SERVER
from pki.x509.readers import to_pem
from tests.support import NOW, Hierarchy

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="the openssl command is not installed"
)


def openssl(*words: str | Path) -> tuple[int, str]:
    done = subprocess.run(
        ["openssl", *map(str, words)], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


made = cache(generate_key)  # an RSA key takes a second


def verify(folder: Path, h: Hierarchy, *, revoked: bool = False, purpose: str) -> tuple[int, str]:
    leaf = h.leaf(profile=SERVER) if purpose == "sslserver-only" else h.leaf()
    crls = h.crls([leaf] if revoked else []).crls.values()
    (folder / "root.pem").write_bytes(to_pem([h.root]))
    (folder / "issuing.pem").write_bytes(to_pem([h.issuing]))
    (folder / "leaf.pem").write_bytes(to_pem([leaf]))
    (folder / "lists.pem").write_bytes(to_pem([item.crl for item in crls]))
    return openssl(
        "verify",
        "-x509_strict",
        "-crl_check_all",
        *("-attime", str(int(NOW.timestamp()))),
        *("-purpose", purpose.removesuffix("-only")),
        *("-CAfile", folder / "root.pem"),
        *("-untrusted", folder / "issuing.pem"),
        *("-CRLfile", folder / "lists.pem"),
        folder / "leaf.pem",
    )


@pytest.mark.parametrize("purpose", ["sslserver", "sslclient"])
@pytest.mark.parametrize("kind", list(KeyType))
def test_chains_of_every_ca_key_type_are_accepted_with_their_lists(
    kind: KeyType, purpose: str, tmp_path: Path
) -> None:
    h = Hierarchy(root_key=made(kind), issuing_key=made(kind))
    code, said = verify(tmp_path, h, purpose=purpose)
    assert (code, "OK" in said) == (0, True), said


def test_a_revoked_leaf_is_refused(tmp_path: Path) -> None:
    code, said = verify(tmp_path, Hierarchy(), revoked=True, purpose="sslclient")
    assert code != 0
    assert "certificate revoked" in said


def test_a_server_certificate_is_refused_as_a_clients(tmp_path: Path) -> None:
    h = Hierarchy()
    assert verify(tmp_path, h, purpose="sslserver-only")[0] == 0
    (tmp_path / "server.pem").write_bytes(to_pem([h.leaf(profile=SERVER)]))
    code, said = openssl(
        "verify",
        *("-attime", str(int(NOW.timestamp()))),
        *("-purpose", "sslclient"),
        *("-CAfile", tmp_path / "root.pem"),
        *("-untrusted", tmp_path / "issuing.pem"),
        tmp_path / "server.pem",
    )
    assert code != 0
    assert "unsuitable certificate purpose" in said or "unsupported certificate purpose" in said


def test_a_list_is_read_and_its_signature_holds(tmp_path: Path) -> None:
    h = Hierarchy()
    (tmp_path / "list.pem").write_bytes(to_pem([h.crl_of(h.root, h.root_key, number=7).crl]))
    (tmp_path / "root.pem").write_bytes(to_pem([h.root]))
    (tmp_path / "issuing.pem").write_bytes(to_pem([h.issuing]))
    where = ("-in", tmp_path / "list.pem", "-noout")
    code, said = openssl("crl", *where, "-crlnumber", "-CAfile", tmp_path / "root.pem")
    assert code == 0
    assert "verify OK" in said
    assert "0x07" in said
    _, said = openssl("crl", *where, "-CAfile", tmp_path / "issuing.pem")
    assert "verify OK" not in said


@pytest.mark.parametrize("kind", list(KeyType))
def test_keys_are_read_by_openssl_and_its_keys_by_us(kind: KeyType, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    can_encrypt = cryptography.__version__ >= "47"
    for passphrase in (None, b"open sesame")[: 1 + can_encrypt]:
        path.write_bytes(private_key_to_pem(made(kind), passphrase))
        code, said = openssl("pkey", "-in", path, "-passin", "pass:open sesame")
        assert code == 0, said
        assert read_private_key(said[said.index("-----BEGIN") :].encode())
