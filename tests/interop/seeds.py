"""A PKI that makes any certificate, and servers of any kind: to seed faults on."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL, crypto

BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
SERVER_ONLY = (ExtendedKeyUsageOID.SERVER_AUTH,)
CLIENT_ONLY = (ExtendedKeyUsageOID.CLIENT_AUTH,)
HOUR = timedelta(hours=1)


def named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])


def names_of(workload: str) -> list[x509.GeneralName]:
    return [
        x509.UniformResourceIdentifier(f"spiffe://seed.internal/{workload}"),
        x509.DNSName(f"{workload}.seed.internal"),
    ]


@dataclass
class Made:
    """A key and its chain."""

    key: Any
    chain: list[x509.Certificate]

    @property
    def key_pem(self) -> bytes:
        found: bytes = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return found

    @property
    def chain_pem(self) -> bytes:
        return pem(self.chain)


def pem(items: Sequence[Any]) -> bytes:
    return b"".join(item.public_bytes(Encoding.PEM) for item in items)


@dataclass
class Ca:
    """A root with one issuing CA under it."""

    name: str = "seed"
    root_key: Any = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    key: Any = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    constraints: x509.NameConstraints | None = None

    def __post_init__(self) -> None:
        root = [
            (x509.BasicConstraints(ca=True, path_length=1), True),
            (ca_usage(), True),
            (
                x509.SubjectAlternativeName(
                    [x509.UniformResourceIdentifier("spiffe://seed.internal")]
                ),
                False,
            ),
        ]
        self.root = sign(
            named(f"{self.name} root"), self.root_key.public_key(), None, self.root_key, root
        )
        between = [
            (x509.BasicConstraints(ca=True, path_length=0), True),
            (ca_usage(), True),
            (
                x509.SubjectAlternativeName(
                    [x509.UniformResourceIdentifier("spiffe://seed.internal")]
                ),
                False,
            ),
        ]
        if self.constraints is not None:
            between.append((self.constraints, True))
        self.issuing = sign(
            named(f"{self.name} issuing"), self.key.public_key(), self.root, self.root_key, between
        )

    def leaf(
        self,
        workload: str = "server",
        *,
        names: Sequence[x509.GeneralName] | None = None,
        usage: Sequence[Any] | None = BOTH,
        begin: timedelta = -HOUR,
        end: timedelta = HOUR,
        key: Any = None,
        is_ca: bool = False,
    ) -> Made:
        used = key or ec.generate_private_key(ec.SECP256R1())
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(ca=is_ca, path_length=None), True),
            (ca_usage() if is_ca else leaf_usage(), True),
        ]
        if usage is not None:
            extensions.append((x509.ExtendedKeyUsage(usage), False))
        held = names_of(workload) if names is None else names
        if held:
            extensions.append((x509.SubjectAlternativeName(held), False))
        certificate = sign(
            named(f"{workload}.seed.internal"),
            used.public_key(),
            self.issuing,
            self.key,
            extensions,
            times=(begin, end),
        )
        return Made(used, [certificate, self.issuing])

    def crls(
        self,
        revoked: Sequence[x509.Certificate] = (),
        *,
        root_revoked: Sequence[x509.Certificate] = (),
        end: timedelta = HOUR,
    ) -> bytes:
        return pem(
            [
                crl(self.root, self.root_key, root_revoked, end),
                crl(self.issuing, self.key, revoked, end),
            ]
        )


def crl(
    issuer: x509.Certificate, key: Any, revoked: Sequence[x509.Certificate], end: timedelta
) -> x509.CertificateRevocationList:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(now - 2 * HOUR)
        .next_update(now + end)
        .add_extension(x509.CRLNumber(1), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
        )
    )
    for item in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(item.serial_number)
            .revocation_date(now - HOUR)
            .build()
        )
    return builder.sign(key, hashes.SHA256())


def sign(
    subject: x509.Name,
    public_key: Any,
    issuer: x509.Certificate | None,
    issuer_key: Any,
    extensions: Sequence[tuple[x509.ExtensionType, bool]],
    *,
    times: tuple[timedelta, timedelta] = (-24 * HOUR, 24 * HOUR),
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer is not None else subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + times[0])
        .not_valid_after(now + times[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )
    if issuer is not None:
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    hashed = None if isinstance(issuer_key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(issuer_key, hashed)


def ca_usage() -> x509.KeyUsage:
    return usage_of("key_cert_sign", "crl_sign", "digital_signature")


def leaf_usage() -> x509.KeyUsage:
    return usage_of("digital_signature")


def usage_of(*held: str) -> x509.KeyUsage:
    every = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{item: item in held for item in every})


LOCALHOST = x509.IPAddress(ip_address("127.0.0.1"))


class Scene:
    """The servers and credentials of one test."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.ca = Ca()
        self._stack = ExitStack()

    def close(self) -> None:
        self._stack.close()

    def on_close(self, done: Callable[[], object]) -> None:
        self._stack.callback(done)

    def credential(
        self,
        name: str,
        made: Made,
        *,
        roots: Sequence[x509.Certificate] | None = None,
        crls: bytes | None = b"",
        key: bytes | None = None,
    ) -> Path:
        """Write a credential directory; ``crls`` empty takes good ones, None writes none."""
        folder = self.home / name
        folder.mkdir()
        (folder / "key.pem").write_bytes(made.key_pem if key is None else key)
        (folder / "key.pem").chmod(0o600)
        (folder / "chain.pem").write_bytes(made.chain_pem)
        (folder / "bundle.pem").write_bytes(pem([self.ca.root] if roots is None else roots))
        if crls is not None:
            (folder / "crl.pem").write_bytes(crls or self.ca.crls())
        return folder

    def caller(self, made: Made | None = None, **how: Any) -> Path:
        """Write the caller's credential."""
        return self.credential("caller", made or self.ca.leaf("caller"), **how)

    def grpc_server(
        self,
        made: Made | None = None,
        *,
        roots: Sequence[x509.Certificate] | None = None,
        require: bool = True,
    ) -> str:
        """Run a server of gRPC alone."""
        used = made or self.ca.leaf()
        pool = self._stack.enter_context(ThreadPoolExecutor(max_workers=2))
        server = grpc.server(pool)
        trusted = pem([self.ca.root] if roots is None else roots)
        credentials = grpc.ssl_server_credentials(
            [(used.key_pem, used.chain_pem)], trusted if require else None, require
        )
        port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        self._stack.callback(lambda: server.stop(0).wait())
        return f"127.0.0.1:{port}"

    def plain_grpc_server(self) -> str:
        pool = self._stack.enter_context(ThreadPoolExecutor(max_workers=2))
        server = grpc.server(pool)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        self._stack.callback(lambda: server.stop(0).wait())
        return f"127.0.0.1:{port}"

    def socket_server(self, take: Callable[[socket.socket], None]) -> str:
        """Run a server of bytes: ``take`` has each connection to itself."""
        listening = socket.create_server(("127.0.0.1", 0))
        done = threading.Event()
        listening.settimeout(0.05)

        def run() -> None:
            with ThreadPoolExecutor(max_workers=8) as pool:
                while not done.is_set():
                    with contextlib.suppress(TimeoutError):
                        pool.submit(self._taken, take, listening.accept()[0])

        thread = threading.Thread(target=run)
        thread.start()

        def stop() -> None:
            done.set()
            thread.join()
            listening.close()

        self._stack.callback(stop)
        self._stopped = done
        return f"127.0.0.1:{listening.getsockname()[1]}"

    @staticmethod
    def _taken(take: Callable[[socket.socket], None], plain: socket.socket) -> None:
        with plain, contextlib.suppress(OSError, SSL.Error):
            plain.settimeout(5)
            take(plain)

    def silent_server(self) -> str:
        def take(plain: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while plain.recv(1024):
                    pass

        return self.socket_server(take)

    def openssl_server(
        self,
        made: Made | None = None,
        *,
        alpn: bytes | None = b"h2",
        setting: Callable[[SSL.Context], None] = lambda _: None,
        accepts: bool | None = True,
        asked_for: Sequence[x509.Certificate] = (),
        came: Callable[[object], None] = lambda _: None,
    ) -> str:
        """Run a server of OpenSSL; ``accepts`` None asks for no certificate."""
        used = made or self.ca.leaf()
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_cipher_list(b"ALL:@SECLEVEL=0")
        if accepts is not None:
            store = context.get_cert_store()
            assert store is not None
            store.add_cert(crypto.X509.from_cryptography(self.ca.root))
            context.set_verify(
                SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *found: bool(found[4])
            )
        for item in asked_for:
            context.add_client_ca(item)
        context.use_certificate(used.chain[0])
        for item in used.chain[1:]:
            context.add_extra_chain_cert(item)
        context.use_privatekey(used.key)
        if alpn is not None:
            context.set_alpn_select_callback(
                lambda _, offered: alpn if alpn in offered else SSL.NO_OVERLAPPING_PROTOCOLS
            )
        setting(context)

        def take(plain: socket.socket) -> None:
            connection = SSL.Connection(context, plain)
            connection.set_accept_state()
            plain.settimeout(None)
            try:
                connection.do_handshake()
            finally:
                came(connection.get_peer_certificate())
            if alpn == b"h2":
                connection.send(b"\0\0\0\4\0\0\0\0\0")
            while connection.recv(1024):
                pass

        return self.socket_server(take)


@contextlib.contextmanager
def scene_in(home: Path) -> Iterator[Scene]:
    scene = Scene(home)
    try:
        yield scene
    finally:
        scene.close()
