"""Refuses gRPC options that would undo what a server or channel promises, in every spelling.

gRPC accepts names as text or bytes, and uses the first of two options with the same name. An option
is refused when the server or channel is made; all others are passed on as they are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

from pki.errors import InputError, NotPermittedError, quote_untrusted

ChannelOptions = Sequence[tuple[str, Any]]

_PIN = "would undo the pin on the server", "Name the server with peer= alone"
_PLACE = "could send calls to a server that was not verified", "Leave it out"
_CHANNELS = MappingProxyType(
    {
        "grpc.ssl_target_name_override": _PIN,
        "grpc.default_authority": _PIN,
        "grpc.ssl_session_cache": (
            "keeps TLS sessions: after a rotation our old certificate would still be used",
            "Leave it out",
        ),
        "grpc.use_local_subchannel_pool": (
            "could share a connection with a channel of another credential",
            "Leave it out: it is on",
        ),
        "grpc.enable_channelz": (
            "would hide gRPC's connections, whose certificates are verified",
            "Leave it out: it is on",
        ),
        "grpc.server_uri": _PLACE,
        "grpc.http_proxy": _PLACE,
        "grpc.http_connect_server": _PLACE,
        "grpc.http_connect_headers": _PLACE,
        "grpc.address_http_proxy": _PLACE,
        "grpc.address_http_proxy_enabled_addresses": _PLACE,
        "grpc.fake_resolver.response_generator": _PLACE,
    }
)
_INTERNAL = "grpc.internal."
_POLICY = "grpc.lb_policy_name"
_CONFIG = "grpc.service_config"
# They find addresses or make channels of their own.
_POLICIES_ELSEWHERE = ("grpclb", "rls", "xds", "cds", "eds", "lrs")


def first_option(options: ChannelOptions, name: str) -> Any:
    """Return the value of an option as gRPC uses it, the first of several; None without one."""
    return next((value for key, value in options if _decoded(key) == name), None)


def check_channel_options(options: ChannelOptions) -> None:
    """Check that no option would undo what a channel promises.

    Args:
        options: as they are passed to gRPC.

    Raises:
        NotPermittedError: if one would.
        InputError: if one is malformed.
    """
    for name, value in _parse(options, "channel"):
        if name in _CHANNELS:
            why, remedy = _CHANNELS[name]
            raise NotPermittedError(f"channel option {quote_untrusted(name)} {why}", remedy=remedy)
        policies = [_decoded(value)] if name == _POLICY else []
        for policy in _policies_of(value) if name == _CONFIG else policies:
            if policy.lower().startswith(_POLICIES_ELSEWHERE):
                raise NotPermittedError(
                    f"load balancing policy {quote_untrusted(policy)} goes to addresses of "
                    "its own, which "
                    "are not verified",
                    remedy="Use pick_first or round_robin",
                )


def check_server_options(options: ChannelOptions) -> None:
    """Check that no option would undo what a server promises; as :func:`check_channel_options`."""
    _parse(options, "server")


def _parse(options: ChannelOptions, kind: str) -> list[tuple[str, Any]]:
    parsed = []
    for item in options:
        try:
            key, value = item
        except (TypeError, ValueError):
            raise InputError(
                f"{kind} option {quote_untrusted(repr(item))} is no pair of a name and a value",
                remedy="Write each as a tuple (name, value)",
            ) from None
        name = _decoded(key)
        if name.startswith(_INTERNAL):
            raise NotPermittedError(
                f"{kind} option {quote_untrusted(name)} is gRPC's own, and may replace its "
                "security",
                remedy="Leave it out",
            )
        parsed.append((name, value))
    return parsed


def _decoded(text: object) -> str:
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)


def _policies_of(config: object) -> list[str]:
    """Return the load balancing policies that a service config names, the nested ones too."""
    try:
        left = [json.loads(config)] if isinstance(config, str | bytes) else []
    except (ValueError, RecursionError):
        return []  # gRPC ignores it too
    names: list[str] = []
    while left:
        item = left.pop()
        if isinstance(item, dict):
            names += [str(item.get("loadBalancingPolicy", ""))]
            for key in ("loadBalancingConfig", "childPolicy"):
                policies = item.get(key)
                if isinstance(policies, list):
                    names += [name for one in policies if isinstance(one, dict) for name in one]
            left += item.values()
        elif isinstance(item, list):
            left += item
    return names
