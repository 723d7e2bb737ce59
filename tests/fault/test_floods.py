"""Strangers who open connections as fast as they can, while the server's certificate is changed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pki.authority import Authority

# In a process of its own: what is looked for is a crash of it.
SERVER = """
import socket, sys, threading, time
from pathlib import Path
import pki

home = Path(sys.argv[1])
with (
    pki.Authority.open(home / "ca") as ca,
    pki.Workload.from_directory(home / "server", policy=home / "policy.toml") as me,
):
    server = me.sync_server()
    port = server.add_secure_port(sys.argv[2])
    server.start()
    end = time.monotonic() + 6

    def flood():
        while time.monotonic() < end:
            opened = []
            for _ in range(40):
                item = socket.socket()
                item.connect(("127.0.0.1", port))
                opened.append(item)
            for item in opened:
                item.close()

    strangers = [threading.Thread(target=flood) for _ in range(3)]
    for item in strangers:
        item.start()
    changes = 0
    while time.monotonic() < end:
        ca.issue("server").save(home / "server")
        me.reload()
        changes += 1
    for item in strangers:
        item.join()
    server.stop(None).wait()
    print(changes)
"""


def test_a_flood_of_connections_does_not_end_the_process_while_certificates_change(
    tmp_path: Path,
) -> None:
    with Authority.create(tmp_path / "ca", "shop.internal") as ca:
        ca.issue("server").save(tmp_path / "server")
    (tmp_path / "policy.toml").write_text(
        'trust_domain = "shop.internal"\n[roles]\na = ["spiffe://shop.internal/a"]\n'
    )
    done = subprocess.run(
        [sys.executable, "-c", SERVER, str(tmp_path), "127.0.0.1:0"],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 0
