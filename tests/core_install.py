"""Checks an environment that holds the core of handfast alone: ``make test-core``.

It runs under ``python -W error`` in an environment with the versions that a real service pins, and
without pytest. The credentials were issued elsewhere, as they are for a service.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import pkgutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

import pki

_NEEDS_EXTRAS = ("pki.testing",)  # it is for pytest
_OF_THE_OTHER_DISTRIBUTION = ("pki.authority", "pki.daemon", "pki.cli.app", "pki.inspection")
_METHOD = "/shop.v1.Payments/Charge"
_POLICY = """\
trust_domain = "shop.internal"
[roles]
orders = ["spiffe://shop.internal/orders"]
payments = ["spiffe://shop.internal/payments"]
[[grant]]
role = "orders"
methods = ["/shop.v1.Payments/Charge"]
[[served_by]]
service = "shop.v1.Payments"
role = "payments"
"""


def is_installed(module: str) -> bool:
    """Return whether a module is there."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # nor is its package
        return False


def import_everything() -> int:
    """Import each module that is installed and needs no extra; return how many there are."""
    assert not [name for name in _OF_THE_OTHER_DISTRIBUTION if is_installed(name)]
    count = 0
    for module in pkgutil.walk_packages(pki.__path__, "pki.", onerror=lambda _: None):
        if not module.name.startswith(_NEEDS_EXTRAS):
            importlib.import_module(module.name)
            count += 1
    for name in set(dir(pki)) - {"Authority"}:
        getattr(pki, name)
    return count


def who_calls(_request: bytes, _context: object) -> bytes:
    """Answer with the caller's SPIFFE ID."""
    return str(pki.peer().spiffe_id).encode()


async def who_calls_aio(_request: bytes, _context: object) -> bytes:
    """Answer with the caller's SPIFFE ID, in an asyncio server."""
    return str(pki.peer().spiffe_id).encode()


def handlers(handler: Callable[..., Any]) -> grpc.GenericRpcHandler:
    """Return the service with one method."""
    service, _, method = _METHOD.strip("/").partition("/")
    return grpc.method_handlers_generic_handler(
        service, {method: grpc.unary_unary_rpc_method_handler(handler)}
    )


def call_in_threads(certs: Path, policy: Path) -> tuple[bytes, object]:
    """Call as orders, who may, and as payments, who may not."""
    with (
        pki.Workload.from_directory(certs / "payments", policy=policy) as me,
        pki.Workload.from_directory(certs / "orders", policy=policy) as orders,
    ):
        server = me.sync_server()
        server.add_generic_rpc_handlers((handlers(who_calls),))
        address = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0')}"
        server.start()
        try:
            with orders.sync_channel(address, peer="payments") as channel:
                answer = channel.unary_unary(_METHOD)(b"", timeout=20)
            with me.sync_channel(address, peer="payments") as channel:
                try:
                    channel.unary_unary(_METHOD)(b"", timeout=20)
                except grpc.RpcError as error:
                    return answer, error.code()
        finally:
            server.stop(None).wait()
    return answer, None


def probe_itself(certs: Path, policy: Path) -> tuple[int, str]:
    """Serve as payments, and run the command of a probe in its own image."""
    health = grpc.method_handlers_generic_handler(
        "grpc.health.v1.Health",
        {"Check": grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"\x08\x01")},
    )
    with pki.Workload.from_directory(certs / "payments", policy=policy) as me:
        server = me.sync_server(health="public")
        server.add_generic_rpc_handlers((health,))
        address = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0')}"
        server.start()
        try:
            return command("probe", address, "--credential", str(certs / "payments"))
        finally:
            server.stop(None).wait()


async def call_on_a_loop(certs: Path, policy: Path) -> bytes:
    """Call as orders, on an event loop."""
    async with (
        pki.Workload.from_directory(certs / "payments", policy=policy) as me,
        pki.Workload.from_directory(certs / "orders", policy=policy) as orders,
    ):
        server = me.server()
        server.add_generic_rpc_handlers((handlers(who_calls_aio),))
        port = server.add_secure_port("127.0.0.1:0")
        await server.start()
        async with orders.channel(f"127.0.0.1:{port}", peer="payments") as channel:
            answer: bytes = await channel.unary_unary(_METHOD)(b"", timeout=20)
        await server.stop(None)
        return answer


def command(*arguments: str) -> tuple[int, str]:
    """Run the command of this environment; return its exit code and all that it printed."""
    program = Path(sys.executable).with_name("handfast")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def main() -> None:
    """Check everything, and print what was checked."""
    certs = Path(sys.argv[1])
    policy = certs / "policy.toml"
    policy.write_text(_POLICY)
    count = import_everything()
    with contextlib.suppress(ImportError):
        pki.Authority  # noqa: B018 - loading it is the check
        raise SystemExit("the core loads the CA, so this is not the core alone")
    caller = b"spiffe://shop.internal/orders"
    assert call_in_threads(certs, policy) == (caller, grpc.StatusCode.PERMISSION_DENIED)
    assert asyncio.run(call_on_a_loop(certs, policy)) == caller
    code, text = probe_itself(certs, policy)
    assert code == 0, (code, text)
    assert text.endswith(": SERVING\n"), text
    code, text = command("issue", "orders")
    assert code == 3, (code, text)
    assert "pip install 'handfast[ca,cli]'" in text, text
    code, text = command("docs", "expired")
    assert (code, text.partition("\n")[0]) == (0, "# The certificate has expired"), text
    sys.stdout.write(
        f"The core alone, on grpcio {grpc.__version__}: {count} modules load, and calls are served "
        "and refused, in threads and on an event loop; a server probes itself\n"
    )


if __name__ == "__main__":
    main()
