"""What a channel's service config says of calls that have not begun.

gRPC applies it to calls that it was given. One that waits until its server was seen is treated
alike: ``waitForReady``, ``timeout`` and ``retryPolicy`` of its method. The format is gRPC's:
https://github.com/grpc/grpc-proto/blob/master/grpc/service_config/service_config.proto.
What is malformed is left to gRPC, which says so in its own words.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pki.rpc.options import ChannelOptions, first_option

_MOST_ATTEMPTS = 5  # gRPC takes no more
_JITTER = 0.2


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a call is tried again, and how long it waits before that.

    Args:
        attempts: in all, the first one included.
        initial: seconds before the second attempt, at most.
        maximum: seconds before any attempt, at most.
        multiplier: by which they grow.
    """

    attempts: int
    initial: float
    maximum: float
    multiplier: float

    def pauses(self) -> Iterator[float]:
        """Return the seconds to wait before each further attempt."""
        backoff = self.initial
        for _ in range(self.attempts - 1):
            spread = random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - spreads load
            yield min(backoff, self.maximum) * spread
            backoff *= self.multiplier


@dataclass(frozen=True, slots=True)
class MethodConfig:
    """What is said of one method.

    Args:
        wait_for_ready: whether calls that don't say it themselves wait for a server.
        timeout: the seconds that they have at most.
        retry: how they are tried again when no server is available.
    """

    wait_for_ready: bool = False
    timeout: float | None = None
    retry: RetryPolicy | None = None

    def least(self, timeout: float | None) -> float | None:
        """Return the seconds that a call has, which names its own."""
        if timeout is None or self.timeout is None:
            return self.timeout if timeout is None else timeout
        return min(timeout, self.timeout)

    def pauses(self) -> Iterator[float]:
        """Return the seconds to wait before each further attempt; none where there is one alone."""
        return iter(()) if self.retry is None else self.retry.pauses()


_NOTHING = MethodConfig()


class ServiceConfig:
    """A channel's service config.

    Args:
        methods: what is said, by method path, by ``/service/`` and by the empty name.
    """

    def __init__(self, methods: Mapping[str, MethodConfig]) -> None:
        self._methods = methods

    @classmethod
    def of(cls, options: ChannelOptions) -> ServiceConfig:
        """Read the service config among a channel's options; empty where there is none."""
        text = first_option(options, "grpc.service_config")
        retries = first_option(options, "grpc.enable_retries")
        try:
            found = json.loads(text) if isinstance(text, str | bytes) else {}
            return cls(dict(_methods(found, retries=retries is None or bool(retries))))
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            return cls({})

    def of_method(self, path: str | bytes) -> MethodConfig:
        """Return what is said of a method."""
        text = path.decode(errors="replace") if isinstance(path, bytes) else path
        service = text[: text.rfind("/") + 1]
        for name in (text, service, ""):
            if name in self._methods:
                return self._methods[name]
        return _NOTHING


def _methods(config: Any, *, retries: bool) -> Iterator[tuple[str, MethodConfig]]:
    for item in config.get("methodConfig", ()):
        retry = _retry(item["retryPolicy"]) if retries and "retryPolicy" in item else None
        timeout = _seconds(item["timeout"]) if "timeout" in item else None
        made = MethodConfig(item.get("waitForReady") is True, timeout, retry)
        for name in item.get("name", ()):
            service = name.get("service", "")
            yield (f"/{service}/{name.get('method', '')}" if service else ""), made


def _retry(policy: Any) -> RetryPolicy | None:
    codes = [str(code).upper() for code in policy["retryableStatusCodes"]]
    if "UNAVAILABLE" not in codes and "14" not in codes:
        return None  # nothing else comes of a server that was not seen
    return RetryPolicy(
        min(int(policy["maxAttempts"]), _MOST_ATTEMPTS),
        _seconds(policy["initialBackoff"]),
        _seconds(policy["maxBackoff"]),
        float(policy["backoffMultiplier"]),
    )


def _seconds(duration: str) -> float:
    """Read a duration of JSON's protobuf form: seconds, with an s behind them."""
    if not duration.endswith("s"):
        raise ValueError(duration)
    return float(duration[:-1])
