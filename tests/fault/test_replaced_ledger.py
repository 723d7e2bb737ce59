"""An older ledger that is put in the place of the newest, under a served CA or before it starts."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pki._proto.handfast.ca.v1 import authority_pb2
from pki.authority import Authority
from pki.x509 import CrlSet
from tests.bench.ca.signing_requests import make_ders
from tests.fault.loaded_ca import Held, admins, issue_one, load, make_ca, served
from tests.interop.shop import eventually
from tests.served_process import handfast

CLIENTS = 4


def test_an_older_ledger_signs_nothing_and_a_recovered_one_keeps_revoked_what_was(
    tmp_path: Path,
) -> None:
    make_ca(tmp_path, CLIENTS)
    ledger, older = tmp_path / "ca" / "ledger.db", tmp_path / "older.db"
    shutil.copy(ledger, older)
    held = Held()
    with served(tmp_path) as (process, address), admins(tmp_path, address, 1) as (admin,):
        with load(tmp_path, address, CLIENTS, held, make_ders(2000)):
            held.wait_for(100)
            # As a careless restore does, while the service runs.
            for name in ("ledger.db-wal", "ledger.db-shm"):
                (tmp_path / "ca" / name).unlink()
            older.rename(ledger)
            assert eventually(lambda: len(held.failed) == CLIENTS, 60)
        before = len(held.leaves)
        for place, der in enumerate(make_ders(CLIENTS)):
            with pytest.raises(AssertionError, match="CA_UNAVAILABLE"):
                issue_one(admin, place, der, held)
        assert process.process.poll() is None
    serve = ("ca", "serve", "--listen=127.0.0.1:0", "--enroll-listen=127.0.0.1:0")
    refused = handfast(tmp_path, *serve)
    assert refused.returncode == 1
    assert "the ledger is an older copy" in refused.stderr
    published = CrlSet.read((tmp_path / "ca" / "crl.pem").read_bytes())
    held.see(published)
    assert handfast(tmp_path, "ca", "recover").returncode == 0
    held.failed.clear()
    with served(tmp_path) as (_, address), admins(tmp_path, address, 1) as (admin,):
        # Also one that this ledger never heard of.
        serial = held.leaves[before - 1].serial_number
        admin.Revoke(authority_pb2.RevokeRequest(serial=f"{serial:x}"), timeout=60)
        with load(tmp_path, address, CLIENTS, held, make_ders(20)):
            held.wait_for(len(held.leaves) + 10)
    with Authority.open(tmp_path / "ca") as ca:
        ca.refresh_crls(force=True)
        _, crls = ca.trust()
        for issuer, number in held.lists.items():
            assert crls.crls[issuer].number >= number, "a list went back"
        listed = {number for item in crls.crls.values() for number in item.revoked}
        assert {serial}.union(*(item.revoked for item in published.crls.values())) <= listed
        assert ca.verify_audit_log().findings == ()
