"""Identities as witnesses of their CA's audit log."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import pki
from pki._proto.handfast.ca.v1 import audit_pb2, audit_pb2_grpc
from pki.ca_client import CaIdentity
from pki.ca_client.storage.witness_store import CHECKPOINT, DISPUTED, WITNESS_KEY
from pki.daemon.log_witnesses import FILE, LogWitnesses
from pki.identity import SpiffeId
from pki.keys import read_private_key
from pki.proofs import EnrollmentToken
from pki.transparency import (
    Checkpoint,
    SignedNote,
    Tile,
    VerifierKey,
    cosign,
    decode_bundle,
    open_checkpoint,
    verify_cosignatures,
)
from pki.transparency.note import COSIGNATURE_V1
from tests.ca_service import Served, served_ca
from tests.interop.asking import refused
from tests.interop.shop import SECONDS, eventually, free_port
from tests.unit.authority.audit.logged import kinds, published, rebuild_tree, rewriting


@contextmanager
def witnesses(ca: Served, folder: Path, *names: str) -> Iterator[list[CaIdentity]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                CaIdentity(folder / name, token=EnrollmentToken.parse(ca.token(name)))
            )
            for name in names
        ]


@contextmanager
def audit(ca: Served, folder: Path, name: str) -> Iterator[audit_pb2_grpc.AuditStub]:
    ca.authority.issue(name).save(folder / name)
    with pki.Workload.from_directory(folder / name) as me:
        peer = SpiffeId.of_ca(me.spiffe_id.trust_domain)
        with me.sync_channel(ca.address, peer=peer) as channel:
            yield audit_pb2_grpc.AuditStub(channel)


def test_witnesses_follow_the_log_across_restarts_and_hear_of_each_other(
    ca: Served, tmp_path: Path
) -> None:
    with witnesses(ca, tmp_path, "orders", "payments") as (orders, payments):
        for one in (orders, payments, orders):
            one.log_witness.look()
            assert one.log_witness.problem == ""
        assert (orders.log_witness.others, payments.log_witness.others) == (1, 1)
        size = orders.log_witness.size
        assert 0 < size <= len(list(ca.authority.audit_entries()))
        key = (tmp_path / "orders" / WITNESS_KEY).read_bytes()
    with CaIdentity(tmp_path / "orders") as again:
        ca.authority.issue("billing")
        again.log_witness.look()
        assert again.log_witness.size > size
        assert again.log_witness.others == 1
        assert (tmp_path / "orders" / WITNESS_KEY).read_bytes() == key
    # What a witness keeps is what a person verifies with.
    kept = (tmp_path / "orders" / CHECKPOINT).read_bytes()
    assert kinds(ca.authority, kept) == set()


def test_others_are_given_cosignatures_that_verify(ca: Served, tmp_path: Path) -> None:
    with (
        witnesses(ca, tmp_path, "orders") as (orders,),
        audit(ca, tmp_path, "billing") as stub,
    ):
        orders.log_witness.look()
        shown = stub.GetCheckpoint(audit_pb2.GetCheckpointRequest(), timeout=SECONDS)
        (item,) = shown.witnessed
        key = VerifierKey.parse(item.key)
        assert key.name == "spiffe://shop.internal/orders"
        (cosignature,) = verify_cosignatures(SignedNote.parse(item.checkpoint), [key])
        assert abs((cosignature.at - datetime.now(UTC)).total_seconds()) < 60


@pytest.mark.parametrize("how", ["rewritten", "shortened"])
def test_who_rewrites_history_with_the_logs_own_key_is_caught(tmp_path: Path, how: str) -> None:
    ports = free_port(), free_port()
    with served_ca(tmp_path, ports=ports) as ca, witnesses(ca, tmp_path, "orders") as (orders,):
        ca.authority.issue("billing")
        orders.log_witness.look()
        assert orders.log_witness.problem == ""
    kept = (tmp_path / "orders" / CHECKPOINT).read_bytes()
    home = tmp_path / "ca"
    with rewriting(home) as connection:
        if how == "rewritten":
            for table, column in (("audit_entries", "entry"), ("certificates", "spiffe_id")):
                connection.execute(
                    f"UPDATE {table} SET {column} = replace({column}, '/billing', '/x')"
                )
        else:
            connection.execute("DELETE FROM audit_entries WHERE position > 2")
        forged = rebuild_tree(home, connection)
    (home / "audit.checkpoint").write_bytes(forged)
    with served_ca(tmp_path, ports=ports) as ca, CaIdentity(tmp_path / "orders") as orders:
        # What it had written down of its witnesses tells the CA itself.
        assert ca.service.parts.witnesses.disputed == 1
        orders.log_witness.look()
        word = "is forked" if how == "rewritten" else "entries, and shows"
        assert word in orders.log_witness.problem
        evidence = (tmp_path / "orders" / DISPUTED).read_bytes()
        assert evidence == published(home)
        assert (tmp_path / "orders" / CHECKPOINT).read_bytes() == kept
        assert "rewritten" in kinds(ca.authority, kept)
        # It stays so until somebody has looked into it.
        orders.log_witness.look()
        assert orders.log_witness.problem


def test_a_history_that_was_shown_once_is_told_until_somebody_has_looked(
    ca: Served, tmp_path: Path
) -> None:
    home = ca.authority.path
    log_key = read_private_key((home / "audit.key.pem").read_bytes())
    assert isinstance(log_key, Ed25519PrivateKey)
    with witnesses(ca, tmp_path, "orders") as (orders,):
        orders.log_witness.look()
        good = published(home)
        forged = Checkpoint("shop.internal/handfast/audit", orders.log_witness.size, bytes(32))
        (home / "audit.checkpoint").write_bytes(forged.sign(log_key).to_bytes())
        orders.log_witness.look()
        assert "is forked" in orders.log_witness.problem
        (home / "audit.checkpoint").write_bytes(good)
        orders.log_witness.look()
        assert DISPUTED in orders.log_witness.problem
    with CaIdentity(tmp_path / "orders") as again:
        again.log_witness.look()
        assert DISPUTED in again.log_witness.problem
        (tmp_path / "orders" / DISPUTED).unlink()
        again.log_witness.look()
        assert again.log_witness.problem == ""


def test_a_witness_that_cant_read_what_it_accepted_says_so(ca: Served, tmp_path: Path) -> None:
    with witnesses(ca, tmp_path, "orders") as (orders,):
        orders.log_witness.look()
    (tmp_path / "orders" / CHECKPOINT).write_bytes(b"cut off")
    with CaIdentity(tmp_path / "orders") as orders:
        orders.log_witness.look()
        assert CHECKPOINT in orders.log_witness.problem


def test_two_histories_for_two_witnesses_are_found_out(tmp_path: Path) -> None:
    ports = free_port(), free_port()
    with served_ca(tmp_path, ports=ports) as ca:
        tokens = {name: EnrollmentToken.parse(ca.token(name)) for name in ("orders", "payments")}
        with CaIdentity(tmp_path / "orders", token=tokens["orders"]):
            pass
        with CaIdentity(tmp_path / "payments", token=tokens["payments"]):
            pass
    shutil.copytree(tmp_path / "ca", tmp_path / "copy")
    with served_ca(tmp_path, ports=ports) as ca, CaIdentity(tmp_path / "orders") as orders:
        ca.authority.issue("billing")
        orders.log_witness.look()
    shutil.rmtree(tmp_path / "ca")
    shutil.move(tmp_path / "copy", tmp_path / "ca")
    with served_ca(tmp_path, ports=ports) as ca, CaIdentity(tmp_path / "payments") as payments:
        ca.authority.issue("shipping")
        ca.authority.issue("returns")
        payments.log_witness.look()
        assert payments.log_witness.problem == ""
        # The other one comes by, and both the witness and the CA see it.
        with CaIdentity(tmp_path / "orders") as orders:
            orders.log_witness.look()
            assert "is forked" in orders.log_witness.problem
            with audit_of(ca, tmp_path / "orders") as stub:
                kept = (tmp_path / "orders" / CHECKPOINT).read_bytes()
                key = Ed25519PrivateKey.generate()
                assert refused(
                    lambda: stub.AddCosignature(cosigned(kept, key), timeout=SECONDS)
                ) == ("REQUEST_INVALID")
        assert ca.service.parts.witnesses.disputed == 1


@contextmanager
def audit_of(ca: Served, directory: Path) -> Iterator[audit_pb2_grpc.AuditStub]:
    with pki.Workload.from_directory(directory) as me:
        peer = SpiffeId.of_ca(me.spiffe_id.trust_domain)
        with me.sync_channel(ca.address, peer=peer) as channel:
            yield audit_pb2_grpc.AuditStub(channel)


def cosigned(
    note: bytes, key: Ed25519PrivateKey, name: str = "spiffe://shop.internal/orders"
) -> audit_pb2.AddCosignatureRequest:
    parsed = SignedNote.parse(note)
    line = cosign(parsed, name, key, at=datetime.now(UTC))
    return audit_pb2.AddCosignatureRequest(
        checkpoint=parsed.with_signatures([line]).to_bytes(),
        key=str(VerifierKey.of(name, key.public_key(), kind=COSIGNATURE_V1)),
    )


@pytest.mark.parametrize("part", ["names", "notes", "keys"])
def test_nobody_cosigns_for_others_or_what_the_log_did_not_sign(
    ca: Served, tmp_path: Path, part: str
) -> None:
    key = Ed25519PrivateKey.generate()
    with audit(ca, tmp_path, "orders") as stub:
        note = published(ca.authority.path)
        good = cosigned(note, key)

        def why(request: audit_pb2.AddCosignatureRequest) -> str:
            return refused(lambda: stub.AddCosignature(request, timeout=SECONDS))

        stub.AddCosignature(good, timeout=SECONDS)
        if part == "names":
            other = cosigned(note, key, "spiffe://shop.internal/payments")
            assert why(other) == "NAME_NOT_PERMITTED"
            forged = Checkpoint("shop.internal/handfast/audit", 1, bytes(32)).sign(key).to_bytes()
            assert why(cosigned(forged, key)) == "REQUEST_INVALID"
            unsigned = audit_pb2.AddCosignatureRequest(checkpoint=note, key=good.key)
            assert why(unsigned) == "REQUEST_INVALID"
            since = audit_pb2.GetCheckpointRequest(since=2**64 - 1)
            assert refused(lambda: stub.GetCheckpoint(since, timeout=SECONDS)) == "REQUEST_INVALID"
        elif part == "notes":
            for bad in (b"", b"\xff", b"a\n\nb\n", good.checkpoint[:-2], b"x" * 200_000):
                request = audit_pb2.AddCosignatureRequest(checkpoint=bad, key=good.key)
                assert why(request) == "REQUEST_INVALID"
        else:
            for text in ("", "x", "spiffe://shop.internal/orders+00000000+AA==", "y" * 2000):
                request = audit_pb2.AddCosignatureRequest(checkpoint=good.checkpoint, key=text)
                assert why(request) == "REQUEST_INVALID"
    assert ca.service.parts.witnesses.disputed == 0
    assert len(ca.service.parts.witnesses) == 1


def test_one_workload_pushes_no_others_out_by_making_keys(ca: Served, tmp_path: Path) -> None:
    with witnesses(ca, tmp_path, "payments") as (payments,):
        payments.log_witness.look()
    with audit(ca, tmp_path, "orders") as stub:
        note = published(ca.authority.path)
        for _ in range(8):
            request = cosigned(note, Ed25519PrivateKey.generate())
            stub.AddCosignature(request, timeout=SECONDS)
    assert len(ca.service.parts.witnesses) == 1 + 4


def test_a_note_with_many_lines_hides_no_witness(ca: Served, tmp_path: Path) -> None:
    key, name = Ed25519PrivateKey.generate(), "spiffe://shop.internal/orders"
    with audit(ca, tmp_path, "orders") as orders, audit(ca, tmp_path, "billing") as billing:
        note = SignedNote.parse(published(ca.authority.path))
        lines = [
            cosign(note, name, key, at=datetime.fromtimestamp(at, tz=UTC)) for at in range(1, 9)
        ]
        own = VerifierKey.of(name, key.public_key(), kind=COSIGNATURE_V1)
        for signatures in ((*lines, *note.signatures), (*note.signatures * 8, *lines)):
            request = audit_pb2.AddCosignatureRequest(
                checkpoint=SignedNote(note.text, signatures).to_bytes(), key=str(own)
            )
            orders.AddCosignature(request, timeout=SECONDS)
            shown = billing.GetCheckpoint(audit_pb2.GetCheckpointRequest(), timeout=SECONDS)
            (item,) = shown.witnessed
            log_key = VerifierKey.parse((ca.authority.path / "audit.vkey").read_text().strip())
            assert verify_cosignatures(open_checkpoint(item.checkpoint, [log_key]).note, [own])


def test_tiles_are_for_admins(ca: Served, tmp_path: Path) -> None:
    with audit(ca, tmp_path, "orders") as orders, audit(ca, tmp_path, "ops") as ops:
        size = open_checkpoint(
            ops.GetCheckpoint(audit_pb2.GetCheckpointRequest(), timeout=SECONDS).checkpoint,
            [VerifierKey.parse((ca.authority.path / "audit.vkey").read_text().strip())],
        ).checkpoint.size
        entries = audit_pb2.GetTileRequest(path=Tile(None, 0, size).path)
        texts = decode_bundle(ops.GetTile(entries, timeout=SECONDS).data, width=size)
        assert [text.decode() for text in texts] == [
            item.to_text() for _, item in ca.authority.audit_entries()
        ][:size]
        hashes = audit_pb2.GetTileRequest(path=Tile(0, 0, size).path)
        assert len(ops.GetTile(hashes, timeout=SECONDS).data) == 32 * size
        for path in ("", "tile/0/000", "tile/0/../x", "tile/9/000", "x" * 10_000):
            request = audit_pb2.GetTileRequest(path=path)
            assert refused(lambda r=request: ops.GetTile(r, timeout=SECONDS)) == "REQUEST_INVALID"
        with pytest.raises(Exception, match="PERMISSION_DENIED"):
            orders.GetTile(entries, timeout=SECONDS)


def test_an_entry_that_is_damaged_costs_the_ca_no_other_witness(ca: Served, tmp_path: Path) -> None:
    with witnesses(ca, tmp_path, "orders", "payments") as both:
        for identity in both:
            identity.log_witness.look()
    ca.service.parts.witnesses.save()
    file = ca.authority.path / FILE
    first, second = json.loads(file.read_bytes())
    for damaged in (["x", "y"], [first[0], 1], 5, None, [first[0], first[1] + "x"]):
        file.write_text(json.dumps([damaged, second]))
        assert len(LogWitnesses(ca.authority.context)) == 1
    file.write_text("{")
    assert len(LogWitnesses(ca.authority.context)) == 0


def test_workers_of_one_ca_hear_of_each_others_witnesses(ca: Served, tmp_path: Path) -> None:
    ours, other = ca.service.parts.witnesses, LogWitnesses(ca.authority.context)
    with witnesses(ca, tmp_path, "orders", "payments") as (orders, payments):
        orders.log_witness.look()
        ours.save()
        assert [item.key for item in other.view(0, "").others] == [
            item.key for item in ours.view(0, "").others
        ]
        payments.log_witness.look()
        # What it writes has what it did not know itself.
        ours.save()
        other.save()
        assert len(other) == len(ours) == len(LogWitnesses(ca.authority.context)) == 2
        newest = {item.key: item.note for item in ours.view(0, "").others}
    ca.authority.issue("billing")
    with CaIdentity(tmp_path / "orders") as orders:
        orders.log_witness.look()
        ours.save()

        def notes(shown: LogWitnesses) -> dict[str, bytes]:
            return {item.key: item.note for item in shown.view(0, "").others}

        # Within a second: what is shown until then is older than what orders has accepted.
        assert eventually(lambda: notes(other).keys() == newest.keys())
        found = notes(other)
        # One that is older than what is known comes back from nobody.
        assert sum(found[key] != note for key, note in newest.items()) == 1
        assert eventually(lambda: notes(ours) == found)
