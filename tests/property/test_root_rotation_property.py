"""No order of a root rotation's steps leads to two good workloads that can't verify each other.

The workloads take up bundles late, lose answers, restart, sleep past their certificate and come
back. The steps are tried at any time, and never forced.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pki.authority import Authority, Issued
from pki.errors import StateError
from pki.identity import SpiffeId
from pki.keys import PrivateKey, generate_key
from pki.x509 import WORKLOAD, ChainVerifier, CrlSet, Purpose, TrustBundle
from pki.x509.bundle_chain import SignedBundle, follow
from tests.support import SHOP, Clock

NAMES = ("orders", "payments", "audit")
names = st.sampled_from(NAMES)


@dataclass
class Workload:
    """What a workload uses, and what of it is on its disk."""

    issued: Issued
    bundle: SignedBundle
    trust: tuple[TrustBundle, CrlSet]
    next_key: PrivateKey | None = None
    on_disk: tuple[Issued, SignedBundle, tuple[TrustBundle, CrlSet]] | None = None

    def save(self) -> None:
        """Write everything to the disk, as an agent does before it reports."""
        self.on_disk = self.issued, self.bundle, self.trust


class RootRotation(RuleBasedStateMachine):
    """A CA, three workloads, and everybody's steps in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.ca = Authority.ephemeral(SHOP, clock=self.clock)
        self.workloads: dict[str, Workload] = {}
        self.withdrawn = 0

    def teardown(self) -> None:
        self.ca.close()

    @initialize()
    def begin(self) -> None:
        for name in NAMES:
            (*_, newest) = self.ca.bundles()
            self.workloads[name] = Workload(self.ca.issue(name), newest, self.ca.trust())
            self.workloads[name].save()

    # The operator

    def prepare(self) -> None:
        with suppress(StateError):
            self.ca.prepare_root()

    def activate(self) -> None:
        with suppress(StateError):
            self.ca.activate_root()

    def withdraw(self) -> None:
        with suppress(StateError):
            self.ca.withdraw_root()

    @rule()
    def next_step(self) -> None:
        statuses = {item.status.value for item in self.ca.issuers() if item.kind.value == "root"}
        if "prepared" in statuses:
            self.activate()
        elif "superseded" in statuses:
            self.withdraw()
        else:
            self.prepare()

    @rule(step=st.sampled_from(["prepare", "activate", "withdraw"]))
    def any_step(self, step: str) -> None:
        getattr(self, step)()

    @rule()
    def give_up(self) -> None:
        prepared = [
            item
            for item in self.ca.issuers()
            if (item.kind.value, item.status.value) == ("root", "prepared")
        ]
        if prepared:
            self.ca.withdraw_root(prepared[0].key_id)

    @rule(minutes=st.sampled_from([1, 20, 45, 70]))
    def wait(self, minutes: int) -> None:
        self.clock.move(minutes=minutes)
        self.ca.refresh_crls()

    # The workloads

    def is_good(self, name: str) -> bool:
        return self.clock.at <= self.workloads[name].issued.leaf.not_valid_after_utc

    def take_trust(self, name: str) -> None:
        """Take up the newest bundle by its chain, as a follower does; an older one is verified."""
        me = self.workloads[name]
        me.bundle = follow(me.bundle, self.ca.bundles(since=me.bundle.number), now=self.clock.at)
        me.trust = me.bundle.content.to_trust_bundle(), self.ca.trust()[1]

    @rule(some=st.sets(names))
    def update_some(self, some: set[str]) -> None:
        for name in sorted(some):
            self.update_and_report(name)

    def update_and_report(self, name: str) -> None:
        self.take_trust(name)
        me = self.workloads[name]
        me.save()
        serial = f"{me.issued.leaf.serial_number:x}"
        if self.is_good(name):
            spiffe_id = SpiffeId.of_path(SHOP, name)
            self.ca.report_trust([(spiffe_id, serial)], me.bundle.number)

    @rule(name=names)
    def update_in_silence(self, name: str) -> None:
        self.take_trust(name)

    @rule(name=names)
    def restart(self, name: str) -> None:
        """Go back to what is on the disk: a bundle that was taken up in silence is lost."""
        me = self.workloads[name]
        assert me.on_disk is not None
        me.issued, me.bundle, me.trust = me.on_disk

    @rule(name=names, is_lost=st.booleans())
    def renew(self, name: str, is_lost: bool) -> None:
        """Renew, or lose the answer and go on with what is there; or come back after a sleep."""
        me = self.workloads[name]
        if not self.is_good(name):
            issued = self.ca.issue(name)
            me.next_key = None
        else:
            me.next_key = me.next_key or generate_key()
            issued = self.ca.renew(me.issued.leaf, key=me.next_key)
        if not is_lost:
            self.take_trust(name)
            assert set(me.trust[0].all_roots()) == set(issued.bundle.all_roots())
            me.issued, me.next_key = issued, None
            me.save()

    @invariant()
    def all_good_ones_verify_each_other(self) -> None:
        good = [item for name, item in self.workloads.items() if self.is_good(name)]
        for one in good:
            verifier = ChainVerifier(*one.trust)
            for other in good:
                verifier.verify(
                    other.issued.chain, profile=WORKLOAD, purpose=Purpose.SERVER, at=self.clock.at
                )

    @invariant()
    def the_newest_bundle_is_what_the_ca_publishes(self) -> None:
        (*_, newest) = self.ca.bundles()
        assert set(newest.content.roots) == set(self.ca.trust()[0].all_roots())


TestRootRotation = RootRotation.TestCase
TestRootRotation.settings = settings(
    max_examples=12,
    stateful_step_count=40,
    deadline=None,
    # To shrink a failure would take longer than a test may take.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


def test_the_machine_comes_through_a_whole_rotation() -> None:
    """The rules above reach each step; otherwise the machine would prove nothing."""
    machine = RootRotation()
    try:
        machine.begin()
        for _ in range(2):
            machine.prepare()
            for name in NAMES:
                machine.update_and_report(name)
            machine.activate()
            for name in NAMES:
                machine.renew(name, is_lost=False)
            machine.clock.move(minutes=50)
            for name in NAMES:
                machine.renew(name, is_lost=False)
            machine.clock.move(minutes=20)
            machine.withdraw()
            machine.all_good_ones_verify_each_other()
        assert len(machine.ca.bundles()) == 5
    finally:
        machine.teardown()
