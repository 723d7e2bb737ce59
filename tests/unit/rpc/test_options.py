"""Options of gRPC that would undo a promise are refused, however they are written."""

from __future__ import annotations

import json
import resource
from typing import Any

import pytest

from pki.errors import InputError, NotPermittedError
from pki.rpc.options import check_channel_options, check_server_options, first_option
from pki.rpc.server.servers import most_connections, server_options

REFUSED = [
    "grpc.ssl_target_name_override",
    "grpc.default_authority",
    "grpc.ssl_session_cache",
    "grpc.use_local_subchannel_pool",
    "grpc.enable_channelz",
    "grpc.server_uri",
    "grpc.http_proxy",
    "grpc.http_connect_server",
    "grpc.http_connect_headers",
    "grpc.address_http_proxy",
    "grpc.address_http_proxy_enabled_addresses",
    "grpc.internal.security_connector",
    "grpc.internal.channel_credentials",
    "grpc.internal.subchannel_pool",
]


@pytest.mark.parametrize("name", REFUSED)
def test_a_channels_option_that_undoes_a_promise_is_refused_as_text_and_bytes(name: str) -> None:
    for key in (name, name.encode()):
        for options in ([(key, 0)], [("grpc.max_metadata_size", 1), [key, "x"]]):
            with pytest.raises(NotPermittedError, match=name):
                check_channel_options(options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "policy", ["grpclb", "rls_experimental", "xds_cluster_manager_experimental"]
)
def test_a_policy_that_finds_addresses_by_itself_is_refused_wherever_it_stands(policy: str) -> None:
    child = {"config": [{}], "childPolicy": [{policy: {}}]}
    nested = {"loadBalancingConfig": [{"priority": {"children": {"a": child}}}]}
    for option in (
        ("grpc.lb_policy_name", policy),
        (b"grpc.lb_policy_name", policy.encode()),
        ("grpc.service_config", json.dumps({"loadBalancingPolicy": policy.upper()})),
        (b"grpc.service_config", json.dumps({"loadBalancingConfig": [{policy: {}}]}).encode()),
        ("grpc.service_config", json.dumps(nested)),
    ):
        with pytest.raises(NotPermittedError, match="load balancing policy"):
            check_channel_options([option])  # type: ignore[list-item]


def test_all_other_options_are_passed_on() -> None:
    options: list[Any] = [
        ("grpc.lb_policy_name", "round_robin"),
        ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
        ("grpc.service_config", "{"),
        (b"grpc.keepalive_time_ms", 1000),
        ("grpc.enable_http_proxy", 0),
    ]
    check_channel_options(options)
    check_server_options([("grpc.so_reuseport", 1), ("grpc.server_handshake_timeout_ms", 1)])


@pytest.mark.parametrize("options", [["grpc.x"], [()], [("a", 1, 2)], [None]])
def test_what_is_no_pair_is_told_so(options: list[Any]) -> None:
    for check in (check_channel_options, check_server_options):
        with pytest.raises(InputError, match="no pair"):
            check(options)


def test_what_is_grpcs_own_is_refused_of_servers_too() -> None:
    for key in ("grpc.internal.server_credentials", b"grpc.internal.server_credentials"):
        with pytest.raises(NotPermittedError, match="gRPC's own"):
            check_server_options([(key, 1)])  # type: ignore[list-item]


def test_of_an_option_given_twice_the_first_is_read() -> None:
    options: list[Any] = [(b"grpc.x", 1), ("grpc.x", 2)]
    assert first_option(options, "grpc.x") == 1
    assert first_option(options, "grpc.y") is None


@pytest.mark.parametrize(
    ("descriptors", "connections"), [(1, 1), (40, 20), (64, 32), (128, 64), (256, 192), (1024, 768)]
)
def test_a_server_takes_connections_and_leaves_descriptors_for_files(
    descriptors: int, connections: int
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))
    try:
        found = dict(server_options())["grpc.max_allowed_incoming_connections"]
        parts = [most_connections(share) for share in (0.75, 0.25)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found == connections
    assert sum(parts) <= max(found, 2)
