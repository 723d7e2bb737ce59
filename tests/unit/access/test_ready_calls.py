"""Answers that are ready: given again while nothing has changed, and never a moment longer."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from pki.access.authorizer import CallAuthorizer
from pki.access.counters import Counters
from pki.access.ready_calls import ReadyCalls
from pki.authz import Policy, read_policy
from pki.clock import seconds_of, system_clock
from pki.credentials.snapshot import Snapshot
from pki.keys import generate_key
from pki.x509 import ChainVerifier, Credential
from pki.x509.readers import to_pem
from tests.support import NOW, Hierarchy

H = Hierarchy()
KEY = generate_key()
LEAF, OTHER = H.leaf("gateway", key=KEY), H.leaf("reports")
GET = "/shop.v1.Orders/Get"
BODY = """\
trust_domain = "shop.internal"
[roles]
clerk = ["spiffe://shop.internal/gateway"]
[[grant]]
role = "clerk"
methods = ["/shop.v1.Orders/*"]
"""


def shown(leaf: Any, *others: Any) -> dict[str, list[bytes]]:
    return {
        "x509_pem_cert": [to_pem([leaf])],
        "x509_pem_cert_chain": [to_pem([leaf, H.issuing, *others])],
    }


AUTH = shown(LEAF)


class Bench:
    """The ready answers of one method, and all that they rest on."""

    def __init__(self, policy: str = BODY) -> None:
        self.in_force: Policy | None = read_policy(policy.encode())
        self.now = NOW
        self.counters = Counters()
        self.counters.register_method(GET)
        self.snapshot = Snapshot(
            1, Credential(KEY, (LEAF, H.issuing), H.bundle, None), self.trusting()
        )
        self.asked = 0

        def now() -> Any:
            self.asked += 1
            return self.now

        self.ready = ReadyCalls(
            GET,
            CallAuthorizer(lambda: self.snapshot.verifier, lambda: self.in_force, now),
            trust=self,
            policy=self,
            seconds=seconds_of(lambda: self.now),
            counters=self.counters,
        )

    def trusting(self, *revoked: Any, number: int = 1) -> ChainVerifier:
        return ChainVerifier(H.bundle, H.crls(revoked, number=number))

    def reason(self, auth: Any = AUTH) -> str:
        verdict = self.ready.get(auth) or self.ready.authorize(auth)
        return verdict.refusal.name if verdict.refusal else "ALLOWED"

    def is_ready(self, auth: Any = AUTH) -> bool:
        return self.ready.get(auth) is not None


def test_a_repeated_call_is_answered_without_the_authorizer_and_counted() -> None:
    bench = Bench()
    assert not bench.is_ready()
    assert bench.reason() == "ALLOWED"
    asked = bench.asked
    verdicts = [bench.ready.get(AUTH) for _ in range(3)]
    assert verdicts[0] is not None
    assert verdicts[0].peer is not None
    assert verdicts[0].peer.roles == ("clerk",)
    assert bench.asked == asked
    assert bench.counters.decisions() == {(GET, "clerk", "ALLOWED"): 3}


def test_it_goes_with_its_policy() -> None:
    bench = Bench()
    bench.reason()
    bench.in_force = read_policy(BODY.replace("Orders", "Stock").encode())
    assert not bench.is_ready()
    assert bench.reason() == "METHOD_NOT_GRANTED"
    bench.in_force = None
    assert bench.reason() == "POLICY_UNAVAILABLE"


def test_it_goes_with_its_trust() -> None:
    bench = Bench()
    bench.reason()
    bench.snapshot = replace(bench.snapshot, verifier=bench.trusting(LEAF, number=2))
    assert not bench.is_ready()
    assert bench.reason() == "CERTIFICATE_REVOKED"


@pytest.mark.parametrize(
    "at", [LEAF.not_valid_after_utc + timedelta(seconds=1), NOW - timedelta(days=365 * 30)]
)
def test_it_ends_with_its_time(at: Any) -> None:
    bench = Bench()
    bench.reason()
    bench.now = at
    assert not bench.is_ready()
    assert bench.reason() != "ALLOWED"
    assert not bench.is_ready(), "a refusal is not kept"


@pytest.mark.parametrize(
    "auth",
    [
        {},
        {"x509_pem_cert": []},
        {"x509_pem_cert": AUTH["x509_pem_cert"]},
        {**AUTH, "x509_pem_cert_chain": []},
        {**AUTH, "x509_pem_cert_chain": [AUTH["x509_pem_cert_chain"][0] + b"\n"]},
        {**AUTH, "x509_pem_cert_chain": shown(OTHER)["x509_pem_cert_chain"]},
        shown(OTHER),
        shown(LEAF, H.issuing),
    ],
    ids=range(8),
)
def test_it_is_for_the_same_bytes_alone(auth: Any) -> None:
    bench = Bench()
    bench.reason()
    assert not bench.is_ready(auth)
    assert bench.is_ready()


def test_what_is_not_enforced_is_not_kept() -> None:
    bench = Bench('enforce = "audit"\n' + BODY.replace("Orders", "Stock"))
    assert bench.reason() == "ALLOWED"
    assert not bench.is_ready()


def test_a_clock_that_fails_has_nothing_ready() -> None:
    bench = Bench()
    bench.reason()
    bench.now = None  # type: ignore[assignment]
    assert not bench.is_ready()
    assert bench.reason() == "AUTHORIZATION_ERROR"


def test_a_change_while_a_call_is_authorized_keeps_nothing_that_is_past() -> None:
    bench = Bench()
    before = bench.snapshot
    after = replace(before, verifier=bench.trusting(LEAF, number=2))
    authorizer = bench.ready._authorizer
    decide = authorizer.authorize_on_basis

    def changing(auth: Any, method: str) -> Any:
        result = decide(auth, method)
        bench.snapshot = after
        return result

    authorizer.authorize_on_basis = changing  # type: ignore[method-assign]
    bench.reason()
    assert not bench.is_ready()


def test_it_is_forgotten() -> None:
    bench = Bench()
    bench.reason()
    bench.ready.forget()
    assert not bench.is_ready()


def test_the_system_clock_is_read_as_seconds() -> None:
    assert abs(seconds_of(system_clock)() - system_clock().timestamp()) < 60
    assert seconds_of(lambda: NOW)() == NOW.timestamp()
