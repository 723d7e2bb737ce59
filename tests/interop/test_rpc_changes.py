"""What changes under running servers: revocation, expiry, trust, policy, their own leaf."""

from __future__ import annotations

import shutil
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import cryptography
import grpc
import pytest

import pki
from pki.errors import CredentialError, InputError, PkiError, PolicyError
from pki.files import LAYOUTS, load_credential, save_credential, write_durably
from pki.keys import private_key_to_pem
from pki.x509 import SERVER, read_certificate
from services._proto.shop.v1 import (
    inventory_pb2 as inv,
)
from services._proto.shop.v1 import (
    inventory_pb2_grpc,
    payments_pb2_grpc,
)
from services._proto.shop.v1 import (
    payments_pb2 as pay,
)
from tests.interop.shop import (
    POLICY,
    SECONDS,
    PlainInventory,
    Shop,
    ended,
    eventually,
    get_stock,
    reason,
    refused,
    revoke,
    soon,
    watch,
)

KINDS = pytest.mark.parametrize("kind", ["aio", "sync"])


@KINDS
def test_a_revoked_peer_is_refused_on_its_next_call_and_its_neighbour_is_not(
    shop: Shop, kind: str
) -> None:
    with (
        shop.workload("server") as me,
        shop.server(kind, me) as target,
        shop.workload("caller") as caller,
        shop.workload("reader") as reader,
        caller.sync_channel(target, peer="server") as channel,
        reader.sync_channel(target, peer="server") as other,
    ):
        assert get_stock(channel) > 0
        assert get_stock(other) > 0
        revoke(shop, "caller")
        assert soon(channel, "CERTIFICATE_REVOKED")
        assert get_stock(other) > 0
        with caller.sync_channel(target, peer="server") as again:
            assert refused(lambda: get_stock(again)) == "CERTIFICATE_REVOKED"


@pytest.mark.parametrize(("kind", "words"), [("aio", "CERTIFICATE_REVOKED"), ("sync", "CANCELLED")])
def test_a_revoked_peers_running_streams_end_idle_ones_too(
    shop: Shop, kind: str, words: str
) -> None:
    with (
        shop.workload("server") as me,
        shop.server(kind, me) as target,
        shop.workload("caller") as caller,
        caller.sync_channel(target, peer="server") as channel,
    ):
        stream = watch(channel)
        settle = payments_pb2_grpc.PaymentsStub(channel).Settle

        def orders() -> Iterator[pay.SettleRequest]:
            yield pay.SettleRequest(order_id="1")
            while not done:
                eventually(lambda: bool(done), 0.1)

        done: list[bool] = []
        settling = settle(orders())
        assert next(settling).order_id == "1"
        revoke(shop, "caller")
        assert ended(stream) == words
        assert ended(settling) == words
        done.append(True)


