"""What followers are told: each change at once, and nothing is read twice for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.authority.ledger.crls import CrlRecords
from pki.daemon import trust_feed
from pki.daemon.trust_feed import TrustFeed
from pki.x509 import Crl
from tests.interop.shop import eventually
from tests.support import make_authority


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[Authority]:
    with make_authority(tmp_path) as authority:
        authority.context.signs_lists_later = True
        yield authority


def feed_of(ca: Authority) -> TrustFeed:
    return TrustFeed(ca.context, lambda: None, lambda _: None)


def revoke(ca: Authority, name: str) -> int:
    """Revoke a new certificate, as the service does: its list is signed later."""
    serial = ca.issue(name).leaf.serial_number
    ca.revoke(serial)
    return serial


def announced(feed: TrustFeed) -> set[int]:
    return {serial for _, serial in feed.state.crl_set().announced}


def listed(feed: TrustFeed) -> set[int]:
    return {serial for crl in feed.state.crls.values() for serial in crl.revoked}


def test_a_revocation_is_announced_until_its_list_comes(ca: Authority) -> None:
    feed = feed_of(ca)
    first, second = revoke(ca, "orders"), revoke(ca, "payments")
    assert feed.refresh()
    assert announced(feed) == {first, second}
    assert listed(feed) == set()
    ca.refresh_crls(force=True)
    assert feed.refresh()
    assert announced(feed) == set()
    assert listed(feed) == {first, second}
    assert not feed.refresh()


def test_lists_that_are_known_are_not_read_again(
    ca: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = feed_of(ca)
    before = dict(feed.state.crls)

    def read(_: CrlRecords, issuer_id: int) -> Crl:
        raise AssertionError(f"the list of {issuer_id} was read again")

    monkeypatch.setattr(CrlRecords, "current_list", read)
    monkeypatch.setattr(CrlRecords, "current", read)
    with ca.context.ledger.transaction() as transaction:
        transaction.add_event("test", "a commit that is about nothing", at=ca.now())
    feed.refresh()
    assert {key: id(crl) for key, crl in feed.state.crls.items()} == {
        key: id(crl) for key, crl in before.items()
    }


def test_a_list_that_was_signed_here_is_not_decoded_again(
    ca: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = feed_of(ca)
    serial = revoke(ca, "orders")
    ca.refresh_crls(force=True)

    def decode(_: object) -> Crl:
        raise AssertionError("a list was decoded again")

    monkeypatch.setattr(Crl, "of", decode)
    feed.refresh()
    assert listed(feed) == {serial}


def test_no_revocation_waits_until_a_long_list_is_decoded(
    ca: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = feed_of(ca)
    later = ca.issue("payments").leaf.serial_number
    first = revoke(ca, "orders")
    ca.refresh_crls(force=True)
    monkeypatch.setattr(trust_feed, "_LONG_BYTES", 0)
    is_decoded, decoding = threading.Event(), threading.Event()
    read = CrlRecords.current_list

    def read_slowly(records: CrlRecords, issuer_id: int) -> Crl | None:
        decoding.set()
        assert is_decoded.wait(30)
        return read(records, issuer_id)

    with monkeypatch.context() as slow:
        slow.setattr(CrlRecords, "current_list", read_slowly)
        followers = [threading.Thread(target=feed.refresh)]
        followers[0].start()
        assert decoding.wait(30)
        assert announced(feed) == {first}
        with ca.context.ledger.transaction() as transaction:
            record = transaction.certificate_by_serial(f"{later:x}")
            assert record is not None
            transaction.mark_revoked([record.id], at=ca.now(), reason="unspecified")
        followers.append(threading.Thread(target=feed.refresh))
        followers[1].start()
        assert eventually(lambda: announced(feed) == {first, later})
        assert not is_decoded.is_set()
        is_decoded.set()
        for thread in followers:
            thread.join()
    assert listed(feed) == {first}
    assert announced(feed) == {later}


def test_the_list_of_a_new_issuing_ca_comes_with_it(ca: Authority) -> None:
    feed = feed_of(ca)
    ca.rotate()
    feed.refresh()
    assert len(feed.state.crls) == 3
    assert feed.state.issuing == ca.issuers()[-1].key_id


def test_a_pending_file_that_is_damaged_holds_up_no_other_revocation(ca: Authority) -> None:
    feed = feed_of(ca)
    serial = revoke(ca, "orders")
    file = ca.context.pending.file.path
    file.write_bytes(b"damage\n" + b"more\n")
    file.chmod(0o666)
    assert feed.refresh()
    assert announced(feed) == {serial}


def test_what_a_distrusted_issuing_ca_signed_waits_for_no_list(ca: Authority) -> None:
    feed = feed_of(ca)
    serial = ca.issue("orders").leaf.serial_number
    leaked = ca.issuers()[1]
    ca.rotate()
    ca.distrust(leaked.key_id)
    ca.revoke(serial)
    assert feed.refresh()
    # Its list will never come, and its leaves are refused with it: nothing is left to be signed.
    assert feed.state.unlisted == ()
    assert leaked.certificate.serial_number in listed(feed)
