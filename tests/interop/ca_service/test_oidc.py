"""Enrollment by the JWT of an OIDC issuer: a real issuer's server, a real CA."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pki.authority.registrations import OidcRule, Proof
from pki.ca_client.calls import JwtProof, Keys, enroll_by_jwt
from pki.clock import system_clock
from pki.daemon.oidc import JwtVerifier
from pki.errors import CaRefusedError, InputError, PkiError, StateError
from pki.identity import SpiffeId
from pki.keys import generate_key
from tests.ca_service import Served, served_ca
from tests.issuer_server import Server
from tests.support import SHOP
from tests.tokens import Issuer, claims

ORDERS = SpiffeId.of_path(SHOP, "orders")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "issuer").mkdir()
    made = Server(tmp_path / "issuer")
    yield made
    made.close()


@pytest.fixture
def issuer(server: Server) -> Issuer:
    made = Issuer()
    document = {"issuer": server.url, "jwks_uri": f"{server.url}/keys"}
    server.serve("/.well-known/openid-configuration", document)
    server.serve("/keys", made.jwks())
    return made


@pytest.fixture
def ca(tmp_path: Path, server: Server) -> Iterator[Served]:
    config = tmp_path / "oidc.toml"
    config.write_text(
        f'[[issuer]]\nissuer = "{server.url}"\nca_bundle = "{server.bundle}"\n'
        'algorithms = ["ES256"]\n'
    )
    with served_ca(tmp_path, oidc=config) as served:
        rule = OidcRule(server.url, (("sub", "repo:acme/shop"),))
        served.register("orders", proofs=frozenset({Proof.OIDC, Proof.RENEWAL}), oidc=rule)
        served.register("payments")
        yield served


def token(server: Server, issuer: Issuer, **changes: Any) -> str:
    now = int(time.time())
    good = {"iss": server.url, "iat": now, "exp": now + 300}
    return issuer.token(claims(**{**good, **changes}))


def enrolled(ca: Served, jwt: str, spiffe_id: SpiffeId = ORDERS, keys: Keys | None = None) -> Any:
    roots = ca.authority.trust()[0]
    proof = JwtProof(ca.enroll_address, roots, spiffe_id, jwt)
    keys = keys or Keys(generate_key(), generate_key())
    return enroll_by_jwt(proof, keys, now=system_clock())


def test_a_job_enrolls_by_its_jwt_once(ca: Served, server: Server, issuer: Issuer) -> None:
    jwt, keys = token(server, issuer), Keys(generate_key(), generate_key())
    first = enrolled(ca, jwt, keys=keys)
    assert str(first.spiffe_id) == "spiffe://shop.internal/orders"
    assert enrolled(ca, jwt, keys=keys).credential.leaf == first.credential.leaf
    with pytest.raises(CaRefusedError) as caught:
        enrolled(ca, jwt)
    assert caught.value.reason == "PROOF_REFUSED"


@pytest.mark.parametrize(
    "changes",
    [
        {"sub": "repo:acme/other"},
        {"aud": "handfast:other.internal"},
        {"aud": ["handfast:shop.internal", "x"]},
        {"exp": 1},
        {"iat": 1},
        {"iss": "https://elsewhere.example"},
    ],
)
def test_a_jwt_that_proves_something_else_is_refused_in_one_way(
    ca: Served, server: Server, issuer: Issuer, changes: dict[str, Any]
) -> None:
    with pytest.raises(CaRefusedError) as caught:
        enrolled(ca, token(server, issuer, **changes))
    assert caught.value.reason == "PROOF_REFUSED"
    asked = server.asked
    assert all(path in {"/.well-known/openid-configuration", "/keys"} for path in asked)


def test_a_jwt_of_somebody_else_or_for_another_workload_is_refused(
    ca: Served, server: Server, issuer: Issuer
) -> None:
    for jwt, spiffe_id in (
        (token(server, Issuer()), ORDERS),
        (token(server, issuer), SpiffeId.of_path(SHOP, "payments")),
        (token(server, issuer), SpiffeId.of_path(SHOP, "nobody")),
        ("a.b.c", ORDERS),
        ("x" * 20_000, ORDERS),
    ):
        with pytest.raises(CaRefusedError) as caught:
            enrolled(ca, jwt, spiffe_id)
        assert caught.value.reason == "PROOF_REFUSED"
    enrolled(ca, token(server, issuer))


def test_an_issuer_that_is_away_is_told_apart_from_a_bad_token(
    ca: Served, server: Server, issuer: Issuer
) -> None:
    server.answers.clear()
    with pytest.raises(StateError):
        enrolled(ca, token(server, issuer))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "issuer = 1",
        '[issuer]\nissuer = "https://a.example"',
        '[[issuer]]\nissuer = "http://a.example"',
        '[[issuer]]\nissuer = "https://a.example"\n[[issuer]]\nissuer = "https://a.example"',
        'x = 1\n[[issuer]]\nissuer = "https://a.example"',
        "[[issuer]]",
        "\x00",
    ],
)
def test_a_bad_configuration_is_refused_at_the_start(tmp_path: Path, text: str) -> None:
    (tmp_path / "oidc.toml").write_text(text)
    with pytest.raises(InputError):
        JwtVerifier.read(tmp_path / "oidc.toml", SHOP)
    with pytest.raises(PkiError):
        JwtVerifier.read(tmp_path / "missing.toml", SHOP)