def test_a_plain_functions_stream_in_an_asyncio_server_ends_at_its_next_message(shop: Shop) -> None:
    with (
        shop.workload("server") as me,
        shop.aio_server(me, inventory=PlainInventory()) as target,
        shop.workload("caller") as caller,
        caller.sync_channel(target, peer="server") as channel,
    ):
        stub = inventory_pb2_grpc.InventoryStub(channel)
        assert stub.Restock(iter([inv.RestockRequest(quantity=2)])).units == 2
        stream = watch(channel)
        revoke(shop, "caller")
        assert ended(stream) == "CERTIFICATE_REVOKED"
        for call in (
            lambda: stub.GetStock(inv.GetStockRequest()),
            lambda: stub.Restock(iter([inv.RestockRequest(quantity=2)])),
            lambda: next(stub.WatchStock(inv.WatchStockRequest())),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                call()
            assert reason(caught.value) == "CERTIFICATE_REVOKED"
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


@KINDS
def test_a_peer_that_expired_since_is_refused_and_its_streams_end(shop: Shop, kind: str) -> None:
    with (
        shop.workload("server", shifted=True) as me,
        shop.server(kind, me) as target,
        shop.workload("caller") as caller,
        caller.sync_channel(target, peer="server") as channel,
    ):
        stream = watch(channel)
        shop.clock.move(hours=1, seconds=2)
        assert refused(lambda: get_stock(channel)) == "CERTIFICATE_EXPIRED"
        assert ended(stream) == ("CREDENTIAL_ENDED" if kind == "aio" else "CANCELLED")
        shop.clock.move(hours=-1, seconds=-2)
        assert soon(channel, "ALLOWED")
        shop.clock.move(hours=-1)
        assert soon(channel, "CERTIFICATE_NOT_YET_VALID") or soon(channel, "REVOCATION_STALE")


@KINDS
def test_a_stream_that_the_server_ends_first_with_our_leaf_tells_its_reason(
    shop: Shop, kind: str
) -> None:
    with (
        shop.workload("server", shifted=True) as me,
        shop.server(kind, me) as target,
        shop.workload("caller", shifted=True) as caller,
        caller.sync_channel(target, peer="server") as channel,
    ):
        stream = watch(channel)
        shop.clock.move(hours=1, seconds=2)
        me.reload()
        assert ended(stream) == "CREDENTIAL_ENDED"
        assert stream.code() is grpc.StatusCode.UNAVAILABLE


@KINDS
def test_the_leaves_of_a_distrusted_issuing_ca_are_refused_on_open_connections(
    shop: Shop, kind: str
) -> None:
    with (
        shop.workload("server") as me,
        shop.server(kind, me) as target,
        shop.workload("caller") as caller,
        # A channel of gRPC's own: ours would refuse the server first, which has the same issuer.
        grpc.secure_channel(target, **caller.channel_arguments("server")) as channel,
    ):
        assert get_stock(channel) > 0
        shop.ca.distrust(shop.ca.issuers()[1].key_id)
        shop.bring_trust()
        assert soon(channel, "ISSUER_DISTRUSTED")


def test_a_root_that_is_no_longer_trusted_is_refused_on_open_connections(shop: Shop) -> None:
    other = pki.Authority.create(shop.home / "other-ca", "shop.internal")
    both = (shop.home / "ca" / "bundle.pem").read_bytes()
    both += (shop.home / "other-ca" / "bundle.pem").read_bytes()
    server = shop.directory("server")
    write_durably(server / "bundle.pem", both, mode=0o644)
    with (
        shop.workload("server") as me,
        shop.sync_server(me) as target,
        shop.workload("caller") as caller,
        caller.sync_channel(target, peer="server") as channel,
    ):
        assert get_stock(channel) > 0
        fresh = other.issue("server")
        fresh.save(server)
        assert soon(channel, "ISSUER_DISTRUSTED")
    other.close()


def test_an_older_list_put_back_is_refused_and_what_was_revoked_stays_so(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    server = shop.directory("server")
    old = (server / "crl.pem").read_bytes()
    with shop.workload("server") as me, shop.sync_server(me) as target:
        with (
            shop.workload("caller") as caller,
            caller.sync_channel(target, peer="server") as channel,
        ):
            revoke(shop, "caller")
            assert soon(channel, "CERTIFICATE_REVOKED")
            write_durably(server / "crl.pem", old, mode=0o644)
            assert eventually(lambda: "is older than" in caplog.text)
            assert refused(lambda: get_stock(channel)) == "CERTIFICATE_REVOKED"
            (server / "crl.pem").unlink()
            me.reload()
            assert refused(lambda: get_stock(channel)) == "CERTIFICATE_REVOKED"
    # What was seen is kept on disk, so a restart does not go back either.
    write_durably(server / "crl.pem", old, mode=0o644)
    with shop.workload("server") as me, shop.sync_server(me) as target:
        with (
            shop.workload("caller") as caller,
            caller.sync_channel(target, peer="server") as channel,
        ):
            assert refused(lambda: get_stock(channel)) == "CERTIFICATE_REVOKED"


def test_a_stale_list_refuses_everybody_and_says_so_long_before(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        shop.workload("server", shifted=True) as me,
        shop.sync_server(me) as target,
        shop.workload("caller") as caller,
        caller.sync_channel(target, peer="server") as channel,
    ):
        shop.clock.move(days=4)
        me.reload()
        assert "past half of their lifetime" in caplog.text
        # Everybody's certificate has ended by then too: judge a twin that lives long enough.
        assert refused(lambda: get_stock(channel)) == "CERTIFICATE_EXPIRED"


def test_a_role_taken_away_counts_at_once_and_streams_end(shop: Shop) -> None:
    with (
        shop.workload("server") as me,
        shop.aio_server(me) as target,
        shop.workload("caller", policy=None) as caller,
        caller.sync_channel(target, peer="server") as channel,
    ):
        stream = watch(channel)
        shop.write_policy(POLICY.replace("shop.internal/caller", "shop.internal/somebody"))
        assert soon(channel, "NO_ROLE")
        assert ended(stream) == "NO_ROLE"
        shop.write_policy(POLICY)
        assert soon(channel, "ALLOWED")


def test_a_bad_policy_leaves_the_last_good_one_in_force_and_is_told_loudly(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        shop.workload("server") as me,
        shop.sync_server(me) as target,
        shop.workload("caller", policy=None) as caller,
        caller.sync_channel(target, peer="server") as channel,
    ):
        shop.write_policy("nonsense")
        assert eventually(lambda: bool(me.problems))
        assert "policy.toml:1" in me.problems[0]
        assert "the last good one stays" in caplog.text
        assert get_stock(channel) > 0
        shop.write_policy(POLICY)
        assert eventually(lambda: not me.problems)


@pytest.mark.parametrize("grace", ["0s", "1h"])
def test_a_removed_policy_refuses_after_its_grace(shop: Shop, grace: str) -> None:
    shop.write_policy(f'policy_grace = "{grace}"\n' + POLICY)
    with (
        shop.workload("server", shifted=True) as me,
        shop.sync_server(me) as target,
        shop.workload("caller", policy=None) as caller,
        caller.sync_channel(target, peer="server") as channel,
    ):
        text = shop.policy.read_text()
        shop.policy.unlink()
        assert eventually(lambda: bool(me.problems))
        if grace == "1h":
            assert get_stock(channel) > 0
            # The caller's certificate ends before that hour: judge the policy alone.
            gate_policy = me._policy  # what is in force, whatever the callers are
            assert gate_policy is not None
            shop.clock.move(hours=1, seconds=1)
            assert eventually(lambda: gate_policy.policy() is None)
            shop.clock.move(hours=-1, seconds=-1)
        assert soon(channel, "POLICY_UNAVAILABLE")
        shop.write_policy(text)
        assert soon(channel, "ALLOWED")


def test_a_channel_whose_policy_was_removed_calls_nobody(shop: Shop) -> None:
    (shop.home / "other.toml").write_text(POLICY)
    with (
        shop.workload("server", policy=None) as me,
        shop.sync_server(me, policy=shop.home / "other.toml") as target,
        shop.workload("caller") as caller,
        caller.sync_channel(target, peer="server") as channel,
    ):
        assert get_stock(channel) > 0
        shop.policy.unlink()
        assert soon(channel, "POLICY_UNAVAILABLE")


def serial_served(target: str, credential: Path) -> int:
    """Look at the leaf that a server shows in a new handshake."""
    host, _, port = target.rpartition(":")
    context = ssl.create_default_context(cafile=str(credential / "bundle.pem"))
    context.check_hostname = False
    context.load_cert_chain(credential / "chain.pem", credential / "key.pem")
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host, int(port)), timeout=SECONDS) as plain,
        context.wrap_socket(plain) as secured,
    ):
        der = secured.getpeercert(binary_form=True)
    assert der is not None
    return read_certificate(der).serial_number


