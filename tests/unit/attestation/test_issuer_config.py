"""The configuration of an issuer: exact addresses, and nothing that is not understood."""

from __future__ import annotations

import re
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pki.attestation import Algorithm, IssuerConfig
from pki.errors import InputError
from tests.support import SHOP

GOOD = {"issuer": "https://ci.example/realm"}


def test_a_section_is_read() -> None:
    text = """
        issuer = "https://ci.example:8443/realm/"
        algorithms = ["EdDSA"]
        max_age = "90s"
        jwks = "https://ci.example:8443/keys"
        ca_bundle = "/etc/oidc.pem"
    """
    config = IssuerConfig.parse(tomllib.loads(text), SHOP)
    assert config.issuer.text == "https://ci.example:8443/realm/"
    assert config.audience == "handfast:shop.internal"
    assert config.algorithms == {Algorithm.EDDSA}
    assert config.max_age == timedelta(seconds=90)
    assert config.jwks is not None
    assert (config.jwks.host, config.jwks.port, config.jwks.path) == ("ci.example", 8443, "/keys")
    assert config.ca_bundle == Path("/etc/oidc.pem")
    assert config.issuer.below("/x").text == "https://ci.example:8443/realm/x"


def test_what_is_left_out_has_its_default() -> None:
    config = IssuerConfig.parse(GOOD, SHOP)
    assert config.algorithms == {Algorithm.RS256, Algorithm.ES256}
    assert config.max_age == timedelta(minutes=10)
    assert (config.jwks, config.ca_bundle) == (None, None)


@pytest.mark.parametrize(
    "issuer",
    [
        "",
        7,
        "http://ci.example",
        "HTTPS://ci.example",
        "https://",
        "https:///path",
        "https://user@ci.example",
        "https://user:word@ci.example",
        "https://ci.example?x=1",
        "https://ci.example#x",
        "https://ci.example:",
        "https://ci.example:0",
        "https://ci.example:99999",
        "https://ci.example/a//b",
        "https://ci.example/../b",
        "https://ci.example/\n",
        "https://ci.example\\@evil.example",
        "https://[::1",
        "https://ci.ex\u00e4mple",
        "file:///etc/passwd",
        "https://" + "a" * 600,
    ],
)
def test_an_issuer_is_an_https_url_of_host_and_path(issuer: object) -> None:
    with pytest.raises(InputError):
        IssuerConfig.parse({"issuer": issuer}, SHOP)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"jwk": "x"}, "'jwk', which is not understood"),
        ({"jwks": "https://evil.example/keys"}, "another host"),
        ({"jwks": "https://ci.example:444/keys"}, "another host"),
        ({"jwks": "http://ci.example/keys"}, "no https URL"),
        ({"ca_bundle": "oidc.pem"}, "no absolute path"),
        ({"algorithms": []}, "must be a list"),
        ({"algorithms": "RS256"}, "must be a list"),
        ({"algorithms": ["none"]}, "'none' is no algorithm"),
        ({"algorithms": ["HS256"]}, "'HS256' is no algorithm"),
        ({"algorithms": ["rs256"]}, "'rs256' is no algorithm"),
        ({"algorithms": [1]}, "'1' is no algorithm"),
        ({"max_age": 600}, "needs max_age, as a text"),
        ({"max_age": "0s"}, "not from 1s to 24h"),
        ({"max_age": "25h"}, "not from 1s to 24h"),
        ({"max_age": "-5m"}, "is no time"),
        ({"max_age": "5"}, "is no time"),
        ({"audience": ""}, "needs audience"),
        ({"audience": ["a"]}, "needs audience"),
    ],
)
def test_another_section_is_refused(more: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        IssuerConfig.parse({**GOOD, **more}, SHOP)
    assert words in str(caught.value)


def test_the_page_on_issuers_shows_what_is_understood() -> None:
    page = (Path(__file__).parents[3] / "docs" / "oidc.md").read_text()
    (section,) = re.findall(r"^```toml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    # What is commented out is an option too.
    everything = re.sub(r"^# (\w+ = \"[^\"]*\").*$", r"\1", section, flags=re.MULTILINE)
    assert everything.count("#") < section.count("#")
    for text in (section, everything):
        (table,) = tomllib.loads(text)["issuer"]
        config = IssuerConfig.parse(table, SHOP)
        assert config.audience == "handfast:shop.internal"
