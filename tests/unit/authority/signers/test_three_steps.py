"""What an external signer signs: recorded as an intent before, and decided anew after."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from pki.authority import Authority
from pki.authority.ledger import SigningIntent
from pki.authority.orders import order_leaf
from pki.authority.publishing.refreshing import sign_missing
from pki.authority.signers import ExternalSigner, SignerError
from pki.authority.signers.planned import PlannedCertificate
from pki.errors import InputError, LedgerError, NotPermittedError
from pki.identity import DnsName
from pki.keys import DelegatedKey, IdentifiedKey, PrivateKey, delegated_key, generate_key
from pki.x509 import WORKLOAD
from tests.command import Capture, run_command, run_json
from tests.support import SHOP, Clock, make_authority, request_for, validity


class Elsewhere(ExternalSigner):
    """Signs outside the CA's transactions; tells what it was asked, and runs something before."""

    file_suffix = ".toml"
    place = "elsewhere"

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._secret = key
        self.asked: list[str] = []
        self.before: Callable[[], object] = lambda: None

    @property
    def key(self) -> DelegatedKey:
        return delegated_key(self._secret.public_key(), self.sign)

    def connect(self) -> None: ...

    def discard(self) -> None: ...

    def file_contents(self) -> bytes:
        raise AssertionError

    def sign(self, data: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
        self.asked.append(hashlib.sha256(data).hexdigest())
        before, self.before = self.before, lambda: None
        before()
        return self._secret.sign(data, ec.ECDSA(algorithm))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ca(tmp_path: Path, clock: Clock) -> Iterator[Authority]:
    with make_authority(tmp_path / "certs", clock) as made:
        yield made


@pytest.fixture
def signer(ca: Authority) -> Elsewhere:
    """Let the issuing CA's key be elsewhere."""
    record = ca.issuers()[1]
    with ca._context.ledger.transaction():
        key = ca._context.issuing_ca(record).key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    made = Elsewhere(key)
    ca._context._signers[record.key_id] = made
    return made


def test_the_intent_is_committed_before_the_signature(ca: Authority, signer: Elsewhere) -> None:
    seen: list[SigningIntent] = []

    def look() -> None:
        with Authority.open(ca.path, clock=Clock(), read_only=True) as other:
            seen.extend(other.signing_intents())

    signer.before = look
    issued = ca.issue("orders")
    (intent,) = seen
    assert intent.serial == f"{issued.leaf.serial_number:x}"
    assert intent.tbs_sha256 == signer.asked[0]
    tbs = hashlib.sha256(issued.leaf.tbs_certificate_bytes).hexdigest()
    assert tbs == signer.asked[0]
    assert intent.names == (
        "orders.shop.internal",
        "CN=orders,O=shop.internal",
    )
    assert ca.signing_intents() == ()


def test_nobody_waits_for_the_signature(ca: Authority, signer: Elsewhere) -> None:
    def write_at_once() -> None:
        connection = sqlite3.connect(ca.path / "ledger.db", timeout=0)
        connection.execute("BEGIN IMMEDIATE")
        connection.rollback()
        connection.close()

    signer.before = write_at_once
    ca.issue("orders")
    assert len(signer.asked) == 1


def fail() -> None:
    raise SignerError("the token is on fire")


def intent_left(ca: Authority, signer: Elsewhere) -> int:
    signer.before = fail
    with pytest.raises(SignerError, match="on fire"):
        ca.issue("orders")
    (intent,) = ca.signing_intents()
    return int(intent.serial, 16)


def listed(ca: Authority) -> set[int]:
    _, crls = ca.trust()
    return {number for item in crls.crls.values() for number in item.revoked}


def test_what_was_perhaps_signed_is_revoked_by_its_number(ca: Authority, signer: Elsewhere) -> None:
    number = intent_left(ca, signer)
    assert ca.revoke(number) == ()
    assert number in listed(ca)
    (intent,) = ca.signing_intents()
    assert intent.revoked_at == ca.now()
    ca.revoke(number)
    ca.refresh_crls(force=True)
    assert number in listed(ca)


def test_revoking_a_workload_means_what_was_perhaps_signed_for_it_too(
    ca: Authority, signer: Elsewhere
) -> None:
    number = intent_left(ca, signer)
    assert ca.revoke_workload("orders") == ()
    assert number in listed(ca)
    with pytest.raises(InputError, match="no certificate that is still valid"):
        ca.revoke_workload("payments")


def test_where_lists_are_signed_later_that_of_an_intent_is_too(
    ca: Authority, signer: Elsewhere
) -> None:
    number = intent_left(ca, signer)
    ca.context.signs_lists_later = True
    ca.revoke(number)
    assert number not in listed(ca)
    sign_missing(ca.context)
    assert number in listed(ca)


def test_an_intent_of_a_distrusted_issuing_ca_needs_no_key_to_be_revoked(
    ca: Authority, signer: Elsewhere
) -> None:
    number = intent_left(ca, signer)
    leaked = ca.issuers()[1]
    ca.rotate()
    ca.distrust(leaked.key_id)
    (ca.path / f"issuing-{leaked.key_id}.key.pem").unlink()
    ca.context._signers.clear()
    assert ca.revoke(number) == ()
    (intent,) = ca.signing_intents()
    assert intent.revoked_at is not None


def test_the_key_of_a_leaked_intent_is_never_certified(ca: Authority, signer: Elsewhere) -> None:
    request = request_for(generate_key()).public_bytes(Encoding.PEM)
    signer.before = fail
    with pytest.raises(SignerError):
        ca.issue_request("orders", request)
    (intent,) = ca.signing_intents()
    ca.revoke(intent.serial, reason="key-compromise")
    with pytest.raises(NotPermittedError, match="never certified again"):
        ca.issue_request("orders", request)


def test_a_name_is_held_for_what_was_perhaps_signed(ca: Authority, signer: Elsewhere) -> None:
    intent_left(ca, signer)
    assert ca.issue("orders").leaf is not None
    assert len(ca.signing_intents()) == 1


def test_a_certificate_that_was_revoked_while_it_was_signed_is_not_handed_out(
    ca: Authority, signer: Elsewhere
) -> None:
    signer.before = lambda: ca.revoke(ca.signing_intents()[0].serial)
    with pytest.raises(NotPermittedError, match="was revoked while it was signed"):
        ca.issue("orders")
    assert ca.certificates() == ()


def test_a_ca_that_was_withdrawn_while_it_signed_hands_nothing_out(
    ca: Authority, signer: Elsewhere
) -> None:
    def replace_root() -> None:
        with Authority.open(ca.path, clock=Clock()) as other:
            other.prepare_root()
            other.activate_root(force=True)
            other.withdraw_root(force=True)

    signer.before = replace_root
    with pytest.raises(NotPermittedError, match="was withdrawn while it signed"):
        ca.issue("orders")
    assert ca.certificates() == ()


def test_a_ca_that_was_distrusted_while_it_signed_hands_nothing_out(
    ca: Authority, signer: Elsewhere
) -> None:
    signer.before = lambda: ca.distrust(ca.issuers()[1].key_id)
    with pytest.raises(NotPermittedError, match="was distrusted while it signed"):
        ca.issue("orders")
    assert ca.certificates() == ()


def test_a_name_that_another_workload_got_meanwhile_is_refused(
    ca: Authority, signer: Elsewhere, clock: Clock
) -> None:
    # The clock jumps past the end of the claim, as one that was wrong does.
    def jump_and_take() -> None:
        clock.move(hours=3)
        with ca._context.ledger.transaction() as transaction:
            transaction.connection.exec_driver_sql(
                "UPDATE names SET spiffe_id = 'spiffe://shop.internal/other', "
                "held_until = held_until + 100000 WHERE kind = 'dns'"
            )

    signer.before = jump_and_take
    with pytest.raises(NotPermittedError, match="belongs to spiffe://shop"):
        ca.issue("orders")


def test_of_two_renewals_at_once_the_first_to_be_recorded_wins_and_an_event_tells(
    ca: Authority, signer: Elsewhere
) -> None:
    old = ca.issue("orders").leaf
    won = []
    signer.before = lambda: won.append(ca.renew(old))
    with pytest.raises(NotPermittedError, match="renewed already, with another key"):
        ca.renew(old)
    assert len(ca.certificates()) == 2
    assert [kind for _, kind, _ in ca.events()] == ["second-renewal"]
    # The loser was signed, so it stays known.
    (intent,) = ca.signing_intents()
    assert int(intent.serial, 16) != won[0].leaf.serial_number


def test_a_parent_that_was_revoked_while_its_renewal_was_signed_has_none(
    ca: Authority, signer: Elsewhere
) -> None:
    old = ca.issue("orders").leaf
    signer.before = lambda: ca.revoke(old.serial_number)
    with pytest.raises(NotPermittedError, match="was revoked"):
        ca.renew(old)
    assert len(ca.certificates()) == 1


def test_the_same_request_twice_at_once_gets_the_same_certificate(
    ca: Authority, signer: Elsewhere
) -> None:
    request = request_for(generate_key()).public_bytes(Encoding.PEM)
    won = []
    signer.before = lambda: won.append(ca.issue_request("orders", request))
    assert ca.issue_request("orders", request).leaf == won[0].leaf
    assert len(ca.certificates()) == 1


def test_a_signer_gets_nothing_but_what_was_planned(ca: Authority, signer: Elsewhere) -> None:
    serials = iter(range(1, 9))

    order = order_leaf(
        "orders", SHOP, IdentifiedKey.of(generate_key().public_key()), (), (), None, WORKLOAD
    )

    def build(key: PrivateKey, _: int | None) -> x509.Certificate:
        return order.profile.build(
            order.names(),
            order.key.public_key,
            issuer=ca.issuers()[1].certificate,
            issuer_key=key,
            validity=validity(),
            serial=next(serials),
        )

    planned = PlannedCertificate.plan(signer, build)
    with pytest.raises(SignerError, match="is not the one that was planned"):
        planned.sign()
    assert signer.asked == []


def test_what_would_be_refused_is_not_signed(
    ca: Authority, signer: Elsewhere, clock: Clock
) -> None:
    end = ca.issuers()[1].certificate.not_valid_after_utc
    clock.at = end - timedelta(minutes=30)
    with pytest.raises(InputError, match="longer than that of the issuing CA"):
        ca.issue("orders", lifetime=timedelta(hours=1))
    with pytest.raises(NotPermittedError):
        ca.issue("orders", dns=[DnsName("payments.shop.internal")])
    assert signer.asked == []
    assert ca.signing_intents() == ()


def test_a_serial_number_is_never_intended_twice(ca: Authority, signer: Elsewhere) -> None:
    intent_left(ca, signer)
    (intent,) = ca.signing_intents()
    taken = ca.issue("payments").leaf.serial_number
    for serial in (intent.serial, f"{taken:x}"):
        with pytest.raises(LedgerError, match="was used already"):
            with ca._context.ledger.transaction() as transaction:
                transaction.intents.add(replace(intent, serial=serial))


def test_an_intent_is_forgotten_after_its_end(
    ca: Authority, signer: Elsewhere, clock: Clock
) -> None:
    intent_left(ca, signer)
    clock.move(hours=2)
    ca.issue("payments")
    assert len(ca.signing_intents()) == 1
    clock.move(days=2)
    ca.issue("payments")
    assert ca.signing_intents() == ()


def test_status_shows_what_was_perhaps_signed_and_revoke_takes_its_number(
    ca: Authority, signer: Elsewhere, capsys: Capture
) -> None:
    number = intent_left(ca, signer)
    ca.close()
    state = str(ca.path.parent)
    (shown,) = run_json(capsys, "ca", "status", "--dir", state)["signing_intents"]
    assert shown["serial"] == f"{number:x}"
    assert shown["subject"] == "spiffe://shop.internal/orders"
    _, text, _ = run_command(capsys, "ca", "status", "--dir", state)
    assert "Perhaps signed, and never handed out" in text
    code, text, _ = run_command(capsys, "revoke", f"{number:x}", "--dir", state)
    assert code == 0
    assert f"Revoked '{number:x}', whose certificate the ledger does not hold" in text
    (shown,) = run_json(capsys, "ca", "status", "--dir", state)["signing_intents"]
    assert shown["revoked_at"] is not None
