"""The judge: what it keeps of a caller, and what makes it forget."""

from __future__ import annotations

import gc
import threading
import weakref
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509

from pki.access.authorizer import CallAuthorizer
from pki.access.call_verdict import CallVerdict
from pki.authz import Policy, read_policy
from pki.rpc.server.health_access import HealthAccess, public_methods
from pki.x509 import ChainVerifier, CrlSet, VerifiedChain
from pki.x509.readers import to_pem
from tests.support import NOW, Hierarchy

H = Hierarchy()
LEAF = H.leaf("gateway")
AUTH = {"x509_pem_cert": [to_pem([LEAF])], "x509_pem_cert_chain": [to_pem([LEAF, H.issuing])]}
GET = "/shop.v1.Orders/Get"
BODY = """\
trust_domain = "shop.internal"
[roles]
clerk = ["spiffe://shop.internal/gateway"]
[[grant]]
role = "clerk"
methods = ["/shop.v1.Orders/*"]
"""


class Bench:
    """A judge, and all that it goes by."""

    def __init__(self, policy: str = BODY, health: str = "granted") -> None:
        self.verifier = trusting(H.crls())
        self.policy: Policy | None = read_policy(policy.encode())
        self.now = NOW
        self.authorizer = CallAuthorizer(
            lambda: self.verifier,
            lambda: self.policy,
            lambda: self.now,
            public_methods(HealthAccess(health)),
        )

    def ask(self, method: str = GET, auth: Any = AUTH) -> CallVerdict:
        return self.authorizer.authorize(auth, method)

    def reason(self, method: str = GET, auth: Any = AUTH) -> str:
        refusal = self.ask(method, auth).refusal
        return refusal.name if refusal else "ALLOWED"


def trusting(crls: CrlSet) -> ChainVerifier:
    return ChainVerifier(H.bundle, crls)


def test_an_allowed_call_is_answered_again_from_what_is_kept() -> None:
    bench = Bench()
    first = bench.ask()
    assert first.peer is not None
    assert first.peer.roles == ("clerk",)
    assert bench.ask() is first
    assert bench.ask("/shop.v1.Orders/List") is not first


def test_what_is_kept_goes_with_its_policy() -> None:
    bench = Bench()
    assert bench.reason() == "ALLOWED"
    bench.policy = read_policy(BODY.replace("Orders", "Stock").encode())
    assert bench.reason() == "METHOD_NOT_GRANTED"
    bench.policy = read_policy(BODY.replace("internal/gateway", "internal/other").encode())
    assert bench.reason() == "NO_ROLE"
    bench.policy = None
    assert bench.reason() == "POLICY_UNAVAILABLE"


def test_what_is_kept_goes_with_its_trust() -> None:
    bench = Bench()
    assert bench.reason() == "ALLOWED"
    bench.verifier = trusting(H.crls([LEAF], number=2))
    assert bench.reason() == "CERTIFICATE_REVOKED"


def test_what_is_kept_ends_with_its_time() -> None:
    bench = Bench()
    assert bench.reason() == "ALLOWED"
    bench.now = LEAF.not_valid_after_utc + timedelta(seconds=1)
    assert bench.reason() == "CERTIFICATE_EXPIRED"
    bench.now = LEAF.not_valid_before_utc - timedelta(days=1)
    assert bench.reason() in {"CERTIFICATE_NOT_YET_VALID", "REVOCATION_STALE"}


def test_a_refusal_is_looked_at_again_within_a_second() -> None:
    bench = Bench()
    bench.now = LEAF.not_valid_after_utc + timedelta(seconds=1)
    assert bench.reason() == "CERTIFICATE_EXPIRED"
    bench.now = NOW
    assert bench.reason() == "ALLOWED"


