"""No order of a root rotation's steps at a served CA leads to two good workloads that can't talk.

Real identities follow a real CA, which comes and goes. They restart, sleep past their certificates,
and come back by themselves. ``test_root_rotation_property.py`` tries many more
orders, without the network.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pki.authority import Authority
from pki.authority.registrations import RecoveryRule
from pki.ca_client import CaIdentity
from pki.clock import system_clock
from pki.errors import CaUnreachableError, PkiError, StateError
from pki.proofs import EnrollmentToken
from pki.x509 import WORKLOAD, ChainVerifier, Purpose, RevocationMode
from tests.ca_service import Served, served_ca
from tests.interop.shop import eventually, free_port

NAMES = ("orders", "payments", "audit")
names = st.sampled_from(NAMES)
LIFETIME = timedelta(seconds=8)
MANY = RecoveryRule(1000, timedelta(days=1), timedelta(days=1))


class ServedRotation(RuleBasedStateMachine):
    """A served CA, three identities, and everybody's steps in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.ports = free_port(), free_port()
        self.serving = ExitStack()
        self.ca: Served | None = None
        self.identities: dict[str, CaIdentity] = {}

    def teardown(self) -> None:
        for identity in self.identities.values():
            identity.close()
        self.serving.close()
        shutil.rmtree(self.folder)

    @initialize()
    def begin(self) -> None:
        self.ca_comes()
        assert self.ca is not None
        for name in NAMES:
            self.ca.register(name, lifetime=LIFETIME, recovery=MANY)
            token = EnrollmentToken.parse(self.ca.token(name))
            self.identities[name] = CaIdentity(self.folder / name, token=token)

    # The operator, on the CA's machine: also while the CA is not served.

    def step(self, step: str) -> None:
        with Authority.open(self.folder / "ca") as authority, suppress(StateError):
            if step == "prepare":
                authority.prepare_root()
            elif step == "activate":
                authority.activate_root()
            else:
                authority.withdraw_root()

    @rule()
    def next_step(self) -> None:
        with Authority.open(self.folder / "ca", read_only=True) as authority:
            found = {item.status.value for item in authority.issuers() if item.kind.value == "root"}
        if "prepared" in found:
            self.step("activate")
        else:
            self.step("withdraw" if "superseded" in found else "prepare")

    @rule(step=st.sampled_from(["prepare", "activate", "withdraw"]))
    def any_step(self, step: str) -> None:
        self.step(step)

    @precondition(lambda self: self.ca is None)
    @rule()
    def ca_comes(self) -> None:
        self.ca = self.serving.enter_context(served_ca(self.folder, ports=self.ports))

    @precondition(lambda self: self.ca is not None)
    @rule()
    def ca_goes(self) -> None:
        self.serving.close()
        self.serving = ExitStack()
        self.ca = None

    # The workloads

    @rule(seconds=st.sampled_from([0.2, 1.0, 3.0]))
    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    @rule(name=names)
    def restart(self, name: str) -> None:
        self.stop(name)
        self.start(name)

    @rule(name=names)
    def sleep(self, name: str) -> None:
        """Sleep past the certificate, and wake later."""
        self.stop(name)

    @rule(name=names)
    def wake(self, name: str) -> None:
        if name not in self.identities:
            self.start(name)

    def stop(self, name: str) -> None:
        if name in self.identities:
            self.identities.pop(name).close()

    def start(self, name: str) -> None:
        try:
            self.identities[name] = CaIdentity(self.folder / name)
        except (CaUnreachableError, StateError) as error:
            # Its certificate has ended, and the CA is not there, or not there yet.
            if self.ca is not None and not any(word in str(error) for word in ("can't", "no TLS")):
                raise

    @invariant()
    def all_good_ones_verify_each_other(self) -> None:
        now = system_clock()
        held = {name: item.credential for name, item in self.identities.items()}
        for one in held.values():
            verifier = ChainVerifier(one.bundle, one.crls, mode=RevocationMode.REQUIRED)
            for other in held.values():
                if other.leaf.not_valid_after_utc > now + timedelta(seconds=0.5):
                    verifier.verify(other.chain, profile=WORKLOAD, purpose=Purpose.SERVER, at=now)

    def finish(self) -> None:
        """However it came to be: with the CA there, all come back, and a rotation ends."""
        if self.ca is None:
            self.ca_comes()
        for name in NAMES:
            eventually(lambda name=name: self.is_back(name), 20)  # type: ignore[misc]
            assert self.is_back(name), self.identities[name].problem
        self.all_good_ones_verify_each_other()

    def is_back(self, name: str) -> bool:
        if name not in self.identities:
            with suppress(PkiError):
                self.identities[name] = CaIdentity(self.folder / name)
            return False
        identity = self.identities[name]
        if identity.problem:
            # It would try by itself too, after a pause that grew while the CA was away.
            identity.renew_now()
        return identity.credential.leaf.not_valid_after_utc > system_clock() + LIFETIME / 4


class _Finishing(ServedRotation):
    def teardown(self) -> None:
        try:
            if self.identities or self.ca is not None:
                self.finish()
        finally:
            super().teardown()


TestServedRotation = _Finishing.TestCase
TestServedRotation.settings = settings(
    max_examples=2,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    # To shrink a failure would take longer than a test may take.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
