"""An issuing CA's name constraints hold in OpenSSL and in grpcio, in real handshakes.

A plain server and client of grpcio, without a line of ours at run time, on loopback.
"""

from __future__ import annotations

from concurrent import futures
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

import grpc
import pytest
from cryptography import x509
from cryptography.x509 import verification

from pki.errors import VerificationError
from pki.identity import DnsName
from pki.keys import private_key_to_pem
from pki.x509 import (
    CLIENT,
    ChainVerifier,
    LeafProfile,
    NameLimits,
    Purpose,
    RevocationMode,
)
from pki.x509.names import CertificateNames, read_subject
from pki.x509.profiles.builder import Validity
from pki.x509.readers import to_pem
from tests.support import (
    BOTH_USAGES,
    LEAF_KEY_USAGE,
    NO_CA,
    SHOP,
    Hierarchy,
    sign_unchecked,
)

# grpcio has no injectable clock.
NOW = datetime.now(UTC).replace(microsecond=0)
TIMES = Validity(NOW - timedelta(hours=1), NOW + timedelta(hours=1))
LIMITS = NameLimits(SHOP, (DnsName("localhost"),), (ip_network("10.0.0.0/8"),))
WITHOUT_IP = Hierarchy(limits=NameLimits(SHOP, (DnsName("localhost"),)), times=TIMES)
WITH_IP = Hierarchy(limits=LIMITS, times=TIMES)
METHOD = "/test.Echo/Say"


def uri(text: str) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(text)


def ip(text: str) -> x509.GeneralName:
    return x509.IPAddress(ip_address(text))


INSIDE = [uri("spiffe://shop.internal/orders"), x509.DNSName("orders.shop.internal")]
OUTSIDE: list[tuple[Hierarchy, x509.GeneralName]] = [
    (WITHOUT_IP, x509.DNSName("orders.evil.test")),
    (WITHOUT_IP, x509.DNSName("evilshop.internal")),
    (WITHOUT_IP, uri("spiffe://evil.test/orders")),
    (WITHOUT_IP, uri("spiffe://sub.shop.internal/orders")),
    (WITHOUT_IP, uri("spiffe://evilshop.internal/orders")),
    (WITHOUT_IP, x509.RFC822Name("orders@shop.internal")),
    (WITHOUT_IP, x509.RFC822Name("anybody@email.invalid")),
    (WITHOUT_IP, ip("10.0.0.1")),
    (WITHOUT_IP, ip("::1")),
    (WITH_IP, ip("11.0.0.1")),
    (WITH_IP, ip("::1")),
    (WITH_IP, x509.RFC822Name("orders@shop.internal")),
]
outside = pytest.mark.parametrize(
    ("hierarchy", "alternative"),
    OUTSIDE,
    ids=[f"{'10/8' if h is WITH_IP else 'no ip'}-{item.value}" for h, item in OUTSIDE],
)


class AnyNames(LeafProfile):
    """Takes whatever names there are: what is tested is OpenSSL's answer."""

    def check(
        self, certificate: x509.Certificate, purpose: Purpose | None = None
    ) -> CertificateNames:
        return CertificateNames(read_subject(certificate.subject), (), (), ())


def leaf_with(hierarchy: Hierarchy, *names: x509.GeneralName) -> x509.Certificate:
    """Misuse the issuing CA's key for a leaf of these names."""
    alternative = (x509.SubjectAlternativeName(names), False)
    return sign_unchecked(hierarchy, [NO_CA, LEAF_KEY_USAGE, BOTH_USAGES, alternative], times=TIMES)


def openssl_says(hierarchy: Hierarchy, leaf: x509.Certificate) -> str:
    profile = AnyNames("any", frozenset(Purpose), needs_spiffe_id=False)
    verifier = ChainVerifier(hierarchy.bundle, mode=RevocationMode.WHEN_PRESENT)
    try:
        verifier.verify([leaf, hierarchy.issuing], profile=profile, purpose=Purpose.CLIENT, at=NOW)
    except VerificationError as error:
        return error.message
    return ""


