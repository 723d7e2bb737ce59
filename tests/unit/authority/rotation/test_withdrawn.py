"""What a withdrawn root and its issuing CAs can still do: nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes

from pki.authority import Authority
from pki.errors import NotPermittedError
from pki.keys import PrivateKey, read_private_key
from pki.x509 import Crl, CrlSet
from pki.x509.revocation import RevokedEntry
from tests.rotating import accepts
from tests.support import NOW, Clock, make_authority


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[Authority]:
    with make_authority(tmp_path, Clock()) as made:
        yield made


def replace_root(ca: Authority) -> tuple[PrivateKey, PrivateKey]:
    """Replace the root; return its key and that of its issuing CA, which are gone here."""
    root, issuing = ca.path / "root.key.pem", ca.issuers()[1]
    issuing_key = ca.path / f"issuing-{issuing.key_id}.key.pem"
    keys = read_private_key(root.read_bytes()), read_private_key(issuing_key.read_bytes())
    ca.prepare_root()
    ca.activate_root(force=True)
    ca.withdraw_root(force=True)
    root.unlink()
    issuing_key.unlink()
    return keys


def crl_of(ca: Authority, which: int, key: PrivateKey, serials: list[int], number: int) -> CrlSet:
    issuer = ca.issuers()[which].certificate
    crl = Crl.build(
        [RevokedEntry(item, NOW) for item in serials],
        issuer=issuer,
        issuer_key=key,
        number=number,
        this_update=NOW,
        next_update=issuer.not_valid_after_utc,
    )
    return CrlSet.of([crl])


@pytest.mark.parametrize("number", [2, 1 << 62])
@pytest.mark.parametrize("serials", [[], [7]])
def test_whoever_has_a_withdrawn_roots_key_holds_up_nothing_with_its_lists(
    ca: Authority, number: int, serials: list[int]
) -> None:
    old = ca.issue("orders")
    root_key, issuing_key = replace_root(ca)
    before = ca.issuers()
    forged = [*serials, before[1].certificate.serial_number]
    assert ca.import_crls(crl_of(ca, 0, root_key, forged, number)) is False
    ca.import_crls(crl_of(ca, 1, issuing_key, serials, number))
    assert ca.issuers() == before
    assert ca.refresh_crls(force=True) == 1
    assert accepts(ca.trust(), ca.issue("payments"), ca)
    assert accepts(ca.trust(), ca.renew(old.leaf), ca)


def test_what_a_withdrawn_issuing_ca_had_revoked_is_not_renewed_under_the_new_root(
    ca: Authority,
) -> None:
    old = ca.issue("orders")
    _, issuing_key = replace_root(ca)
    crls = crl_of(ca, 1, issuing_key, [old.leaf.serial_number], 5)
    assert ca.import_crls(crls) is True
    with pytest.raises(NotPermittedError, match="was revoked"):
        ca.renew(old.leaf)


@pytest.mark.sqlite
def test_a_recovered_ledger_from_before_a_new_root_says_so(tmp_path: Path) -> None:
    home, copy = tmp_path / "ca", tmp_path / "copy.db"
    make_authority(tmp_path).close()
    shutil.copy(home / "ledger.db", copy)
    with Authority.open(home, clock=Clock()) as ca:
        ca.prepare_root()
        root = ca.issuers()[2].certificate
    shutil.copy(copy, home / "ledger.db")
    assert Authority.recover(home, clock=Clock()).was_older
    with Authority.open(home, clock=Clock()) as ca:
        (event,) = [text for _, kind, text in ca.events() if kind == "unknown-root"]
        assert root.fingerprint(hashes.SHA256()).hex() in event
        ca.prepare_root(root)
        assert root in ca.trust()[0].all_roots()
