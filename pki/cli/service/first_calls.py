"""A server and two calls for a newcomer: one that the policy allows, and one that it refuses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from pki.access.peer import peer
from pki.rpc.status import reason_of
from pki.workload import Workload

METHOD, OTHER_METHOD = "/demo.Greeter/Greet", "/demo.Greeter/Shout"
_SECONDS, _APART_SECONDS = 5.0, 1.0


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
        is_allowed, answer, _ = _ask(channel.unary_unary(method))
        return is_allowed, answer


def watch_calls(
    directory: Path,
    policy: Path,
    address: str,
    ending: threading.Event,
    changed: Callable[[str, bool, str], None],
) -> None:
    """Call the allowed method once a second until the end.

    Args:
        directory: the caller's.
        policy: the policy file.
        address: of the server.
        ending: set at the end.
        changed: told the method, whether it is allowed, and the answer, when that is another result
            than before. The first call is expected to be allowed.
    """
    last: tuple[bool, str] = True, ""
    with (
        Workload.from_directory(directory, policy=policy) as me,
        me.sync_channel(address, peer="greeter") as channel,
    ):
        ask = channel.unary_unary(METHOD)
        while not ending.wait(_APART_SECONDS):
            is_allowed, answer, reason = _ask(ask)
            # The words of one reason may differ from call to call.
            if (is_allowed, reason) != last:
                last = is_allowed, reason
                changed(METHOD, is_allowed, answer)


def _ask(ask: Any) -> tuple[bool, str, str]:
    """Return whether a call was allowed, the answer or why not, and the reason's name."""
    try:
        return True, ask(b"over mutual TLS", timeout=_SECONDS).decode(), ""
    except grpc.RpcError as error:
        code: Any = getattr(error, "code", lambda: grpc.StatusCode.UNKNOWN)()
        details = getattr(error, "details", lambda: "")()
        reason = reason_of(error) or ""
        return False, f"{code.name} {reason}: {details}", reason or code.name
