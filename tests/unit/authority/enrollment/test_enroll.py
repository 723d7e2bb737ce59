"""Enrollment by token and by JWT: one use, one key, one answer."""

import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509

from pki.authority.context import AuthorityContext
from pki.authority.enrollment import (
    Enrollment,
    Obtained,
    VerifiedJwt,
    delete_registration,
    enroll,
    revoke_serial,
)
from pki.authority.ledger.proofs import ProofRecords
from pki.authority.registrations import OidcRule, Proof, RecoveryRule
from pki.errors import (
    InputError,
    NotPermittedError,
    NotRegisteredError,
    PkiError,
    ProofRefusedError,
)
from pki.keys import generate_key
from pki.proofs import Purpose, TokenCredential, bind_request
from pki.x509 import read_names
from tests.enrolling import (
    ADMIN,
    Enrolling,
    enrolled,
    mac_key,
    register,
    request_of,
    token_for,
    workload_id,
)
from tests.support import SHOP, Clock


def test_a_token_gives_the_registered_names_and_a_way_to_recover(ca: AuthorityContext) -> None:
    register(ca, "prod/orders", lifetime=timedelta(minutes=30))
    it = Enrolling(ca)
    result = it.enroll(token_for(ca, "prod/orders").credential)
    names = read_names(result.issued.leaf)
    assert str(names.spiffe_id) == "spiffe://shop.internal/prod/orders"
    assert [name.name for name in names.dns_names] == ["orders.prod.shop.internal"]
    assert result.lifetime == timedelta(minutes=30)
    assert result.recoveries_left == 3
    assert result.recovery_id is not None


def test_without_a_recovery_key_there_is_no_recovery(ca: AuthorityContext) -> None:
    register(ca, "orders")
    result = Enrolling(ca, recovery_key=None).enroll(token_for(ca, "orders").credential)
    assert result.recovery_id is None
    assert result.recoveries_left == 0


def test_the_same_request_within_ten_minutes_gets_the_same_certificate(
    ca: AuthorityContext, clock: Clock
) -> None:
    register(ca, "orders")
    token, it = token_for(ca, "orders"), Enrolling(ca)
    first = it.enroll(token.credential)
    clock.move(minutes=9)
    again = it.enroll(token.credential)
    assert again.is_repeated
    assert again.issued.leaf == first.issued.leaf
    clock.move(minutes=2)
    with pytest.raises(ProofRefusedError):
        it.enroll(token.credential)


@pytest.mark.parametrize("changed", ["key", "recovery_key", "no recovery_key"])
def test_a_used_token_gives_nothing_to_another_request(ca: AuthorityContext, changed: str) -> None:
    register(ca, "orders")
    token, it = token_for(ca, "orders"), Enrolling(ca)
    it.enroll(token.credential)
    if changed == "key":
        it.key = generate_key()
    else:
        it.recovery_key = None if changed.startswith("no") else generate_key()
    with pytest.raises(ProofRefusedError, match="was used"):
        it.enroll(token.credential)


def test_a_revoked_certificate_is_not_handed_out_again(ca: AuthorityContext) -> None:
    register(ca, "orders")
    token, it = token_for(ca, "orders"), Enrolling(ca)
    leaf = it.enroll(token.credential).issued.leaf
    revoke_serial(ca, ADMIN, f"{leaf.serial_number:x}", "unspecified")
    with pytest.raises(ProofRefusedError):
        it.enroll(token.credential)


