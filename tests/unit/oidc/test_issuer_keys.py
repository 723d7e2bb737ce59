"""An issuer's keys, fetched from a real HTTPS server under a CA made for it."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pki.attestation import KeySet, TokenRefusedError
from pki.attestation.https_url import HttpsUrl
from pki.attestation.jwt import unverified_kid, verify_jwt
from pki.errors import InputError, PkiError, StateError
from pki.oidc import IssuerKeys, IssuerUnreachableError, fetch
from tests.issuer_server import Answer, Server, sends
from tests.support import NOW
from tests.tokens import Issuer, claims, jwk_of


class Monotonic:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("issuer"))
    yield made
    made.close()


@pytest.fixture
def server(running: Server) -> Server:
    running.answers.clear()
    running.asked.clear()
    return running


@pytest.fixture
def issuer(server: Server) -> Issuer:
    made = Issuer()
    server.serve(
        "/.well-known/openid-configuration",
        {"issuer": server.url, "jwks_uri": f"{server.url}/keys", "more": [1]},
    )
    server.serve("/keys", made.jwks())
    return made


def test_keys_are_found_by_discovery_and_verify_a_token(server: Server, issuer: Issuer) -> None:
    config = server.config()
    keys = IssuerKeys(config)
    token = issuer.token(claims(iss=server.url))
    proved = verify_jwt(token, config, keys.keys_for(unverified_kid(token)), now=NOW)
    assert proved.issuer == server.url
    assert server.asked == ["/.well-known/openid-configuration", "/keys"]


def test_a_configured_address_needs_no_discovery(server: Server, issuer: Issuer) -> None:
    config = server.config(jwks=f"{server.url}/keys")
    assert "es256" in IssuerKeys(config).keys_for("es256").keys
    assert server.asked == ["/keys"]


def test_what_a_token_names_is_never_asked(server: Server, issuer: Issuer) -> None:
    config = server.config()
    keys = IssuerKeys(config)
    for header in (
        {"jku": f"{server.url}/evil"},
        {"x5u": f"{server.url}/evil"},
        {"kid": f"{server.url}/evil"},
        {"kid": "../evil"},
    ):
        token = issuer.token(claims(iss=f"{server.url}/evil"), header=header)
        with pytest.raises(TokenRefusedError):
            verify_jwt(token, config, keys.keys_for(unverified_kid(token)), now=NOW)
    assert set(server.asked) <= {"/.well-known/openid-configuration", "/keys"}


def test_keys_are_fetched_seldom(server: Server, issuer: Issuer) -> None:
    clock = Monotonic()
    keys = IssuerKeys(server.config(jwks=f"{server.url}/keys"), monotonic=clock)
    for _ in range(3):
        keys.keys_for("es256")
    assert len(server.asked) == 1
    # Strangers send what they like: once a minute is all that they cause.
    for number in range(50):
        keys.keys_for(f"unknown-{number}")
    assert len(server.asked) == 1
    clock.at += 60
    for number in range(50):
        keys.keys_for(f"unknown-{number}")
    assert len(server.asked) == 2
    clock.at += 899
    keys.keys_for("es256")
    assert len(server.asked) == 2
    clock.at += 1
    keys.keys_for("es256")
    assert len(server.asked) == 3


def test_a_new_key_of_the_issuer_is_found(server: Server, issuer: Issuer) -> None:
    clock = Monotonic()
    keys = IssuerKeys(server.config(), monotonic=clock)
    keys.keys_for("es256")
    server.serve("/keys", {"keys": [jwk_of(issuer.es, "next")]})
    assert "next" not in keys.keys_for("next").keys
    clock.at += 61
    assert "next" in keys.keys_for("next").keys
    # What the issuer withdrew is gone.
    assert "es256" not in keys.keys_for("next").keys


def test_without_the_issuer_keys_are_used_for_an_hour(server: Server, issuer: Issuer) -> None:
    clock = Monotonic()
    keys = IssuerKeys(server.config(), monotonic=clock)
    keys.keys_for("es256")
    server.answers.clear()
    for _ in range(59):
        clock.at += 61
        if clock.at < 1000 + 3600:
            assert "es256" in keys.keys_for("es256").keys
    clock.at = 1000 + 3600
    with pytest.raises(IssuerUnreachableError, match="answered 404"):
        keys.keys_for("es256")
    server.serve("/.well-known/openid-configuration", {})
    clock.at += 61
    with pytest.raises(InputError, match="is of the issuer 'None'"):
        keys.keys_for("es256")


def test_many_at_once_fetch_once(server: Server, issuer: Issuer) -> None:
    keys = IssuerKeys(server.config(jwks=f"{server.url}/keys"))
    found: list[KeySet] = []
    threads = [
        threading.Thread(target=lambda: found.append(keys.keys_for("es256"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert server.asked == ["/keys"]


def test_who_knows_the_key_does_not_wait(server: Server, issuer: Issuer) -> None:
    clock = Monotonic()
    keys = IssuerKeys(server.config(jwks=f"{server.url}/keys"), monotonic=clock)
    keys.keys_for("es256")
    clock.at += 1000
    asked, go_on = threading.Event(), threading.Event()

    def slow(handler: http.server.BaseHTTPRequestHandler) -> None:
        asked.set()
        go_on.wait(30)
        sends(issuer.jwks())(handler)

    server.answers["/keys"] = slow
    fetching = threading.Thread(target=lambda: keys.keys_for("es256"))
    fetching.start()
    assert asked.wait(30)
    assert "es256" in keys.keys_for("es256").keys
    assert fetching.is_alive()
    go_on.set()
    fetching.join()


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"issuer": "https://other.example", "jwks_uri": "URL/keys"}, "is of the issuer"),
        ({"issuer": "URL/", "jwks_uri": "URL/keys"}, "is of the issuer"),
        ({"issuer": "URL"}, "no https URL"),
        ({"issuer": "URL", "jwks_uri": "http://localhost/keys"}, "no https URL"),
        ({"issuer": "URL", "jwks_uri": "https://evil.example/keys"}, "on another host"),
        ({"issuer": "URL", "jwks_uri": "https://localhost:1/keys"}, "on another host"),
        ({"issuer": "URL", "jwks_uri": ["URL/keys"]}, "no https URL"),
        ([], "is no JSON object"),
    ],
)
def test_a_discovery_document_leads_nowhere_else(
    server: Server, issuer: Issuer, document: object, words: str
) -> None:
    text = json.dumps(document).replace("URL", server.url)
    server.serve("/.well-known/openid-configuration", text.encode())
    with pytest.raises(InputError) as caught:
        IssuerKeys(server.config()).keys_for("es256")
    assert words in str(caught.value)
    assert server.asked == ["/.well-known/openid-configuration"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(server: Server, issuer: Issuer, status: int) -> None:
    server.answers["/moved"] = sends(b"", status, Location=f"{server.url}/keys")
    with pytest.raises(IssuerUnreachableError, match="redirect, which is not followed"):
        IssuerKeys(server.config(jwks=f"{server.url}/moved")).keys_for("es256")
    assert server.asked == ["/moved"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (sends(b"{}", 500), "answered 500"),
        (sends(b"", 204), "answered 204"),
        (sends(b"x" * 300_000), "more than 262144 bytes"),
        (sends(b"x", Content_Length="9"), "cut off|can't be fetched"),
        (sends(b"x", Content_Encoding="gzip"), "encoded as 'gzip'"),
        (sends(b"x", 200, **{f"X-{number}": "y" for number in range(200)}), "can't be fetched"),
        (sends(b"x", X="y" * 70_000), "can't be fetched"),
        (lambda handler: handler.wfile.write(b"SSH-2.0-x\r\n\r\n"), "can't be fetched"),
        (lambda handler: handler.wfile.close(), "can't be fetched"),
        (sends(b"[]"), "no JSON object"),
    ],
)
def test_another_answer_is_refused(server: Server, answer: Answer, words: str) -> None:
    server.answers["/keys"] = answer
    with pytest.raises(PkiError, match=words):
        IssuerKeys(server.config(jwks=f"{server.url}/keys")).keys_for("es256")


@pytest.mark.parametrize("part", ["header", "body"])
def test_a_slow_answer_has_one_deadline(server: Server, part: str) -> None:
    ended = threading.Event()

    def drip(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        if part == "body":
            handler.wfile.write(b"Content-Length: 100000\r\n\r\n")
        try:
            for _ in range(2000):
                handler.wfile.write(b"X: y\r\n")
                ended.wait(0.02)
        except OSError:
            ended.set()

    server.answers["/keys"] = drip
    begun = time.monotonic()
    with pytest.raises(IssuerUnreachableError, match="did not answer within"):
        IssuerKeys(server.config(jwks=f"{server.url}/keys"), seconds=0.5).keys_for("es256")
    assert time.monotonic() - begun < 10
    # Nobody goes on reading.
    assert ended.wait(30)


def test_the_server_must_be_the_one_that_is_named(server: Server, tmp_path: Path) -> None:
    server.serve("/keys", b"{}")
    url = HttpsUrl.parse(f"{server.url}/keys", what="jwks")
    by_address = HttpsUrl.parse(url.text.replace("localhost", "127.0.0.1"), what="jwks")
    assert fetch(url, ca_bundle=server.bundle, max_bytes=99, seconds=10) == b"{}"
    with pytest.raises(IssuerUnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
        fetch(url, ca_bundle=None, max_bytes=99, seconds=10)
    with pytest.raises(IssuerUnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
        fetch(by_address, ca_bundle=server.bundle, max_bytes=99, seconds=10)
    other = Server(tmp_path, "elsewhere.example")
    try:
        wrong = HttpsUrl.parse(f"{other.url}/keys", what="jwks")
        with pytest.raises(IssuerUnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
            fetch(wrong, ca_bundle=other.bundle, max_bytes=99, seconds=10)
        assert other.asked == []
    finally:
        other.close()
    closed = HttpsUrl.parse(other.url, what="jwks")
    with pytest.raises(IssuerUnreachableError, match="can't be fetched"):
        fetch(closed, ca_bundle=server.bundle, max_bytes=99, seconds=10)


def test_a_bundle_that_others_can_change_is_refused(server: Server, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    for make, words in (
        (lambda: None, "is not there"),
        (lambda: bundle.write_text("nothing"), "holds no certificate"),
        (lambda: bundle.write_bytes(b"\xff"), "ascii"),
        (lambda: bundle.write_bytes(server.bundle.read_bytes()), ""),
        (lambda: bundle.chmod(0o666), "everybody may write"),
    ):
        make()
        keys = IssuerKeys(server.config(jwks=f"{server.url}/keys", ca_bundle=str(bundle)))
        with pytest.raises(StateError) as caught:
            keys.keys_for("es256")
        assert words in str(caught.value)
