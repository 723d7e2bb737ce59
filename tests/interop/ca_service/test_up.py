"""``handfast up``: what a newcomer reads can be typed, and what it promises is seen."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from tests.served_process import handfast, running


def test_a_revocation_is_seen_and_a_port_in_use_is_told(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            # If somebody else listens there already, that will do.
            stack.enter_context(socket.create_server(("127.0.0.1", 8443)))
        process = stack.enter_context(running(tmp_path, "up"))
        process.line("Port 8443 of 127.0.0.1 is in use by another process: this CA has ")
        process.line("  /demo.Greeter/Shout  refused")
        process.line("The caller calls /demo.Greeter/Greet once a second")
        revoke = process.line("  handfast revoke caller").split("    ")[0].split()[1:]
        assert handfast(tmp_path, *revoke).returncode == 0
        refused = process.line("  /demo.Greeter/Greet  refused")
        assert "CERTIFICATE_REVOKED" in refused
        assert process.stop() == 0
    lines = process.output.splitlines()
    for name in ("greeter", "caller", "ops"):
        registered = lines.index(f"$ handfast registration create {name}")
        (enrolled,) = (
            number for number, line in enumerate(lines) if f"token create {name}" in line
        )
        assert registered < enrolled
    assert any("token create mine | handfast enroll - --out" in line for line in lines)


def test_once_offers_nothing_that_needs_the_ca_that_has_ended(tmp_path: Path) -> None:
    done = handfast(tmp_path, "up", "--once")
    assert done.returncode == 0, done.stderr
    following = done.stdout.partition("Next:")[2]
    assert "handfast inspect" in following
    assert "--ca" not in following
    assert "enroll" not in following
