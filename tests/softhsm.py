"""Real PKCS#11 tokens in software (SoftHSM), each in a folder of its own.

Where SoftHSM is not installed, the tests that need it name its package and skip.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from pki.authority import Authority, Issued
from pki.authority.bootstrap import AuthorityPlan
from pki.authority.signers import Pkcs11Uri, TokenAccess
from pki.authority.signers.new_key import KeyPlace
from pki.x509 import WORKLOAD, ChainVerifier, Purpose
from tests.support import SHOP

PIN = "1234"
_MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)


@dataclass(frozen=True)
class SoftHsm:
    """A folder with tokens, and the module that leads there."""

    folder: Path
    module: Path

    @property
    def tokens(self) -> Path:
        return self.folder / "tokens"

    @property
    def access(self) -> TokenAccess:
        return TokenAccess(self.module, PIN)

    @property
    def environment(self) -> dict[str, str]:
        """What another process needs to use the tokens."""
        return {
            "SOFTHSM2_CONF": str(self.folder / "softhsm2.conf"),
            "HANDFAST_PKCS11_MODULE": str(self.module),
            "HANDFAST_PKCS11_PIN": PIN,
        }

    def make_token(self, label: str) -> Pkcs11Uri:
        """Make a token, as whoever owns it does with its own tool."""
        command = ["softhsm2-util", "--init-token", "--free", "--label", label]
        command += ["--pin", PIN, "--so-pin", "12345678"]
        subprocess.run(command, check=True, capture_output=True)
        return Pkcs11Uri(token=label)


def make_softhsm(folder: Path) -> SoftHsm:
    """Make a folder for tokens, and let this process and its children use it."""
    module = next((path for item in _MODULES if (path := Path(item)).exists()), None)
    if module is None or shutil.which("softhsm2-util") is None:
        pytest.skip("SoftHSM is not installed: apt-get install softhsm2")
    hsm = SoftHsm(folder, module)
    hsm.tokens.mkdir(mode=0o700)
    configuration = folder / "softhsm2.conf"
    configuration.write_text(
        f"directories.tokendir = {hsm.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    os.environ["SOFTHSM2_CONF"] = str(configuration)
    return hsm


def plan_of(token: Pkcs11Uri, **options: object) -> AuthorityPlan:
    """Return the plan of a CA whose issuing CA's key lives in a token."""
    return AuthorityPlan(SHOP, issuing_key=KeyPlace(token), **options)  # type: ignore[arg-type]


def verify_issued(ca: Authority, issued: Issued) -> None:
    """Verify what a CA issued, as a receiver does."""
    bundle, crls = ca.trust()
    ChainVerifier(bundle, crls).verify(
        issued.chain, profile=WORKLOAD, purpose=Purpose.SERVER, at=ca.now()
    )


def run_handfast(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command where nobody can be asked."""
    return subprocess.run(
        [sys.executable, "-c", "from pki.cli.entry import main; main()", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
