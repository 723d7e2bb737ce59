"""Bare grpcio, OpenSSL and plain sockets on the other side, with a credential's files alone."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from grpc._cython import cygrpc  # type: ignore[attr-defined]

import pki
from pki.authority import Authority
from pki.clock import system_clock
from pki.files import load_credential
from pki.keys import generate_key, private_key_to_pem
from pki.x509.profiles.builder import Validity
from pki.x509.readers import to_pem
from services._proto.shop.v1 import inventory_pb2, inventory_pb2_grpc
from tests.interop.shop import (
    SECONDS,
    Shop,
    SyncInventory,
    get_stock,
    reason,
    refused,
)
from tests.support import (
    BOTH_USAGES,
    GOOD_LEAF,
    Extension,
    Hierarchy,
    sign_unchecked,
    with_extension,
    without_extension,
)

OPENSSL = shutil.which("openssl")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    made = Shop(tmp_path_factory.mktemp("shop"))
    yield made
    made.ca.close()


@pytest.fixture(scope="module")
def target(shop: Shop) -> Iterator[str]:
    with shop.workload("server") as me, shop.aio_server(me) as address:
        yield address


def plain_channel(
    target: str, bundle: bytes, key: bytes | None, chain: bytes | None
) -> grpc.Channel:
    credentials = grpc.ssl_channel_credentials(bundle, key, chain)
    options = [("grpc.ssl_target_name_override", "server.shop.internal")]
    return grpc.secure_channel(target, credentials, options)


def files(folder: Path) -> tuple[bytes, bytes, bytes]:
    names = ("bundle.pem", "key.pem", "chain.pem")
    bundle, key, chain = ((folder / name).read_bytes() for name in names)
    return bundle, key, chain


def test_a_plain_client_with_the_files_alone_works_with_our_server(shop: Shop, target: str) -> None:
    with plain_channel(target, *files(shop.directory("caller"))) as channel:
        assert get_stock(channel) > 0


def test_a_plain_server_with_the_files_alone_works_with_our_client(shop: Shop) -> None:
    bundle, key, chain = files(shop.directory("server"))

    class Plain(SyncInventory):
        def GetStock(self, request: object, context: object) -> inventory_pb2.GetStockResponse:
            return inventory_pb2.GetStockResponse(quantity=7)

    with ThreadPoolExecutor(max_workers=2) as pool:
        server = grpc.server(pool)
        inventory_pb2_grpc.add_InventoryServicer_to_server(Plain(), server)
        credentials = grpc.ssl_server_credentials([(key, chain)], bundle, True)
        port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        with (
            shop.workload("caller") as me,
            me.sync_channel(f"127.0.0.1:{port}", peer="server") as channel,
        ):
            assert get_stock(channel) == 7
        server.stop(None).wait()


def test_an_empty_subject_is_no_hindrance(shop: Shop, target: str) -> None:
    long = "x" * 65
    shop.ca.issue(long).save(shop.home / "long")
    with plain_channel(target, *files(shop.home / "long")) as channel:
        assert refused(lambda: get_stock(channel)) == "NO_ROLE"


@pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")
def test_openssl_verifies_what_is_issued(shop: Shop) -> None:
    folder = shop.directory("caller")
    verify = [
        str(OPENSSL),
        "verify",
        "-x509_strict",
        "-crl_check_all",
        "-CAfile",
        str(folder / "bundle.pem"),
        "-CRLfile",
        str(folder / "crl.pem"),
        "-untrusted",
        str(folder / "chain.pem"),
    ]
    for purpose in ("sslclient", "sslserver"):
        done = subprocess.run(
            [*verify, "-purpose", purpose, str(folder / "chain.pem")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


# Handshakes that the server refuses


def unavailable(channel: grpc.Channel) -> bool:
    with channel:
        return refused(lambda: get_stock(channel)) == "UNAVAILABLE"


def test_no_client_certificate_is_refused(shop: Shop, target: str) -> None:
    bundle, _, _ = files(shop.directory("caller"))
    assert unavailable(plain_channel(target, bundle, None, None))


def test_the_right_names_from_another_ca_are_refused(
    shop: Shop, target: str, tmp_path: Path
) -> None:
    with Authority.create(tmp_path / "ca", "shop.internal") as other:
        other.issue("caller").save(tmp_path / "caller")
    bundle, _, _ = files(shop.directory("caller"))
    _, key, chain = files(tmp_path / "caller")
    assert unavailable(plain_channel(target, bundle, key, chain))


def test_an_expired_certificate_is_refused(shop: Shop, target: str, tmp_path: Path) -> None:
    with Authority.create(
        tmp_path / "ca", "shop.internal", clock=lambda: system_clock() - timedelta(hours=2)
    ) as ca:
        ca.issue("caller").save(tmp_path / "caller")
        ca.issue("server", lifetime=timedelta(hours=5)).save(tmp_path / "server")
    bundle, key, chain = files(tmp_path / "caller")
    policy = shop.policy
    with (
        pki.Workload.from_directory(tmp_path / "server", policy=policy) as me,
        shop.sync_server(me) as own,
    ):
        assert unavailable(plain_channel(own, bundle, key, chain))
        assert unavailable(plain_channel(target, bundle, key, chain))


def test_plaintext_and_old_tls_are_refused_and_others_are_served(shop: Shop, target: str) -> None:
    with grpc.insecure_channel(target) as channel:
        assert refused(lambda: get_stock(channel)) == "UNAVAILABLE"
    host, _, port = target.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection((host, int(port)), timeout=SECONDS) as plain:
        with pytest.raises(OSError, match=r".*"):
            context.wrap_socket(plain)
    with plain_channel(target, *files(shop.directory("caller"))) as channel:
        assert get_stock(channel) > 0


def test_connections_that_never_finish_their_handshake_hinder_nobody(
    shop: Shop, target: str
) -> None:
    host, _, port = target.rpartition(":")
    hanging = [socket.create_connection((host, int(port)), timeout=SECONDS) for _ in range(200)]
    try:
        with plain_channel(target, *files(shop.directory("caller"))) as channel:
            for _ in range(20):
                assert get_stock(channel) > 0
    finally:
        for item in hanging:
            item.close()


def test_a_resumed_session_of_a_revoked_peer_is_refused(shop: Shop) -> None:
    folder = shop.home / "thief"
    shop.ca.issue("caller").save(folder)
    sessions = cygrpc.SSLSessionCacheLRU(8)
    seen: list[bytes] = []

    class Looker(SyncInventory):
        def GetStock(self, request: object, context: Any) -> inventory_pb2.GetStockResponse:
            seen.append(context.auth_context()["ssl_session_reused"][0])
            return inventory_pb2.GetStockResponse(quantity=1)

    def call(target: str) -> int:
        credentials = grpc.ssl_channel_credentials(*files(folder))
        options = [
            ("grpc.ssl_target_name_override", "server.shop.internal"),
            ("grpc.ssl_session_cache", sessions),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        with grpc.secure_channel(target, credentials, options) as channel:
            quantity = get_stock(channel)
            # The server's session ticket comes after its first answer.
            time.sleep(0.2)
            return quantity

    with (
        shop.workload("server") as me,
        shop.aio_server(me, inventory=Looker()) as target,
    ):
        call(target)
        call(target)
        assert seen == [b"false", b"true"], "sessions are resumed, so this test can fail"
        leaf = load_credential(folder).credential.leaf
        shop.ca.revoke(leaf.serial_number)
        shop.bring_trust()
        me.reload()
        assert refused(lambda: call(target)) == "CERTIFICATE_REVOKED"
        assert len(seen) == 2


# Leaves of our own CA, made by misusing its key: gRPC takes them, the check at receipt does not


BAD: dict[str, list[Extension]] = {
    "no EKU": without_extension(x509.ExtendedKeyUsage),
    "two URI SANs": with_extension(
        (
            x509.SubjectAlternativeName(
                [
                    x509.UniformResourceIdentifier("spiffe://shop.internal/caller"),
                    x509.UniformResourceIdentifier("spiffe://shop.internal/orders"),
                ]
            ),
            False,
        )
    ),
    "a query in its ID": with_extension(
        (
            x509.SubjectAlternativeName(
                [x509.UniformResourceIdentifier("spiffe://shop.internal/caller?x=1")]
            ),
            False,
        )
    ),
    "CA:TRUE": with_extension((x509.BasicConstraints(ca=True, path_length=None), True)),
    "clientAuth missing": with_extension(
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
    ),
    "no URI but the right CN and DNS": with_extension(
        (x509.SubjectAlternativeName([x509.DNSName("caller.shop.internal")]), False)
    ),
}


@pytest.mark.parametrize("case", [*BAD, "good"])
def test_a_leaf_made_by_misusing_the_key_is_refused_by_a_live_server(
    shop: Shop, tmp_path: Path, case: str
) -> None:
    now = system_clock().replace(microsecond=0)
    hierarchy = Hierarchy(times=Validity(now - timedelta(days=1), now + timedelta(days=1)))
    key = generate_key()
    times = Validity(now - timedelta(minutes=1), now + timedelta(minutes=30))
    leaf = sign_unchecked(hierarchy, BAD.get(case, list(GOOD_LEAF)), key=key, times=times)
    bundle = hierarchy.bundle.to_pem()
    server = tmp_path / "server"
    server.mkdir()
    own = hierarchy.leaf("server", times=times)
    (server / "key.pem").write_bytes(private_key_to_pem(hierarchy.key))
    (server / "key.pem").chmod(0o600)
    (server / "chain.pem").write_bytes(to_pem([own, hierarchy.issuing]))
    (server / "bundle.pem").write_bytes(bundle)
    with (
        pki.Workload.from_directory(server, policy=shop.policy, revocation="short-lived") as me,
        shop.sync_server(me) as target,
        plain_channel(
            target, bundle, private_key_to_pem(key), to_pem([leaf, hierarchy.issuing])
        ) as channel,
    ):
        with pytest.raises(grpc.RpcError) as caught:
            get_stock(channel)
        if case == "good":
            assert reason(caught.value) == "NO_ROLE"
        else:
            assert reason(caught.value) in {"CERTIFICATE_INVALID", "UNAVAILABLE"}
            if case in {"no EKU", "two URI SANs", "a query in its ID"}:
                assert reason(caught.value) == "CERTIFICATE_INVALID"


def test_our_files_hold_nothing_but_what_they_should(shop: Shop) -> None:
    folder = shop.directory("caller")
    assert {path.name for path in folder.iterdir()} >= {
        "key.pem",
        "chain.pem",
        "bundle.pem",
        "crl.pem",
    }
    loaded = load_credential(folder).credential
    assert (
        loaded.leaf.public_bytes(serialization.Encoding.PEM) in (folder / "chain.pem").read_bytes()
    )
    assert (
        BOTH_USAGES[0]
        == loaded.leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    )
