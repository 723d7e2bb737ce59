"""A server and two calls for a newcomer: one that the policy allows, and one that it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from pki.access.peer import peer
from pki.rpc.status import reason_of
from pki.workload import Workload

METHOD, OTHER_METHOD = "/demo.Greeter/Greet", "/demo.Greeter/Shout"
_SECONDS = 5.0


def policy_text(trust_domain: str) -> str:
    """Return the policy of the newcomer's server."""
    return f"""\
# Who may call what. Everything else is refused: try it.
trust_domain = "{trust_domain}"

[roles]
caller  = ["spiffe://{trust_domain}/caller"]
greeter = ["spiffe://{trust_domain}/greeter"]

[[grant]]
role = "caller"
methods = ["{METHOD}"]

[[served_by]]
service = "demo.Greeter"
role = "greeter"
"""


@contextmanager
def greeter(directory: Path, policy: Path) -> Iterator[str]:
    """Serve two methods; yield the address."""

    def greet(request: bytes, context: Any) -> bytes:
        del context
        return b"Hello, " + str(peer().spiffe_id).encode() + b" (" + request + b")"

    handler: Any = grpc.unary_unary_rpc_method_handler(greet)
    handlers = {path.rpartition("/")[2]: handler for path in (METHOD, OTHER_METHOD)}
    with Workload.from_directory(directory, policy=policy) as me:
        server = me.sync_server(decision_log="none")
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("demo.Greeter", handlers),)
        )
        port = server.add_secure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(0).wait()


def call(directory: Path, policy: Path, address: str, method: str) -> tuple[bool, str]:
    """Call a method; return whether it was allowed, and the answer or the reason."""
    with (
        Workload.from_directory(directory, policy=policy) as me,
        me.sync_channel(address, peer="greeter") as channel,
    ):
        ask: Any = channel.unary_unary(method)
        try:
            return True, ask(b"over mutual TLS", timeout=_SECONDS).decode()
        except grpc.RpcError as error:
            code: Any = getattr(error, "code", lambda: grpc.StatusCode.UNKNOWN)()
            details = getattr(error, "details", lambda: "")()
            return False, f"{code.name} {reason_of(error) or ''}: {details}"
