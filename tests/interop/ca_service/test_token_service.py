"""A CA that is served as a process, whose issuing CA's key lives in a PKCS#11 token."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pki.ca_client import CaIdentity
from pki.errors import CaUnreachableError
from pki.proofs import EnrollmentToken
from pki.x509.revocation import IssuerId
from tests.interop.shop import eventually
from tests.served_process import Running, running
from tests.softhsm import SoftHsm, run_handfast


class TokenCa:
    """The process, and the folder of its token."""

    def __init__(self, home: Path, hsm: SoftHsm, token: Path, process: Running) -> None:
        self.home, self.hsm, self.token, self.process = home, hsm, token, process

    def command(self, *arguments: str) -> str:
        done = run_handfast({**self.hsm.environment, "HANDFAST_DIR": str(self.home)}, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def enrollment(self, name: str) -> EnrollmentToken:
        self.command("registration", "create", name)
        text = re.search(r"hft1_\S+", self.command("token", "create", name))
        assert text is not None
        return EnrollmentToken.parse(text[0])


@pytest.fixture
def ca(tmp_path: Path, softhsm: SoftHsm) -> Iterator[TokenCa]:
    before = set(softhsm.tokens.iterdir())
    label = softhsm.make_token(f"served-{tmp_path.name[-12:]}").token
    (folder,) = set(softhsm.tokens.iterdir()) - before
    environment = {**softhsm.environment, "HANDFAST_DIR": str(tmp_path)}
    done = run_handfast(
        environment,
        *("ca", "init", "--trust-domain", "shop.internal", f"--key=pkcs11:token={label}"),
    )
    assert done.returncode == 0, done.stderr
    serve = ("ca", "serve", "--listen=127.0.0.1:0", "--enroll-listen=127.0.0.1:0")
    with running(tmp_path, *serve, environment=softhsm.environment) as process:
        process.line("Serving the CA")
        yield TokenCa(tmp_path, softhsm, folder, process)
        assert process.stop() == 0


def test_a_served_ca_in_a_token_enrolls_renews_and_revokes(ca: TokenCa, tmp_path: Path) -> None:
    with (
        CaIdentity(tmp_path / "orders", token=ca.enrollment("orders")) as orders,
        CaIdentity(tmp_path / "payments", token=ca.enrollment("payments")) as payments,
    ):
        first = orders.credential.leaf.serial_number
        orders.renew_now()
        assert orders.problem == ""
        assert orders.credential.leaf.serial_number != first
        ca.command("revoke", f"{first:x}")

        def is_listed() -> bool:
            # Who was revoked, with all that it was renewed to, may be told no more.
            crls = payments.credential.crls
            return crls is not None and any(first in item.revoked for item in crls.crls.values())

        assert eventually(is_listed, 40)
    assert not list((tmp_path / "ca").glob("issuing-*.pem"))


def test_a_revocation_is_told_while_the_token_is_away_and_listed_when_it_is_back(
    ca: TokenCa, tmp_path: Path
) -> None:
    payments = ca.enrollment("payments")
    late = ca.enrollment("late")
    with (
        CaIdentity(tmp_path / "orders", token=ca.enrollment("orders")) as orders,
        CaIdentity(tmp_path / "payments", token=payments) as thief,
    ):
        assert orders.cut_off_since is None
        serial = thief.credential.leaf.serial_number
        issuer = IssuerId.of_ca(thief.credential.chain[1])
        away = ca.token.rename(ca.hsm.folder / "away")
        try:
            with pytest.raises(CaUnreachableError):
                CaIdentity(tmp_path / "late", token=late)
            thief.revoke_own("key-compromise")
            announced = (issuer.key_id, serial)
            assert eventually(lambda: announced in (orders.credential.crls or ()).announced)  # type: ignore[union-attr]
        finally:
            away.rename(ca.token)
        # What could not be signed is asked for again with the same token.
        with CaIdentity(tmp_path / "late", token=late) as identity:
            assert str(identity.spiffe_id) == "spiffe://shop.internal/late"

        def is_listed() -> bool:
            crls = orders.credential.crls
            return crls is not None and serial in crls.crls[issuer].revoked

        assert eventually(is_listed, 40)
