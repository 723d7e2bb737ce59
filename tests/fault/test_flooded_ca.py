"""A served CA whose ports are both full of strangers' connections."""

from __future__ import annotations

import re
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pki.ca_client import CaIdentity
from pki.clock import system_clock
from pki.proofs import EnrollmentToken
from tests.interop.shop import eventually
from tests.served_process import handfast, running

_DESCRIPTORS = 256


@contextmanager
def few_descriptors() -> Iterator[None]:
    """Limit the descriptors of processes that are started meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_strangers_who_fill_both_ports_stop_no_revocation(tmp_path: Path) -> None:
    handfast(tmp_path, "ca", "init", "--trust-domain", "shop.internal")
    for name in ("orders", "payments"):
        handfast(tmp_path, "registration", "create", name)
    serve = ("ca", "serve", "--listen=127.0.0.1:0", "--enroll-listen=127.0.0.1:0", "--heartbeat=1s")
    with ExitStack() as stack:
        with few_descriptors():
            ca = stack.enter_context(running(tmp_path, *serve, name="ca"))
        ports = [int(item) for item in re.findall(r"127\.0\.0\.1:(\d+)", ca.line("Serving"))]
        orders, payments = (
            stack.enter_context(CaIdentity(tmp_path / name, token=token_of(tmp_path, name)))
            for name in ("orders", "payments")
        )
        now = system_clock()
        assert eventually(lambda: min(orders.last_heard, payments.last_heard) > now, 10)
        for number in range(2 * _DESCRIPTORS):
            with suppress(OSError):
                stack.enter_context(socket.create_connection(("127.0.0.1", ports[number % 2]), 1))
        assert len(list(Path(f"/proc/{ca.process.pid}/fd").iterdir())) < _DESCRIPTORS - 10
        serial = orders.credential.leaf.serial_number
        assert orders.revoke_own("key-compromise")

        def is_known() -> bool:
            lists = payments.credential.crls
            return lists is not None and (
                any(found == serial for _, found in lists.announced)
                or any(serial in item.revoked for item in lists.crls.values())
            )

        assert eventually(is_known, 5)


def token_of(folder: Path, name: str) -> EnrollmentToken:
    return EnrollmentToken.parse(handfast(folder, "token", "create", name).stdout.strip())
