"""Strangers who open connections as fast as they can, while a port's certificate is changed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pki.authority import Authority

# In a process of its own: what is looked for is a crash of it.
SERVER = """
import socket, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import grpc
from pki.rpc.port import Port

folder = Path(sys.argv[1])
names = ("key.pem", "chain.pem", "bundle.pem")
key, chain, bundle = ((folder / name).read_bytes() for name in names)

def configuration():
    return grpc.ssl_server_certificate_configuration([(key, chain)], bundle)

port = Port(configuration())
server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
number = server.add_secure_port("127.0.0.1:0", port.credentials())
port.opened("127.0.0.1:0", number)
server.start()
end = time.monotonic() + 8

def flood():
    while time.monotonic() < end:
        opened = []
        for _ in range(50):
            item = socket.socket()
            item.connect(("127.0.0.1", number))
            opened.append(item)
        for item in opened:
            item.close()

strangers = [threading.Thread(target=flood) for _ in range(4)]
for item in strangers:
    item.start()
changes = 0
while time.monotonic() < end:
    port.offer(configuration())
    port.release()
    changes += 1
    time.sleep(0.01)
for item in strangers:
    item.join()
port.close()
server.stop(None).wait()
print(changes)
"""


def test_a_flood_of_connections_does_not_end_the_process_while_certificates_change(
    tmp_path: Path,
) -> None:
    with Authority.create(tmp_path / "ca", "shop.internal") as ca:
        ca.issue("server").save(tmp_path / "server")
    done = subprocess.run(
        [sys.executable, "-c", SERVER, str(tmp_path / "server")],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 0
