"""A CA that is served as a process, whose issuing CA's key lives in a PKCS#11 token."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pki.ca_client import CaIdentity
from pki.errors import CaUnreachableError
from pki.proofs import EnrollmentToken
from pki.x509.revocation import IssuerId
from tests.interop.shop import eventually
from tests.served_process import MAIN, SECONDS, Running, running
from tests.softhsm import PIN, SoftHsm, run_handfast
from tests.worker_processes import workers_of

SERVE = ("ca", "serve", "--listen=127.0.0.1:0", "--enroll-listen=127.0.0.1:0")


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


@pytest.fixture(params=["--workers=1", "--workers=2"])
def ca(request: pytest.FixtureRequest, tmp_path: Path, softhsm: SoftHsm) -> Iterator[TokenCa]:
    before = set(softhsm.tokens.iterdir())
    label = softhsm.make_token(f"served-{tmp_path.name[-12:]}").token
    (folder,) = set(softhsm.tokens.iterdir()) - before
    environment = {**softhsm.environment, "HANDFAST_DIR": str(tmp_path)}
    done = run_handfast(
        environment,
        *("ca", "init", "--trust-domain", "shop.internal", f"--key=pkcs11:token={label}"),
    )
    assert done.returncode == 0, done.stderr
    serve = (*SERVE, request.param)
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


# Of a new session, whose terminal its standard input shall be.
AT_TERMINAL = f"import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); {MAIN}"


def test_a_pin_is_typed_once_for_all_workers(tmp_path: Path, softhsm: SoftHsm) -> None:
    label = softhsm.make_token(f"typed-{tmp_path.name[-12:]}").token
    environment = {**softhsm.environment, "HANDFAST_DIR": str(tmp_path)}
    done = run_handfast(
        environment,
        *("ca", "init", "--trust-domain", "shop.internal", f"--key=pkcs11:token={label}"),
    )
    assert done.returncode == 0, done.stderr
    del environment["HANDFAST_PKCS11_PIN"]
    keyboard, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", AT_TERMINAL, *SERVE, "--workers=2"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, **environment},
        start_new_session=True,
    ) as process:
        os.close(terminal)
        try:
            shown = read_until(keyboard, b"PIN of the token")
            os.write(keyboard, PIN.encode() + b"\n")
            shown += read_until(keyboard, b"Serving the CA")
            assert shown.count(b"PIN of the token") == 1
            assert PIN.encode() not in shown
            for pid in (process.pid, *workers_of(process.pid)):
                for file in ("cmdline", "environ"):
                    assert b"PIN=" not in Path(f"/proc/{pid}/{file}").read_bytes()
            # Ctrl-C is for the supervisor, which ends the others in order.
            os.write(keyboard, b"\x03")
            read_until(keyboard, b"Ending: no new calls")
            assert process.wait(SECONDS) == 0
        finally:
            process.kill()
            os.close(keyboard)


def read_until(keyboard: int, words: bytes) -> bytes:
    """Return what is shown on a terminal, up to some words."""
    shown, end = b"", time.monotonic() + SECONDS
    while words not in shown:
        assert select.select([keyboard], [], [], max(0.0, end - time.monotonic()))[0], shown
        shown += os.read(keyboard, 4096)
    return shown
