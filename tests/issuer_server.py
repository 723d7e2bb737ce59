"""An OIDC issuer's HTTPS server on this machine, under a CA made for it."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pki.attestation import IssuerConfig
from pki.authority import Authority
from pki.authority.bootstrap import AuthorityPlan
from pki.identity import DnsName
from tests.support import SHOP

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


class Server:
    """An HTTPS server of this machine, whose answers a test sets."""

    def __init__(self, folder: Path, host: str = "localhost") -> None:
        plan = AuthorityPlan(SHOP, (DnsName("localhost"), DnsName("elsewhere.example")))
        with Authority.create(folder / "ca", plan) as ca:
            ca.issue("issuer", dns=[DnsName(host)]).save(folder / "issuer")
        self.bundle = folder / "ca" / "bundle.pem"
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(self.path)
                server.answers.get(self.path, missing)(self)

            def log_message(self, *_: object) -> None: ...

        class Quiet(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None: ...

        self.http = Quiet(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "issuer" / "chain.pem", folder / "issuer" / "key.pem")
        self.http.socket = context.wrap_socket(
            self.http.socket, server_side=True, do_handshake_on_connect=False
        )
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()

    @property
    def url(self) -> str:
        return f"https://localhost:{self.http.server_address[1]}"

    def serve(self, path: str, document: object) -> None:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.answers[path] = sends(body)

    def config(self, **options: Any) -> IssuerConfig:
        table = {"issuer": self.url, "ca_bundle": str(self.bundle), "algorithms": ["ES256"]}
        return IssuerConfig.parse({**table, **options}, SHOP)

    def close(self) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


def sends(body: bytes, status: int = 200, /, **headers: str) -> Answer:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


missing = sends(b"no", 404)