def test_refusals_and_audited_calls_are_decided_anew_each_time() -> None:
    bench = Bench('enforce = "audit"\n' + BODY)
    first = bench.ask("/shop.v1.Stock/Get")
    assert first.audited is not None
    assert first.peer is not None
    assert first.peer.roles == ("clerk",)
    assert bench.ask("/shop.v1.Stock/Get") is not first


def test_methods_that_a_caller_thinks_up_fill_no_memory() -> None:
    bench = Bench()
    kept = bench.ask()
    for number in range(1000):
        assert bench.reason(f"/shop.v1.Orders/M{number}") == "ALLOWED"
    assert bench.ask() is kept
    again = "/shop.v1.Orders/M999"
    assert bench.ask(again) is not bench.ask(again)


def test_public_health_stands_behind_trust_and_policy() -> None:
    check = "/grpc.health.v1.Health/Check"
    bench = Bench(BODY.replace("internal/gateway", "internal/other"), health="public")
    judgement = bench.ask(check)
    assert judgement.decision is not None
    assert judgement.decision.rule == "health = public"
    assert bench.reason("/grpc.health.v1.Health/Reset") == "NO_ROLE"
    bench.policy = None
    assert bench.reason(check) == "POLICY_UNAVAILABLE"
    bench.verifier = trusting(H.crls([LEAF], number=2))
    assert bench.reason(check) == "CERTIFICATE_REVOKED"


def test_a_grant_for_health_gives_its_scopes_where_health_is_public_too() -> None:
    granted = BODY + '[[grant]]\nrole = "clerk"\nmethods = ["/grpc.health.v1.Health/Check"]\n'
    bench = Bench(granted + 'scopes = ["probe"]\n', health="public")
    peer = bench.ask("/grpc.health.v1.Health/Check").peer
    assert peer is not None
    assert peer.scopes == {"probe"}


@pytest.mark.parametrize("auth", [{}, {"x509_pem_cert": []}, {"x509_pem_cert": [b"nonsense"]}])
def test_without_a_certificate_that_can_be_read_nothing_is_allowed(auth: Any) -> None:
    bench = Bench('enforce = "audit"\n' + BODY, health="public")
    for method in (GET, "/grpc.health.v1.Health/Check"):
        assert bench.reason(method, auth) == "CERTIFICATE_INVALID"


class Counting(ChainVerifier):
    """Counts how often it is asked."""

    def __init__(self, crls: CrlSet) -> None:
        super().__init__(H.bundle, crls)
        self.asked = 0

    def verify(self, chain: tuple[x509.Certificate, ...], **how: Any) -> VerifiedChain:  # type: ignore[override]
        self.asked += 1
        return super().verify(chain, **how)


def test_a_revoked_peer_that_calls_each_second_is_verified_once() -> None:
    bench = Bench()
    counting = bench.verifier = Counting(H.crls([LEAF], number=2))
    for _ in range(60):
        assert bench.reason() == "CERTIFICATE_REVOKED"
        bench.now += timedelta(seconds=1)
    assert counting.asked == 1
    bench.verifier = trusting(H.crls(number=3))
    assert bench.reason() == "ALLOWED", "what a new list says counts at once"


def test_a_refusal_that_time_may_mend_is_verified_each_second() -> None:
    bench = Bench()
    counting = bench.verifier = Counting(H.crls())
    bench.now = LEAF.not_valid_before_utc - timedelta(seconds=2)
    assert bench.ask().refusal is not None
    bench.now = LEAF.not_valid_before_utc + timedelta(minutes=1)
    assert bench.reason() == "ALLOWED"
    assert counting.asked == 2


def test_methods_without_end_fill_no_memory() -> None:
    bench = Bench()
    long = "/shop.v1.Orders/" + "M" * 1000
    first = bench.ask(long)
    assert first.refusal is None
    assert bench.ask(long) is not first, "it is allowed, and not kept"


