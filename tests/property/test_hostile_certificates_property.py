"""Any bytes in place of a certificate cause only a finding or a typed error."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from pki.diagnosis.checks.own_credential import OwnCredential
from pki.diagnosis.checks.peer_view import examine_caller, examine_departure
from pki.diagnosis.client_check import check_observations
from pki.diagnosis.observe.grpc_call import CallResult
from pki.diagnosis.observe.tls_handshake import Handshake, HandshakeEnd
from pki.diagnosis.report import Status
from pki.diagnosis.server_observations import Observations, ServerExamination
from pki.errors import PkiError
from pki.identity import SpiffeId
from pki.inspection import describe
from pki.tls.target import Target
from pki.x509.readers import decode_certificate
from tests.interop.seeds import Ca


@cache
def scene() -> tuple[OwnCredential, OwnCredential, tuple[bytes, ...]]:
    ca = Ca()
    caller, server = ca.leaf("caller"), ca.leaf("server")
    ders = tuple(item.public_bytes(Encoding.DER) for item in (*server.chain, ca.root))
    return (
        OwnCredential(tuple(caller.chain), caller.key, (ca.root,)),
        OwnCredential(tuple(server.chain), server.key, (ca.root,)),
        ders,
    )


@st.composite
def chains(draw: st.DrawFn) -> tuple[bytes, ...]:
    """Return a good chain with some bytes changed, removed or inserted."""
    ders = [bytearray(item) for item in scene()[2][: draw(st.integers(1, 3))]]
    for _ in range(draw(st.integers(1, 4))):
        changed = draw(st.sampled_from(ders))
        at = draw(st.integers(0, len(changed) - 1))
        match draw(st.sampled_from(["change", "change", "take out", "put in"])):
            case "change":
                changed[at] = draw(st.integers(0, 255))
            case "take out" if len(changed) > 1:
                del changed[at]
            case _:
                changed.insert(at, draw(st.integers(0, 255)))
    return tuple(map(bytes, ders))


def now() -> datetime:
    return datetime.now(UTC)


@settings(max_examples=400, deadline=None)
@given(
    chain=chains(),
    end=st.sampled_from(list(HandshakeEnd)),
    alert=st.sampled_from([None, 42, 45, 48, 116, 255]),
    status=st.sampled_from([None, 400]),
)
def test_doctor_judges_any_server(
    chain: tuple[bytes, ...], end: HandshakeEnd, alert: int | None, status: int | None
) -> None:
    own = scene()[0]
    expected = SpiffeId.parse("spiffe://seed.internal/server")
    examination = ServerExamination(Target.parse("127.0.0.1:1"), expected, own, ())
    seen = Handshake(
        end,
        "ended",
        completed=True,
        alert=alert,
        version="TLSv1.3",
        alpn="h2",
        chain=chain,
        certificate_requested=True,
    )
    answer = CallResult(status is not None, "UNKNOWN", "", status)
    found = check_observations(examination, Observations(seen, seen, answer, answer), now())
    assert all(item.message for item in found)
    # A check may fail because of another check's finding, but never without a finding.
    bad = [item for item in found if item.status is Status.FAILED]
    assert not bad or any(item.failure is not None for item in bad)


@settings(max_examples=200, deadline=None)
@given(chain=chains())
def test_a_stand_in_judges_any_caller(chain: tuple[bytes, ...]) -> None:
    server = scene()[1]
    with contextlib.suppress(PkiError):
        certificates = tuple(decode_certificate(item, what="the chain") for item in chain)
        assert examine_caller("the caller", certificates, server, now())


@given(name=st.text())
def test_a_caller_may_ask_for_any_name(name: str) -> None:
    assert examine_departure(scene()[1], name, now())[-1].failure == "unknown-ca"


@settings(max_examples=300, deadline=None)
@given(data=chains().map(b"".join) | st.binary(max_size=200))
def test_inspect_shows_any_bytes_or_refuses_them(data: bytes) -> None:
    with contextlib.suppress(PkiError):
        for thing in describe(data, source="given", now=now()):
            assert thing.kind


def test_a_leaf_that_openssl_alone_can_not_read_is_malformed() -> None:
    server = scene()[1]
    leaf = server.chain[0].public_bytes(Encoding.DER)
    name = b"\x0c\x14server.seed.internal"
    # An OCTET STRING as a text: cryptography reads it as text, OpenSSL does not.
    chain = (x509.load_der_x509_certificate(leaf.replace(name, b"\x04" + name[1:])),)
    found = examine_caller("the caller", chain, server, now())
    assert "malformed" in [item.failure for item in found], found