def grpc_says(hierarchy: Hierarchy, *, server: x509.Certificate, client: x509.Certificate) -> str:
    """Make one call between a plain server and a plain client: empty if it went through."""
    roots = to_pem(hierarchy.bundle.all_roots())
    key = private_key_to_pem(hierarchy.key)

    def chain(leaf: x509.Certificate) -> bytes:
        return to_pem([leaf, hierarchy.issuing])

    def say(request: bytes, context: grpc.ServicerContext) -> bytes:
        return request

    running = grpc.server(futures.ThreadPoolExecutor(1))
    running.add_generic_rpc_handlers(
        [
            grpc.method_handlers_generic_handler(
                "test.Echo", {"Say": grpc.unary_unary_rpc_method_handler(say)}
            )
        ]
    )
    port = running.add_secure_port(
        "127.0.0.1:0",
        grpc.ssl_server_credentials([(key, chain(server))], roots, require_client_auth=True),
    )
    running.start()
    try:
        with grpc.secure_channel(
            f"127.0.0.1:{port}",
            grpc.ssl_channel_credentials(roots, key, chain(client)),
            options=[("grpc.ssl_target_name_override", "orders.shop.internal")],
        ) as channel:
            call = channel.unary_unary(METHOD, bytes, bytes)
            call(b"hello", timeout=10)
    except grpc.RpcError as error:
        return f"{error.code()} {error.details()}"
    finally:
        running.stop(None).wait()
    return ""


@pytest.mark.parametrize("hierarchy", [WITHOUT_IP, WITH_IP], ids=["no ip", "10/8"])
def test_a_leaf_inside_the_limits_is_accepted_by_openssl_and_by_grpcio(
    hierarchy: Hierarchy,
) -> None:
    for good in (
        leaf_with(hierarchy, *INSIDE),
        leaf_with(hierarchy, *INSIDE, x509.DNSName("localhost")),
    ):
        assert openssl_says(hierarchy, good) == ""
        assert grpc_says(hierarchy, server=good, client=good) == ""


@outside
def test_a_leaf_outside_the_limits_is_refused_by_openssl(
    hierarchy: Hierarchy, alternative: x509.GeneralName
) -> None:
    bad = leaf_with(hierarchy, *INSIDE, alternative)
    assert "subtree violation" in openssl_says(hierarchy, bad)


@outside
def test_a_leaf_outside_the_limits_is_refused_by_grpcio_at_both_ends(
    hierarchy: Hierarchy, alternative: x509.GeneralName
) -> None:
    good = leaf_with(hierarchy, *INSIDE)
    bad = leaf_with(hierarchy, *INSIDE, alternative)
    assert "Socket closed" in grpc_says(hierarchy, server=good, client=bad)
    assert "CERTIFICATE_VERIFY_FAILED" in grpc_says(hierarchy, server=bad, client=good)


def test_an_address_inside_its_range_is_accepted_by_openssl_and_not_by_grpcio() -> None:
    # BoringSSL knows no IP constraints. Should it learn them, docs/profiles.md is to be changed.
    good = leaf_with(WITH_IP, *INSIDE)
    addressed = leaf_with(WITH_IP, *INSIDE, ip("10.1.2.3"))
    assert openssl_says(WITH_IP, addressed) == ""
    told = grpc_says(WITH_IP, server=addressed, client=good)
    assert "unsupported name constraint type" in told


def test_cryptography_refuses_every_chain_with_such_constraints() -> None:
    # Should it learn URI constraints, it can be asked for a second opinion on our own chains.
    good = leaf_with(WITHOUT_IP, *INSIDE)
    verifier = (
        verification.PolicyBuilder()
        .store(verification.Store([WITHOUT_IP.root]))
        .time(NOW)
        .build_client_verifier()
    )
    with pytest.raises(verification.VerificationError, match="name constraint"):
        verifier.verify(good, [WITHOUT_IP.issuing])


def test_a_client_certificate_of_its_own_profile_is_taken_by_grpcio() -> None:
    server = leaf_with(WITHOUT_IP, *INSIDE)
    client = WITHOUT_IP.leaf("tool", profile=CLIENT, times=TIMES)
    assert grpc_says(WITHOUT_IP, server=server, client=client) == ""
    assert "UNAVAILABLE" in grpc_says(WITHOUT_IP, server=client, client=server)