class Slow(ChainVerifier):
    """Verifies by old lists, and is overtaken while it does."""

    def __init__(self) -> None:
        super().__init__(H.bundle, H.crls())
        self.begun, self.go_on = threading.Event(), threading.Event()

    def verify(self, chain: tuple[x509.Certificate, ...], **how: Any) -> VerifiedChain:  # type: ignore[override]
        self.begun.set()
        assert self.go_on.wait(10)
        return super().verify(chain, **how)


def test_a_call_judged_by_old_trust_leaves_nothing_behind_for_the_new() -> None:
    bench = Bench()
    slow = bench.verifier = Slow()
    late = threading.Thread(target=bench.ask)
    late.start()
    assert slow.begun.wait(10)
    bench.verifier = trusting(H.crls([LEAF], number=2))
    assert bench.reason() == "CERTIFICATE_REVOKED"
    slow.go_on.set()
    late.join()
    assert bench.reason() == "CERTIFICATE_REVOKED"


def test_a_call_judged_by_an_old_policy_leaves_nothing_behind_for_the_new() -> None:
    bench = Bench()
    old = bench.policy
    assert bench.reason() == "ALLOWED"
    bench.policy = read_policy(BODY.replace("Orders", "Stock").encode())
    assert bench.reason() == "METHOD_NOT_GRANTED"
    bench.policy = old
    assert bench.reason() == "ALLOWED"


def another() -> dict[str, list[bytes]]:
    leaf = H.leaf("gateway")
    return {"x509_pem_cert": [to_pem([leaf])], "x509_pem_cert_chain": [to_pem([leaf, H.issuing])]}


def test_whoever_has_not_called_for_a_while_is_forgotten_and_read_again() -> None:
    bench = Bench()
    first = bench.ask()
    bench.now += timedelta(minutes=9)
    auth = another()
    kept = bench.ask(auth=auth)
    bench.authorizer.evict_idle()
    assert bench.ask() is first
    bench.now += timedelta(minutes=9)
    assert bench.ask(auth=auth) is kept
    bench.now += timedelta(minutes=1)
    bench.authorizer.evict_idle()
    assert bench.ask(auth=auth) is kept, "who has called since is kept"
    again = bench.ask()
    assert again is not first
    assert again.refusal is None


def test_of_many_callers_those_are_kept_that_call_again_and_again() -> None:
    bench = Bench()
    first = bench.ask()
    bench.now += timedelta(seconds=1)
    for _ in range(64):
        bench.ask(auth=another())
    last = another()
    kept = bench.ask(auth=last)
    bench.now += timedelta(seconds=4)
    bench.authorizer.evict_idle()
    assert bench.ask(auth=last) is kept
    bench.now += timedelta(seconds=1)
    bench.authorizer.evict_idle()
    assert bench.ask() is not first
    assert bench.ask(auth=last) is kept


def test_who_has_a_stream_is_not_read_again_however_seldom_it_calls() -> None:
    bench = Bench()
    first = bench.ask()
    held = bench.authorizer.cached_peer(AUTH)
    for _ in range(64):
        bench.ask(auth=another())
    bench.now += timedelta(minutes=1)
    bench.authorizer.evict_idle()
    assert bench.ask() is first
    assert bench.authorizer.cached_peer(AUTH) is held
    stream_ended = weakref.ref(held)
    del held
    bench.now += timedelta(minutes=11)
    bench.authorizer.evict_idle()
    gc.collect()
    assert stream_ended() is None
    assert bench.ask() is not first


def test_who_has_a_stream_is_judged_by_the_trust_in_force() -> None:
    bench = Bench()
    bench.ask()
    held = bench.authorizer.cached_peer(AUTH)
    for _ in range(64):
        bench.ask(auth=another())
    bench.now += timedelta(minutes=1)
    bench.authorizer.evict_idle()
    bench.verifier = trusting(H.crls([LEAF], number=2))
    assert bench.reason() == "CERTIFICATE_REVOKED"
    assert bench.authorizer.cached_peer(AUTH) is held


