"""Strangers who open connections as fast as they can, while a port's certificate is changed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pki.authority import Authority
from tests.interop.load import Load
from tests.interop.shop import SECONDS, Shop, eventually, get_stock

# In a process of its own: what is looked for is a crash of it.
SERVER = """
import socket, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import grpc
from pki.rpc.server.port_certificate import PortCertificate

folder = Path(sys.argv[1])
names = ("key.pem", "chain.pem", "bundle.pem")
key, chain, bundle = ((folder / name).read_bytes() for name in names)

def configuration():
    return grpc.ssl_server_certificate_configuration([(key, chain)], bundle)

port = PortCertificate(configuration())
server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
number = server.add_secure_port("127.0.0.1:0", port.credentials())
port.bind("127.0.0.1:0", number)
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
    port.update(configuration())
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


# Opens connections, begins a handshake on every second one, and holds them all until it is told to
# stop.
HALF_OPEN = """
import socket, sys
address = ("127.0.0.1", int(sys.argv[1]))
held = []
for number in range(int(sys.argv[2])):
    item = socket.create_connection(address, 20)
    if number % 2:
        item.sendall(bytes.fromhex("16030100ff"))
    held.append(item)
print(len(held), flush=True)
sys.stdin.read()
"""
HALF_OPENED = 2000


@pytest.mark.parametrize("kind", ["aio", "sync"])
def test_two_thousand_half_open_connections_keep_no_good_client_waiting(
    tmp_path: Path, kind: str
) -> None:
    shop = Shop(tmp_path)
    for name in ("server", "caller"):
        shop.directory(name)
    with (
        shop.workload("server") as me,
        shop.server(kind, me) as address,
        shop.workload("caller") as caller,
        subprocess.Popen(
            [sys.executable, "-c", HALF_OPEN, address.rpartition(":")[2], str(HALF_OPENED)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as strangers,
        Load(caller, address) as load,
    ):
        assert strangers.stdout is not None
        assert strangers.stdin is not None
        assert int(strangers.stdout.readline()) == HALF_OPENED
        assert load.goes_on(200)
        # New connections too, and a change of the server's certificate meanwhile.
        fresh = shop.ca.issue("server")
        fresh.save(shop.home / "server")
        assert eventually(lambda: me.credential.leaf == fresh.leaf)
        for _ in range(5):
            with caller.sync_channel(address, peer="server") as channel:
                assert get_stock(channel) > 0
        strangers.stdin.close()
        assert strangers.wait(SECONDS) == 0
    assert not load.failed, load.failed[:3]
    shop.ca.close()
