"""What a database may say about the keys of the CA's replicas, and what only each machine may."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cryptography
import pytest

from pki.authority import Authority
from pki.authority.bootstrap import AuthorityPlan
from pki.authority.ledger.databases.postgresql import PostgresqlDatabase
from pki.authority.replicas.joining import join_authority
from pki.authority.signers import Pkcs11Uri, TokenAccess
from pki.authority.signers.key_file import write_key_file
from pki.errors import StateError
from pki.keys import generate_key, private_key_to_pem
from tests.postgresql import PostgresqlServer
from tests.softhsm import PIN, SoftHsm, plan_of, run_handfast
from tests.support import SHOP

pytestmark = pytest.mark.skipif(
    cryptography.__version__ < "47", reason="an encrypted key needs cryptography 47"
)
PASSPHRASE = b"a passphrase of the CA"
NAME = "issuing-0123456789abcdef.key"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    with PostgresqlServer(fsync="off") as made:
        yield made


@pytest.fixture
def place(server: PostgresqlServer, tmp_path: Path) -> PostgresqlDatabase:
    name = f"ca_{tmp_path.name[-40:]}".replace("-", "_").lower()
    return PostgresqlDatabase.parse(server.make_database(name))


def plant(server: PostgresqlServer, place: PostgresqlDatabase, name: str, contents: bytes) -> None:
    database = str(place).rpartition("/")[2]
    server.execute(
        f"INSERT INTO key_files VALUES ('{name}', '\\x{contents.hex()}'::bytea)", database
    )


def key_file(uri: str) -> bytes:
    return f"uri = {json.dumps(uri)}\n".encode()


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("pkcs11:token=any;id=%01?pin-source=file:{file}", "names a file with a PIN"),
        ("pkcs11:token=any;id=%01?pin-source={file}", "names a file with a PIN"),
        ("pkcs11:token=any;id=%01?module-path={file}", "any code run"),
        ("pkcs11:token=any;id=%01?pin-value=1234", "pin-value"),
        ("pkcs11:token=any", "names no key"),
    ],
)
def test_a_row_that_names_a_file_of_the_replica_is_taken_by_none(
    tmp_path: Path, server: PostgresqlServer, place: PostgresqlDatabase, uri: str, why: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("1234\n")
    secret.chmod(0o600)
    first, second = tmp_path / "one", tmp_path / "two"
    Authority.create(first, AuthorityPlan(SHOP), passphrase=PASSPHRASE, ledger=place).close()
    plant(server, place, f"{NAME}.toml", key_file(uri.format(file=secret)))
    with pytest.raises(StateError, match=why):
        join_authority(second, place, passphrase=PASSPHRASE)
    with pytest.raises(StateError, match=why):
        Authority.open(first, passphrase=PASSPHRASE)
    assert not [file for home in (first, second) for file in home.glob("*.toml")]


@pytest.mark.parametrize(
    "beside",
    [b"", b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"x-----BEGIN ENCRYPTED PRIVATE KEY-----x"],
)
def test_an_open_key_is_not_taken_for_the_words_beside_it(
    tmp_path: Path, server: PostgresqlServer, place: PostgresqlDatabase, beside: bytes
) -> None:
    home = tmp_path / "two"
    Authority.create(
        tmp_path / "one", AuthorityPlan(SHOP), passphrase=PASSPHRASE, ledger=place
    ).close()
    plant(server, place, f"{NAME}.pem", private_key_to_pem(generate_key()) + beside + b"\n")
    with pytest.raises(StateError, match="not encrypted"):
        join_authority(home, place, passphrase=PASSPHRASE)
    assert not (home / f"{NAME}.pem").exists()


def test_each_machine_names_the_file_with_the_pin_itself(
    tmp_path: Path,
    server: PostgresqlServer,
    place: PostgresqlDatabase,
    softhsm: SoftHsm,
    token: Pkcs11Uri,
) -> None:
    pin = tmp_path / "pin"
    pin.write_text(PIN)
    pin.chmod(0o600)
    nobody_knows = TokenAccess(softhsm.module)
    with Authority.create(
        tmp_path / "one",
        plan_of(replace(token, pin_source=pin)),
        passphrase=PASSPHRASE,
        tokens=nobody_knows,
        ledger=place,
    ) as first:
        [(shared,)] = server.execute(
            "SELECT contents FROM key_files WHERE name LIKE '%.toml'",
            str(place).rpartition("/")[2],
        )
        assert b"pin-source" not in bytes(shared)
        home = tmp_path / "two"
        # In a process of its own: in this one, the token is logged in to already.
        environment = {
            **softhsm.environment,
            "HANDFAST_PKCS11_PIN": "",
            "HANDFAST_CA_PASSPHRASE": PASSPHRASE.decode(),
        }
        join = ("ca", "join", "--ledger", str(place), "--dir", str(home.parent / "three"))
        done = run_handfast(environment, *join)
        assert (done.returncode, "no PIN is known" in done.stderr) == (1, True), done.stderr
        environment["HANDFAST_PKCS11_PIN"] = PIN
        assert run_handfast(environment, *join).returncode == 0
        with join_authority(home, place, passphrase=PASSPHRASE, tokens=softhsm.access) as second:
            second.issue("orders")
        [file] = home.glob("*.toml")
        assert file.read_bytes() == bytes(shared)
        # What this machine says of a token counts for the next key in it.
        own = Pkcs11Uri.parse(json.loads(file.read_text().splitlines()[1].partition(" = ")[2]))
        file.write_bytes(write_key_file(replace(own, pin_source=pin)))
        made = first.rotate()
        with Authority.open(home, passphrase=PASSPHRASE, tokens=nobody_knows) as second:
            assert second.issue("payments").chain[1] == made.certificate
    assert all(b"pin-source=file:" in file.read_bytes() for file in home.glob("*.toml"))
