"""A process that asks OpenBao for certificates, over sixteen connections that are kept.

The requests are made before, byte for byte, and of an answer nothing but its status is read.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
from collections.abc import Callable
from typing import Any

from tests.bench.ca.signing_requests import make_pems
from tests.bench.ca.threads import work_until
from tests.bench.children import serve_commands


class Load:
    """The connections, and the requests that were not sent yet."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._context = ssl.create_default_context(cafile=settings["root"])
        self._connections: list[ssl.SSLSocket] = []
        self._requests: list[bytes] = []

    def prepare(self, number: int) -> int:
        """Make requests for the next measure, and connect anew: idle connections are closed."""
        self._requests += [self._request(pem) for pem in make_pems(number - len(self._requests))]
        for connection in self._connections:
            connection.close()
        self._connections = [self._connect() for _ in range(self._settings["connections"])]
        for connection in self._connections:
            self._issue(connection)()
        return len(self._requests)

    def issue(self, seconds: float) -> dict[str, float]:
        """Ask for certificates."""
        return work_until([self._issue(item) for item in self._connections], seconds)

    def _connect(self) -> ssl.SSLSocket:
        address = ("127.0.0.1", self._settings["port"])
        connection = socket.create_connection(address, 60)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._context.wrap_socket(connection, server_hostname="localhost")

    def _request(self, pem: str) -> bytes:
        body = json.dumps({"csr": pem, "common_name": "load.shop.internal", "ttl": "1h"}).encode()
        head = (
            f"POST {self._settings['path']} HTTP/1.1\r\nHost: localhost\r\n"
            f"X-Vault-Token: {self._settings['token']}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def _issue(self, connection: ssl.SSLSocket) -> Callable[[], int]:
        def work() -> int:
            connection.sendall(self._requests.pop())
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += self._received(connection)
            if not answer.startswith(b"HTTP/1.1 200 "):
                raise RuntimeError(answer[:1000].decode())
            # It answers in chunks, of which the last one is empty.
            while not answer.endswith(b"\r\n0\r\n\r\n"):
                answer += self._received(connection)
            return 1

        return work

    @staticmethod
    def _received(connection: ssl.SSLSocket) -> bytes:
        data = connection.recv(65536)
        if not data:
            raise RuntimeError("OpenBao closed the connection")
        return data


if __name__ == "__main__":
    _load = Load(json.loads(sys.argv[1]))
    serve_commands({}, {"prepare": _load.prepare, "issue": _load.issue})
