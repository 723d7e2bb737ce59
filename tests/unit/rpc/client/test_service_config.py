"""What a service config says of calls that wait: read as gRPC reads it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pki.rpc.client.service_config import MethodConfig, ServiceConfig

POLICY = {
    "maxAttempts": 9,
    "initialBackoff": "0.1s",
    "maxBackoff": "0.25s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}


def config_of(*methods: dict[str, Any], **more: Any) -> ServiceConfig:
    text = json.dumps({"methodConfig": list(methods)})
    options = [("grpc.service_config", text), *((f"grpc.{name}", v) for name, v in more.items())]
    return ServiceConfig.of(options)


def test_the_most_exact_name_counts() -> None:
    config = config_of(
        {"name": [{}], "timeout": "1s"},
        {"name": [{"service": "a.B"}], "timeout": "2s"},
        {"name": [{"service": "a.B", "method": "C"}, {"service": "a.D"}], "timeout": "3.5s"},
    )
    assert config.of_method("/a.B/C").timeout == 3.5
    assert config.of_method(b"/a.B/X").timeout == 2
    assert config.of_method("/a.D/X").timeout == 3.5
    assert config.of_method("/z/X").timeout == 1


def test_of_an_option_given_twice_the_first_counts_also_in_bytes() -> None:
    first = json.dumps({"methodConfig": [{"name": [{}], "timeout": "1s"}]})
    options: list[Any] = [(b"grpc.service_config", first.encode()), ("grpc.service_config", "{}")]
    assert ServiceConfig.of(options).of_method("/a/b").timeout == 1


NO_POLICY = '{"methodConfig": [{"name": [{}], "retryPolicy": {}}]}'
NO_DURATION = '{"methodConfig": [{"name": [{}], "timeout": 5}]}'
NO_CRL = '{"methodConfig": 1}'
NO_JSON = ["", "{", "[]", "null", "7", "[" * 100_000, b"\xff"]


@pytest.mark.parametrize("text", [NO_POLICY, NO_DURATION, NO_CRL, *NO_JSON])
def test_what_is_malformed_says_nothing(text: Any) -> None:
    assert ServiceConfig.of([("grpc.service_config", text)]).of_method("/a/b") == MethodConfig()


def test_a_call_has_the_shorter_of_two_times() -> None:
    config = MethodConfig(timeout=2)
    assert (config.shorter(None), config.shorter(1), config.shorter(3)) == (2, 1, 2)
    assert MethodConfig().shorter(None) is None


def test_pauses_grow_to_their_most_and_attempts_are_five_as_in_grpc() -> None:
    retry = config_of({"name": [{}], "retryPolicy": POLICY}).of_method("/a/b")
    pauses = list(retry.retry_delays())
    assert len(pauses) == 4
    for pause, about in zip(pauses, [0.1, 0.2, 0.25, 0.25], strict=True):
        assert 0.8 * about <= pause <= 1.2 * about


def test_nothing_is_tried_again_that_grpc_would_not() -> None:
    other = {**POLICY, "retryableStatusCodes": ["ABORTED"]}
    assert not list(
        config_of({"name": [{}], "retryPolicy": other}).of_method("/a/b").retry_delays()
    )
    off = config_of({"name": [{}], "retryPolicy": POLICY}, enable_retries=0)
    assert not list(off.of_method("/a/b").retry_delays())