def test_fifty_at_once_with_one_token_get_one_certificate(ca: AuthorityContext) -> None:
    register(ca, "orders")
    token = token_for(ca, "orders")
    barrier = threading.Barrier(50)
    results: list[Obtained | PkiError] = []

    def attempt() -> None:
        it = Enrolling(ca)
        barrier.wait()
        try:
            results.append(it.enroll(token.credential))
        except PkiError as error:
            results.append(error)

    threads = [threading.Thread(target=attempt) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = [item for item in results if isinstance(item, Obtained)]
    lost = [item for item in results if isinstance(item, ProofRefusedError)]
    assert len(won) == 1
    assert len(lost) == 49
    with ca.ledger.transaction() as transaction:
        assert len(transaction.certificates()) == 1


def test_a_token_that_another_transaction_used_in_between_is_refused(
    ca: AuthorityContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ledger that runs several transactions at once lets both read the unused token."""
    register(ca, "orders")
    token = token_for(ca, "orders")
    monkeypatch.setattr(ProofRecords, "use_token", lambda *_, **__: False)
    with pytest.raises(ProofRefusedError):
        Enrolling(ca).enroll(token.credential)
    with ca.ledger.transaction() as transaction:
        assert transaction.certificates() == ()


def test_what_is_wrong_with_a_token_is_told_to_the_log_alone(
    ca: AuthorityContext, clock: Clock
) -> None:
    register(ca, "orders")
    register(ca, "payments")
    token = token_for(ca, "orders").credential
    flipped = bytes([token.secret[0] ^ 1]) + token.secret[1:]
    refused: list[ProofRefusedError] = []

    def attempt(credential: TokenCredential, path: str = "orders") -> None:
        with pytest.raises(ProofRefusedError) as caught:
            Enrolling(ca).enroll(credential, workload_id(path))
        refused.append(caught.value)

    attempt(replace(token, secret=flipped))
    attempt(replace(token, mac=flipped[:16]))
    attempt(TokenCredential.make(b"k" * 32))
    attempt(token, "payments")
    clock.move(minutes=10)
    attempt(token)
    assert len({str(error) for error in refused}) == 1
    assert len({error.cause for error in refused}) == 4
    assert all(flipped.hex() not in error.cause for error in refused)


def test_a_request_is_bound_to_its_token(ca: AuthorityContext) -> None:
    """Who has a token of their own can't use the request, and so the key, of somebody else."""
    register(ca, "orders")
    register(ca, "mallory")
    victim, theirs = generate_key(), token_for(ca, "mallory").credential
    request = request_of(victim)
    mine = token_for(ca, "orders").credential
    seen = bind_request(victim, Purpose.ENROLL, SHOP, proof=mine.id, request=request)
    with pytest.raises(NotPermittedError, match="binds"):
        enroll(ca, Enrollment(theirs, request, seen), mac_key=mac_key(ca))
    Enrolling(ca, key=victim).enroll(mine)


@pytest.mark.parametrize(
    "name",
    [
        x509.DNSName("payments.shop.internal"),
        x509.DNSName("*.shop.internal"),
        x509.UniformResourceIdentifier("spiffe://shop.internal/payments"),
        x509.UniformResourceIdentifier("spiffe://other.internal/orders"),
        x509.IPAddress(__import__("ipaddress").ip_address("10.0.0.1")),
    ],
)
def test_a_request_for_other_names_is_refused_and_the_token_stays_good(
    ca: AuthorityContext, name: x509.GeneralName
) -> None:
    register(ca, "orders")
    token = token_for(ca, "orders").credential
    with pytest.raises(PkiError):
        Enrolling(ca, names=(name,)).enroll(token)
    Enrolling(ca).enroll(token)


def test_the_recovery_key_is_used_for_nothing_else(ca: AuthorityContext) -> None:
    register(ca, "orders")
    key = generate_key()
    with pytest.raises(InputError, match="something else"):
        Enrolling(ca, key=key, recovery_key=key).enroll(token_for(ca, "orders").credential)
    it = enrolled(ca, "orders")
    with pytest.raises(InputError, match="something else"):
        Enrolling(ca, recovery_key=it.recovery_key).enroll(token_for(ca, "orders").credential)
    with pytest.raises(InputError, match="something else"):
        Enrolling(ca, recovery_key=it.key).enroll(token_for(ca, "orders").credential)


def test_a_recovery_key_never_becomes_a_leafs_key(ca: AuthorityContext) -> None:
    it = enrolled(ca, "orders")
    with pytest.raises(NotPermittedError, match="recovery"):
        it.renew(it.recovery_key)


def test_a_deleted_registration_ends_its_tokens(ca: AuthorityContext) -> None:
    register(ca, "orders")
    token = token_for(ca, "orders").credential
    delete_registration(ca, ADMIN, workload_id("orders"))
    register(ca, "orders")
    with pytest.raises(ProofRefusedError):
        Enrolling(ca).enroll(token)


def test_a_registration_without_tokens_gives_none(ca: AuthorityContext) -> None:
    register(ca, "orders", proofs=frozenset({Proof.REGISTRAR}))
    with pytest.raises(NotRegisteredError):
        token_for(ca, "orders")


# JWTs


def jwt(clock: Clock, sub: str = "repo:shop/orders", number: int = 1) -> VerifiedJwt:
    return VerifiedJwt(
        f"https://ci.example {number}",
        b"header.payload.%d" % number,
        "https://ci.example",
        (("aud", "handfast:shop.internal"), ("sub", sub)),
        clock() + timedelta(minutes=5),
        clock(),
    )


RULE = OidcRule("https://ci.example", (("sub", "repo:shop/orders"),))


def test_a_jwt_that_fits_the_rule_enrolls_once(ca: AuthorityContext, clock: Clock) -> None:
    register(ca, "orders", proofs=frozenset({Proof.OIDC}), oidc=RULE)
    it, proof = Enrolling(ca), jwt(clock)
    first = it.enroll(proof, workload_id("orders"))
    assert it.enroll(proof, workload_id("orders")).issued.leaf == first.issued.leaf
    with pytest.raises(ProofRefusedError) as caught:
        Enrolling(ca).enroll(proof, workload_id("orders"))
    assert "used" in caught.value.cause


@pytest.mark.parametrize(
    ("path", "sub"), [("orders", "repo:shop/other"), ("payments", "repo:shop/orders")]
)
def test_a_jwt_for_another_workload_or_name_is_refused_alike(
    ca: AuthorityContext, clock: Clock, path: str, sub: str
) -> None:
    register(ca, "orders", proofs=frozenset({Proof.OIDC}), oidc=RULE)
    with pytest.raises(ProofRefusedError, match="is not accepted for this workload"):
        Enrolling(ca).enroll(jwt(clock, sub), workload_id(path))


def test_a_jwt_does_not_fit_a_registration_by_token(ca: AuthorityContext, clock: Clock) -> None:
    register(ca, "orders")
    with pytest.raises(ProofRefusedError):
        Enrolling(ca).enroll(jwt(clock), workload_id("orders"))


@pytest.mark.parametrize(
    "claims",
    [
        (("sub", "repo:shop/*"),),
        (("repository", "orders"),),
        (("sub", "a"), ("sub", "b")),
        (("sub", ""),),
        (("sub", "a\nb"),),
        (("sub", "x" * 2000),),
    ],
)
def test_a_rule_is_exact_and_names_the_subject(claims: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(InputError):
        OidcRule("https://ci.example", claims)


def test_an_issuer_is_asked_over_tls_alone() -> None:
    with pytest.raises(InputError):
        OidcRule("http://ci.example", (("sub", "a"),))


def test_a_registration_may_forbid_recovery(ca: AuthorityContext) -> None:
    register(ca, "orders", recovery=RecoveryRule(times=0))
    result = Enrolling(ca).enroll(token_for(ca, "orders").credential)
    assert result.recoveries_left == 0
    assert result.recovery_id is None
