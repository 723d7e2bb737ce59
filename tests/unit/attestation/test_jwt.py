"""Which JWTs prove something, and which do not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives import serialization

from pki.attestation import TokenRefusedError
from pki.attestation.issuer_config import IssuerConfig
from pki.attestation.jwt import Claims, read_unverified_issuer, unverified_kid, verify_jwt
from tests.support import NOW
from tests.tokens import AT, AUDIENCE, ISSUER, Issuer, claims, config, encode, encode_json, sign


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


def verify(
    issuer: Issuer, token: str, *, now: datetime = NOW, using: IssuerConfig | None = None
) -> Claims:
    return verify_jwt(token, using or config(), issuer.key_set(), now=now)


def refuse(issuer: Issuer, token: str, words: str, **options: Any) -> None:
    with pytest.raises(TokenRefusedError) as caught:
        verify(issuer, token, **options)
    assert words in str(caught.value)
    assert token not in str(caught.value)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_good_token_proves_its_subject(issuer: Issuer, algorithm: str) -> None:
    proved = verify(issuer, issuer.token(algorithm=algorithm))
    assert (proved.issuer, proved.subject) == (ISSUER, "repo:acme/shop")
    assert proved.values["aud"] == AUDIENCE
    assert proved.usable_until == NOW + timedelta(seconds=330)
    with pytest.raises(TypeError):
        proved.values["sub"] = "other"  # type: ignore[index]


def test_a_token_that_another_library_wrote_is_good(issuer: Issuer) -> None:
    token = pyjwt.encode(claims(), issuer.rs, algorithm="RS256", headers={"kid": "rs256"})
    assert verify(issuer, token).subject == "repo:acme/shop"
    assert read_unverified_issuer(token) == ISSUER
    assert unverified_kid(token) == "rs256"


def test_alg_none_is_refused(issuer: Issuer) -> None:
    for name in ("none", "None", "NONE", "nOnE"):
        head = encode_json({"alg": name, "kid": "es256"})
        refuse(issuer, f"{head}.{encode_json(claims())}.", "base64url")
        refuse(issuer, f"{head}.{encode_json(claims())}.AA", f"signed with '{name}'")


def test_an_hmac_under_the_public_key_is_refused(issuer: Issuer) -> None:
    public = issuer.rs.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for kid in ("rs256", "es256"):
        signed = f"{encode_json({'alg': 'HS256', 'kid': kid})}.{encode_json(claims())}"
        mac = hmac.new(public, signed.encode(), hashlib.sha256).digest()
        refuse(issuer, f"{signed}.{encode(mac)}", "signed with 'HS256'")


def test_an_algorithm_that_is_not_configured_is_refused(issuer: Issuer) -> None:
    only = config(algorithms=["RS256"])
    refuse(issuer, issuer.token(), "RS256 is accepted", using=only)
    assert verify(issuer, issuer.token(algorithm="RS256"), using=only)
    for other in ("RS384", "PS256", "ES384", "ES256K", "Ed448"):
        refuse(issuer, issuer.token(header={"alg": other}), f"signed with '{other}'")


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
@pytest.mark.parametrize("kid", ["rs256", "es256", "eddsa"])
def test_a_key_verifies_its_own_algorithm_alone(issuer: Issuer, algorithm: str, kid: str) -> None:
    token = issuer.token(algorithm=algorithm, header={"kid": kid})
    if kid == algorithm.lower():
        assert verify(issuer, token)
    else:
        refuse(issuer, token, f"issuer's key '{kid}' is for")


@pytest.mark.parametrize(
    "kid",
    [
        "",
        "ES256",
        "es256 ",
        "es25",
        "../../es256",
        "/dev/null",
        "' OR 1=1 --",
        "es256\0",
        "x" * 257,
    ],
)
def test_a_kid_must_be_exactly_one_of_the_issuers(issuer: Issuer, kid: str) -> None:
    words = "no kid" if not kid or len(kid) > 256 else "the issuer has no key"
    refuse(issuer, issuer.token(header={"kid": kid}), words)


@pytest.mark.parametrize("kid", [None, 7, ["es256"], {"es256": 1}])
def test_a_kid_is_text(issuer: Issuer, kid: object) -> None:
    refuse(issuer, issuer.token(header={"kid": kid}), "no kid")


def test_a_token_that_brings_its_own_key_is_refused(issuer: Issuer) -> None:
    thief = Issuer()
    own = json.loads(thief.jwks())["keys"][1]
    for header in (
        {"jwk": own},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example/chain"},
        {"x5c": ["MIIB"]},
    ):
        (name,) = header
        refuse(issuer, thief.token(header=header), f"header holds {name}")
        # Refused even beside a good signature.
        refuse(issuer, issuer.token(header=header), f"header holds {name}")


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"]},
        {"crit": []},
        {"crit": ["b64"], "b64": False},
        {"b64": False},
        {"zip": "DEF"},
        {"cty": "JWT"},
        {"enc": "A128GCM"},
    ],
)
def test_a_token_that_changes_the_rules_is_refused(issuer: Issuer, header: dict[str, Any]) -> None:
    refuse(issuer, issuer.token(header=header), "header holds")


def test_an_unknown_parameter_is_ignored(issuer: Issuer) -> None:
    assert verify(issuer, issuer.token(header={"x5t": "abc", "typ": None}))
    refuse(issuer, issuer.token(header={"typ": "at+jwt"}), "type is 'at+jwt'")
    refuse(issuer, issuer.token(header={"typ": 1}), "type is '1'")


def test_another_signature_is_refused(issuer: Issuer) -> None:
    good = issuer.token()
    head, body, signature = good.split(".")
    other = issuer.token(claims(sub="repo:acme/other")).split(".")
    refuse(issuer, f"{head}.{other[1]}.{signature}", "signature is not")
    refuse(issuer, f"{head}.{body}.{other[2]}", "signature is not")
    refuse(issuer, Issuer().token(), "signature is not")
    for wrong in (b"\0" * 64, b"\0", b"\0" * 63, b"\xff" * 64, b"\0" * 65):
        refuse(issuer, f"{head}.{body}.{encode(wrong)}", "signature is not")


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token + "=",
        lambda token: token.replace(".", "=.", 1),
        lambda token: token.replace(".", " .", 1),
        lambda token: token + "\n",
        lambda token: token[:5] + "\n" + token[5:],
        lambda token: token[:5] + "+" + token[6:],
        lambda token: token[:5] + "/" + token[6:],
        lambda token: token[:5] + "\u0141" + token[6:],
        lambda token: token + ".",
        lambda token: "." + token,
        lambda token: token.rpartition(".")[0],
        lambda token: token.rpartition(".")[0] + ".",
        lambda token: token + ".AAAA.AAAA",
        lambda _: "",
        lambda _: "..",
        lambda token: '{"payload":"' + token + '"}',
    ],
)
def test_another_form_of_the_same_token_is_refused(
    issuer: Issuer, change: Callable[[str], str]
) -> None:
    with pytest.raises(TokenRefusedError):
        verify(issuer, change(issuer.token()))


def test_spare_bits_of_base64_make_no_second_form(issuer: Issuer) -> None:
    token = issuer.token()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet[alphabet.index(token[-1]) ^ 1]
    # 64 octets leave two characters, of which the last one has four spare bits.
    refuse(issuer, token[:-1] + last, "not canonical")


def test_a_large_token_is_refused(issuer: Issuer) -> None:
    refuse(issuer, issuer.token(claims(more="x" * 8192)), "8192 are the most")


def test_deep_nesting_is_refused(issuer: Issuer) -> None:
    for deep in ("[" * 2900, '{"a":' * 1100):
        body = json.dumps(claims()).encode()[:-1] + b', "deep": ' + deep.encode()
        refuse(issuer, issuer.token(body), "more than 16 levels")
    head = b'{"alg":"ES256","kid":"es256","x":' + b"[" * 4000
    refuse(issuer, issuer.token(header=head), "more than 16 levels")
    # Brackets in a text are no levels.
    assert verify(issuer, issuer.token(claims(note="[{" * 40 + '"')))


def test_a_name_that_is_there_twice_is_refused(issuer: Issuer) -> None:
    body = json.dumps(claims()).encode()
    refuse(issuer, issuer.token(body[:-1] + b', "sub": "admin"}'), "'sub' is there twice")
    refuse(issuer, issuer.token(body[:-1] + b', "a": {"b": 1, "b": 2}}'), "'b' is there twice")
    head = b'{"alg":"ES256","kid":"es256","alg":"none"}'
    refuse(issuer, issuer.token(header=head), "'alg' is there twice")


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'"text"', b"null", b"{", b"{}x", b"\xff{}", b"\xef\xbb\xbf{}", b"{'a': 1}"],
)
def test_claims_are_one_json_object(issuer: Issuer, body: bytes) -> None:
    with pytest.raises(TokenRefusedError):
        verify(issuer, issuer.token(body))


def test_odd_numbers_are_refused(issuer: Issuer) -> None:
    body = json.dumps(claims(x=0)).encode()
    for value in (b"NaN", b"Infinity", b"-Infinity", b"9" * 5000):
        with pytest.raises(TokenRefusedError):
            verify(issuer, issuer.token(body.replace(b'"x": 0', b'"x": ' + value)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"iss": "https://ci.example/"}, "of the issuer"),
        ({"iss": "https://CI.example"}, "of the issuer"),
        ({"iss": "https://evil.example"}, "of the issuer"),
        ({"iss": None}, "of the issuer"),
        ({"iss": [ISSUER]}, "of the issuer"),
        ({"aud": None}, "for the audience"),
        ({"aud": "handfast:other.internal"}, "for the audience"),
        ({"aud": "HANDFAST:shop.internal"}, "for the audience"),
        ({"aud": AUDIENCE + ".evil.example"}, "for the audience"),
        ({"aud": ""}, "for the audience"),
        ({"aud": []}, "for the audience"),
        ({"aud": [AUDIENCE, "https://vault.example"]}, "for the audience"),
        ({"aud": [AUDIENCE, AUDIENCE]}, "for the audience"),
        ({"aud": [[AUDIENCE]]}, "for the audience"),
        ({"aud": {AUDIENCE: 1}}, "for the audience"),
        ({"sub": None}, "no sub"),
        ({"sub": ""}, "no sub"),
        ({"sub": 7}, "no sub"),
        ({"sub": ["a"]}, "no sub"),
        ({"sub": "x" * 1025}, "no sub"),
        ({"sub": "a\nb"}, "control character"),
        ({"sub": "a\u202eb"}, "control character"),
        ({"sub": "\ud800"}, "control character"),
        ({"exp": None}, "no exp"),
        ({"iat": None}, "no iat"),
        ({"exp": str(AT + 300)}, "no exp"),
        ({"exp": AT + 300.5}, "no exp"),
        ({"exp": True}, "no exp"),
        ({"exp": -1}, "no exp"),
        ({"exp": 10**18}, "no exp"),
        ({"iat": 1e308}, "no iat"),
        ({"nbf": "now"}, "no nbf"),
        ({"exp": AT - 1, "iat": AT}, "before it was issued"),
        ({"exp": AT - 30, "iat": AT - 60}, "the token ended"),
        ({"iat": AT + 31, "exp": AT + 300}, "counts from"),
        ({"nbf": AT + 31}, "counts from"),
        ({"iat": AT - 631}, "more than 0:10:00 ago"),
        ({"jti": ""}, "jti is no text"),
        ({"jti": 5}, "jti is no text"),
    ],
)
def test_a_claim_that_breaks_a_rule_is_refused(
    issuer: Issuer, changes: dict[str, Any], words: str
) -> None:
    refuse(issuer, issuer.token(claims(**changes)), words)


def test_clocks_may_differ_a_little_and_a_list_of_one_audience_is_good(issuer: Issuer) -> None:
    for changes in (
        {"aud": [AUDIENCE]},
        {"exp": AT - 29, "iat": AT - 60},
        {"iat": AT + 30},
        {"nbf": AT + 30},
        {"iat": AT - 629},
    ):
        proved = verify(issuer, issuer.token(claims(**changes)))
        # Whatever is accepted now is remembered for as long as it would be accepted again.
        assert proved.usable_until > NOW
        with pytest.raises(TokenRefusedError):
            verify(issuer, issuer.token(claims(**changes)), now=proved.usable_until)


def test_the_age_and_the_audience_are_those_of_the_configuration(issuer: Issuer) -> None:
    token = issuer.token(claims(iat=AT - 3000, aud="mine"))
    assert verify(issuer, token, using=config(max_age="1h", audience="mine"))
    refuse(issuer, token, "more than 0:01:00 ago", using=config(max_age="1m", audience="mine"))


def test_the_id_is_that_of_the_token_and_not_of_its_signature(issuer: Issuer) -> None:
    with_jti = {verify(issuer, issuer.token(claims(jti="a"))).id for _ in range(2)}
    assert len(with_jti) == 1
    assert with_jti != {verify(issuer, issuer.token(claims(jti="b"))).id}
    token = issuer.token(claims(jti=None))
    signed, _, signature = token.rpartition(".")
    # Whoever has one ECDSA signature can write another one: n - s in place of s.
    r, s = (int.from_bytes(part) for part in halves(signature))
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    twin = f"{signed}.{encode(r.to_bytes(32) + (order - s).to_bytes(32))}"
    again = f"{signed}.{encode(sign(issuer.es, signed.encode()))}"
    assert len({token, twin, again}) == 3
    assert len({verify(issuer, item).id for item in (token, twin, again)}) == 1


def halves(signature: str) -> tuple[bytes, bytes]:
    raw = base64.urlsafe_b64decode(signature + "==")
    return raw[:32], raw[32:]