@KINDS
def test_a_renewed_certificate_is_shown_in_new_handshakes_while_calls_go_on(
    shop: Shop, kind: str
) -> None:
    server = shop.directory("server")
    with (
        shop.workload("server") as me,
        shop.server(kind, me) as target,
        shop.workload("caller") as caller,
        caller.sync_channel(target, peer="server") as channel,
    ):
        before = serial_served(target, shop.directory("caller"))
        renewed = shop.ca.renew(me.credential.leaf)
        renewed.save(server)
        assert eventually(
            lambda: (
                get_stock(channel) > 0
                and serial_served(target, shop.directory("caller")) == renewed.leaf.serial_number
            )
        )
        assert before != renewed.leaf.serial_number
        with caller.sync_channel(target, peer="server") as again:
            assert get_stock(again) > 0


def test_a_bad_update_is_refused_loudly_and_the_last_good_credential_kept(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    server = shop.directory("server")
    with shop.workload("server") as me:
        before = me.credential.leaf
        save_credential(shop.ca.issue("another").credential, server)
        me.reload()
        assert me.credential.leaf == before
        assert "certificate is for" in caplog.text
        write_durably(server / "chain.pem", b"half", mode=0o644)
        me.reload()
        assert me.credential.leaf == before
        assert "the one in use is kept" in caplog.text
        shutil.rmtree(server)
        assert eventually(lambda: "key.pem' is not there" in caplog.text)
        assert me.credential.leaf == before
        fresh = shop.ca.issue("server")
        fresh.save(server)
        assert eventually(lambda: me.credential.leaf == fresh.leaf)


def test_a_kubernetes_volume_that_swaps_its_link_is_followed(shop: Shop) -> None:
    volume = shop.home / "volume"
    volume.mkdir()
    layout = LAYOUTS["kubernetes"]

    def swap(generation: str) -> int:
        issued = shop.ca.issue("server")
        save_credential(issued.credential, volume / generation, layout=layout)
        (volume / generation / "tls.key").chmod(0o644)
        aside = volume / "..data_tmp"
        aside.symlink_to(generation)
        aside.replace(volume / "..data")
        return issued.leaf.serial_number

    first = swap("..2026_1")
    for name in ("tls.key", "tls.crt", "ca.crt", "ca.crl"):
        (volume / name).symlink_to(Path("..data") / name)
    with pytest.raises(CredentialError, match="key_mode"):
        pki.Workload.from_directory(volume)
    with pki.Workload.from_directory(volume, key_mode="warn", layout="kubernetes") as me:
        assert me.credential.leaf.serial_number == first
        second = swap("..2026_2")
        assert eventually(lambda: me.credential.leaf.serial_number == second)


# Start refuses what cannot work


def test_a_workload_does_not_start_with_what_no_peer_would_accept(shop: Shop) -> None:
    server = shop.directory("server")
    (server / "key.pem").chmod(0o640)
    with pytest.raises(CredentialError, match="0640"):
        shop.workload("server")
    (server / "key.pem").chmod(0o600)
    shop.clock.move(hours=2)
    with pytest.raises(CredentialError, match="would be refused"):
        shop.workload("server", shifted=True)
    with pytest.raises(CredentialError, match="holds no credential"):
        pki.Workload.from_directory(shop.home / "policy")
    with pytest.raises(PolicyError, match="is not there"):
        pki.Workload.from_directory(server, policy=shop.home / "none.toml")
    shop.write_policy("nonsense")
    with pytest.raises(PolicyError):
        shop.workload("server")
    server_only = shop.ca.issue("web", profile=SERVER)
    server_only.save(shop.home / "web")
    with pytest.raises(PkiError):
        pki.Workload.from_directory(shop.home / "web")


def test_a_directory_without_lists_needs_the_users_word(shop: Shop) -> None:
    server = shop.directory("server")
    (server / "crl.pem").unlink()
    (server / ".handfast-crl-seen.pem").unlink(missing_ok=True)
    with pytest.raises(CredentialError, match="when-present or short-lived"):
        shop.workload("server")
    for word in ("when-present", "short-lived"):
        with (
            shop.workload("server", revocation=word) as me,
            shop.sync_server(me) as target,
            shop.workload("caller") as caller,
            caller.sync_channel(target, peer="server") as channel,
        ):
            assert get_stock(channel) > 0


def test_a_memory_of_lists_that_is_damaged_stops_the_start(shop: Shop) -> None:
    server = shop.directory("server")
    (server / ".handfast-crl-seen.pem").write_bytes(b"nonsense")
    with pytest.raises(InputError):
        shop.workload("server")


@pytest.mark.skipif(
    cryptography.__version__ < "47", reason="an encrypted key needs cryptography 47"
)
def test_an_encrypted_key_is_opened_with_its_passphrase(shop: Shop) -> None:
    server = shop.directory("server")
    key = load_credential(server).credential.key
    write_durably(server / "key.pem", private_key_to_pem(key, b"open"), mode=0o600)
    with pytest.raises(PkiError, match="encrypted"):
        shop.workload("server")
    with shop.workload("server", passphrase=b"open") as me:
        assert me.spiffe_id.path == "server"