def test_a_clock_that_was_set_back_keeps_nobody_for_ever() -> None:
    bench = Bench()
    first = bench.ask()
    bench.now -= timedelta(minutes=5)
    bench.authorizer.evict_idle()
    assert bench.ask() is not first


def test_what_was_said_of_a_caller_keeps_no_old_trust_alive() -> None:
    bench = Bench()
    bench.ask()
    old = weakref.ref(bench.verifier)
    bench.verifier = trusting(H.crls(number=2))
    gc.collect()
    assert old() is None


def test_streams_of_one_peer_share_the_bytes_that_it_chose_to_show() -> None:
    bench = Bench()
    copies = [
        {name: [bytes(bytearray(item)) for item in AUTH[name]] for name in AUTH} for _ in "ab"
    ]
    kept = []
    for auth in copies:
        assert bench.ask(auth=auth).refusal is None
        kept.append(bench.authorizer.cached_peer(auth))
    assert kept[0] is kept[1]
    assert bench.authorizer.reauthorize(kept[0], GET).refusal is None


def test_chains_that_peers_pad_fill_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(AUTH["x509_pem_cert"][0]) + len(AUTH["x509_pem_cert_chain"][0])
    monkeypatch.setattr("pki.access.authorizer._MOST_BYTES", 3 * size + 200)
    bench = Bench()
    first = bench.ask()
    for _ in range(2):
        bench.ask(auth=another())
    assert bench.ask() is first, "three have room"
    for _ in range(3):
        bench.ask(auth=another())
    assert bench.ask() is not first


def test_a_new_list_verifies_one_peer_of_each_issuer_and_asks_about_the_others() -> None:
    bench = Bench()
    peers = [AUTH, *(another() for _ in range(20))]
    for auth in peers:
        assert bench.reason(auth=auth) == "ALLOWED"
    counting = bench.verifier = Counting(H.crls(number=2))
    for auth in peers:
        assert bench.reason(auth=auth) == "ALLOWED"
    assert counting.asked == 1, "the first, for what OpenSSL says of the lists"


def test_a_new_list_refuses_whom_it_revokes_without_verifying_anybody() -> None:
    bench = Bench()
    assert bench.reason() == "ALLOWED"
    counting = bench.verifier = Counting(H.crls([LEAF], number=2))
    assert bench.reason() == "CERTIFICATE_REVOKED"
    assert counting.asked == 0


def test_an_issuing_ca_that_a_new_list_revokes_takes_its_leaves_with_it() -> None:
    bench = Bench()
    assert bench.reason() == "ALLOWED"
    bench.verifier = trusting(H.crls(number=2, root_revoked=[H.issuing]))
    assert bench.reason() == "ISSUER_DISTRUSTED"


def test_a_root_that_is_gone_is_asked_for_again() -> None:
    bench, other = Bench(), Hierarchy()
    assert bench.reason() == "ALLOWED"
    bench.verifier = ChainVerifier(other.bundle, H.crls(number=2))
    assert bench.reason() == "ISSUER_DISTRUSTED"


def test_lists_that_are_withheld_speak_for_nobody() -> None:
    bench = Bench()
    assert bench.reason() == "ALLOWED"
    bench.verifier = ChainVerifier(H.bundle, H.crls(), withheld="nobody can read them")
    assert bench.reason() == "REVOCATION_STALE"
    bench.verifier = trusting(H.crls())
    assert bench.reason() == "ALLOWED"


def test_a_judge_that_fails_refuses_and_the_reason_stays_here() -> None:
    bench = Bench()
    assert bench.reason() == "ALLOWED"
    bench.policy = Broken()  # type: ignore[assignment]
    judgement = bench.ask()
    assert judgement.peer is None
    assert judgement.refusal is not None
    assert judgement.refusal.name == "AUTHORIZATION_ERROR"
    assert "broken" not in judgement.refusal.message
    assert "broken" in judgement.detail


class Broken:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("broken")
