"""The service config of a channel, for calls that have not begun.

gRPC applies it to calls that have begun. A call that waits until its server is verified is treated
the same: ``waitForReady``, ``timeout`` and ``retryPolicy`` of its method. The format is gRPC's:
https://github.com/grpc/grpc-proto/blob/master/grpc/service_config/service_config.proto.
A malformed service config is left to gRPC, which reports it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pki.rpc.options import ChannelOptions, first_option

_MOST_ATTEMPTS = 5  # gRPC's own limit
_JITTER = 0.2


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a call is tried again, and how long it waits before each attempt.

    Args:
        attempts: the number of attempts, the first one included.
        initial: the most seconds before the second attempt.
        maximum: the most seconds before any attempt.
        multiplier: the factor by which the seconds grow.
    """

    attempts: int
    initial: float
    maximum: float
    multiplier: float

    def retry_delays(self) -> Iterator[float]:
        """Return the seconds to wait before each further attempt."""
        backoff = self.initial
        for _ in range(self.attempts - 1):
            spread = random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - spreads load
            yield min(backoff, self.maximum) * spread
            backoff *= self.multiplier


@dataclass(frozen=True, slots=True)
class MethodConfig:
    """The settings of one method.

    Args:
        wait_for_ready: whether calls wait for a server, unless they set it themselves.
        timeout: the most seconds that a call has.
        retry: how calls are tried again when no server is available.
    """

    wait_for_ready: bool = False
    timeout: float | None = None
    retry: RetryPolicy | None = None

    def shorter(self, timeout: float | None) -> float | None:
        """Return the shorter of a call's own timeout and that of its method."""
        if timeout is None or self.timeout is None:
            return self.timeout if timeout is None else timeout
        return min(timeout, self.timeout)

    def retry_delays(self) -> Iterator[float]:
        """Return the seconds to wait before each further attempt; empty without a retry policy."""
        return iter(()) if self.retry is None else self.retry.retry_delays()


_NOTHING = MethodConfig()


class ServiceConfig:
    """A channel's service config.

    Args:
        methods: the settings by method path, by ``/service/`` and by the empty name.
    """

    def __init__(self, methods: Mapping[str, MethodConfig]) -> None:
        self._methods = methods

    @classmethod
    def of(cls, options: ChannelOptions) -> ServiceConfig:
        """Parse the service config among a channel's options; empty if there is none."""
        text = first_option(options, "grpc.service_config")
        retries = first_option(options, "grpc.enable_retries")
        try:
            config = json.loads(text) if isinstance(text, str | bytes) else {}
            return cls(dict(_methods(config, retries=retries is None or bool(retries))))
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            return cls({})

    def of_method(self, path: str | bytes) -> MethodConfig:
        """Return the settings of a method."""
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
        settings = MethodConfig(item.get("waitForReady") is True, timeout, retry)
        for name in item.get("name", ()):
            service = name.get("service", "")
            yield (f"/{service}/{name.get('method', '')}" if service else ""), settings


def _retry(policy: Any) -> RetryPolicy | None:
    codes = [str(code).upper() for code in policy["retryableStatusCodes"]]
    if "UNAVAILABLE" not in codes and "14" not in codes:
        return None  # the only code for a server that is not verified
    return RetryPolicy(
        min(int(policy["maxAttempts"]), _MOST_ATTEMPTS),
        _seconds(policy["initialBackoff"]),
        _seconds(policy["maxBackoff"]),
        float(policy["backoffMultiplier"]),
    )


def _seconds(duration: str) -> float:
    """Parse a duration in protobuf's JSON form: seconds, followed by an s."""
    if not duration.endswith("s"):
        raise ValueError(duration)
    return float(duration[:-1])
