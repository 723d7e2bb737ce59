"""A key belongs to one workload for good, and to none once it has leaked."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pki.authority import Authority
from pki.authority.directory import AuthorityDirectory
from pki.errors import LedgerError, NotPermittedError
from pki.keys import KeyType, PrivateKey, generate_key, public_key_fingerprint, secret_fingerprint
from tests.older_ledger import make_older
from tests.support import Clock, make_authority, request_for


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ca(tmp_path: Path, clock: Clock) -> Iterator[Authority]:
    with make_authority(tmp_path, clock) as made:
        yield made


def csr(key: PrivateKey) -> bytes:
    return request_for(key).public_bytes(serialization.Encoding.PEM)


def with_another_exponent(key: PrivateKey) -> PrivateKey:
    """Make another key pair that follows from the same secret."""
    assert isinstance(key, rsa.RSAPrivateKey)
    old = key.private_numbers()
    exponent = next(
        number
        for number in range(65539, 70000, 2)
        if (old.p - 1) % number and (old.q - 1) % number and is_prime(number)
    )
    d = pow(exponent, -1, (old.p - 1) * (old.q - 1))
    return rsa.RSAPrivateNumbers(
        p=old.p,
        q=old.q,
        d=d,
        dmp1=rsa.rsa_crt_dmp1(d, old.p),
        dmq1=rsa.rsa_crt_dmq1(d, old.q),
        iqmp=rsa.rsa_crt_iqmp(old.p, old.q),
        public_numbers=rsa.RSAPublicNumbers(exponent, old.public_numbers.n),
    ).private_key()


def is_prime(number: int) -> bool:
    return all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def mirrored(key: PrivateKey) -> PrivateKey:
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    return ec.derive_private_key(order - key.private_numbers().private_value, ec.SECP256R1())


def test_a_workload_may_bring_its_own_key_again(ca: Authority, clock: Clock) -> None:
    key = generate_key()
    first = ca.issue_request("orders", csr(key))
    clock.move(minutes=11)
    second = ca.issue_request("orders", csr(key))
    assert second.leaf != first.leaf
    assert second.leaf.public_key() == first.leaf.public_key()


def test_a_key_of_one_workload_is_never_certified_for_another(ca: Authority, clock: Clock) -> None:
    key = generate_key()
    ca.issue_request("orders", csr(key))
    payments = ca.issue("payments")
    clock.move(days=30)  # not even after all of its certificates have ended
    with pytest.raises(NotPermittedError, match=r"belongs to spiffe://shop\.internal/orders"):
        ca.issue_request("payments", csr(key))
    clock.move(days=-30)
    with pytest.raises(NotPermittedError, match="belongs to"):
        ca.renew(payments.leaf, key=key)
    assert len(ca.certificates(with_ended=True)) == 2


def test_a_key_revoked_for_compromise_is_refused_for_good_by_every_way(
    ca: Authority, clock: Clock
) -> None:
    key = generate_key()
    ca.revoke(ca.issue_request("orders", csr(key)).leaf.serial_number, reason="key-compromise")
    other = ca.issue("orders")
    clock.move(minutes=20)
    ways: list[Callable[[], object]] = [
        lambda: ca.issue_request("orders", csr(key)),
        lambda: ca.issue_request("payments", csr(key)),
        lambda: ca.renew(other.leaf, key=key),
        lambda: ca.renew(other.leaf, public_key=key.public_key()),
    ]
    for way in ways:
        with pytest.raises(NotPermittedError, match="key-compromise"):
            way()
    clock.move(days=300)
    with pytest.raises(NotPermittedError, match="key-compromise"):
        ca.issue_request("orders", csr(key))


def test_a_key_revoked_for_another_reason_may_come_again(ca: Authority, clock: Clock) -> None:
    key = generate_key()
    ca.revoke(ca.issue_request("orders", csr(key)).leaf.serial_number, reason="superseded")
    clock.move(minutes=11)
    assert ca.issue_request("orders", csr(key)).leaf.public_key() == key.public_key()


def test_compromise_told_after_another_reason_still_shuts_the_key_out(
    ca: Authority, clock: Clock
) -> None:
    key = generate_key()
    serial = ca.issue_request("orders", csr(key)).leaf.serial_number
    ca.revoke(serial, reason="superseded")
    ca.revoke(serial, reason="key-compromise")
    clock.move(minutes=11)
    with pytest.raises(NotPermittedError, match="key-compromise"):
        ca.issue_request("orders", csr(key))


def test_a_compromised_keys_other_certificates_are_revoked_with_it(
    ca: Authority, clock: Clock
) -> None:
    key = generate_key()
    first = ca.issue_request("orders", csr(key))
    clock.move(minutes=11)
    second = ca.issue_request("orders", csr(key))
    follower = ca.renew(second.leaf)
    hit = ca.revoke(first.leaf.serial_number, reason="key-compromise")
    assert {item.certificate for item in hit} == {first.leaf, second.leaf, follower.leaf}
    _, crls = ca.trust()
    listed = frozenset().union(*(item.revoked for item in crls.crls.values()))
    assert listed == {item.serial_number for item in (first.leaf, second.leaf, follower.leaf)}


def test_other_public_keys_of_one_secret_are_the_same_key(ca: Authority) -> None:
    for kind, other in (
        (KeyType.RSA_3072, with_another_exponent),
        (KeyType.ECDSA_P256, mirrored),
    ):
        key = generate_key(kind)
        twin = other(key)
        assert public_key_fingerprint(twin.public_key()) != public_key_fingerprint(key.public_key())
        assert secret_fingerprint(twin.public_key()) == secret_fingerprint(key.public_key())
        name = f"orders-{kind}"
        ca.revoke(ca.issue_request(name, csr(key)).leaf.serial_number, reason="key-compromise")
        with pytest.raises(NotPermittedError, match="key-compromise"):
            ca.issue_request(name, csr(twin))


def test_a_cas_key_is_never_a_leafs_not_even_after_distrust(ca: Authority, tmp_path: Path) -> None:
    key_id = ca.issuers()[1].key_id
    pem = (tmp_path / "ca" / f"issuing-{key_id}.key.pem").read_bytes()
    key = serialization.load_pem_private_key(pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    ca.distrust(key_id)
    ca.rotate()
    for bad in (key, mirrored(key)):
        with pytest.raises(NotPermittedError, match="CA's own"):
            ca.issue_request("orders", csr(bad))


def test_a_leafs_key_is_never_an_issuing_cas(
    ca: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = generate_key()
    ca.issue_request("orders", csr(key))
    monkeypatch.setattr("pki.authority.signers.new_key.generate_key", lambda _: key)
    with pytest.raises(NotPermittedError, match="leaf"):
        ca.rotate()
    assert len(ca.issuers()) == 2


def make_first_ledger_with_duplicates(home: Path, *, reason: str | None) -> None:
    """Make a ledger of the first schema, with the key of orders certified for payments too."""
    connection = sqlite3.connect(home / "ledger.db")
    connection.execute(
        "UPDATE certificates SET key_fingerprint = (SELECT key_fingerprint FROM certificates LIMIT "
        "1), certificate = (SELECT certificate FROM certificates LIMIT 1) "
        "WHERE spiffe_id LIKE '%payments'"
    )
    if reason:
        connection.execute(
            "UPDATE certificates SET revoked_at = issued_at, reason = ? WHERE spiffe_id LIKE "
            "'%orders'",
            (reason,),
        )
    connection.commit()
    connection.close()
    make_older(home, "0001")


@pytest.mark.sqlite
def test_duplicates_of_an_older_ledger_are_migrated_with_a_warning(
    tmp_path: Path, clock: Clock
) -> None:
    key = generate_key()
    with make_authority(tmp_path, clock) as ca:
        ca.issue_request("orders", csr(key))
        ca.issue("payments")
    make_first_ledger_with_duplicates(tmp_path / "ca", reason=None)
    with Authority.open(tmp_path / "ca", clock=clock) as ca:
        (warning,) = ca.migration_warnings()
        assert "spiffe://shop.internal/payments has a key of spiffe://shop.internal/orders" in (
            warning
        )
        with pytest.raises(NotPermittedError, match=r"belongs to spiffe://shop\.internal/orders"):
            ca.issue_request("payments", csr(key))
        clock.move(minutes=11)
        ca.issue_request("orders", csr(key))
        ca.issue("payments")
    with Authority.open(tmp_path / "ca", clock=clock) as ca:
        assert ca.migration_warnings() == ()
        assert [kind for _, kind, _ in ca.events()] == ["shared-key"]


@pytest.mark.sqlite
def test_a_key_that_leaked_before_the_migration_is_refused_after_it(
    tmp_path: Path, clock: Clock
) -> None:
    key = generate_key()
    with make_authority(tmp_path, clock) as ca:
        ca.issue_request("orders", csr(key))
        ca.issue("payments")
    make_first_ledger_with_duplicates(tmp_path / "ca", reason="keyCompromise")
    with Authority.open(tmp_path / "ca", clock=clock) as ca:
        assert any("revoke it too" in item for item in ca.migration_warnings())
        clock.move(minutes=11)
        with pytest.raises(NotPermittedError, match="key-compromise"):
            ca.issue_request("orders", csr(key))


@pytest.mark.sqlite
def test_a_migration_that_is_cut_off_is_done_at_the_next_opening(tmp_path: Path) -> None:
    # SQLite's schema changes are part of the transaction.
    with make_authority(tmp_path) as ca:
        ca.issue("orders")
        ca.issue("payments")
    make_first_ledger_with_duplicates(tmp_path / "ca", reason=None)
    connection = sqlite3.connect(tmp_path / "ca" / "ledger.db")
    good = connection.execute("SELECT certificate FROM certificates").fetchone()[0]
    connection.execute("UPDATE certificates SET certificate = x'30'")
    connection.commit()
    with pytest.raises(LedgerError, match="decoded"):
        AuthorityDirectory(tmp_path / "ca").home.open()
    connection.execute("UPDATE certificates SET certificate = ?", (good,))
    connection.commit()
    connection.close()
    with Authority.open(tmp_path / "ca", clock=Clock()) as ca:
        assert len(ca.certificates()) == 2
