"""A process that answers as the CA does, by bare grpcio: no CA in Python over gRPC costs less.

It checks and signs, behind mutual TLS, and does nothing else: no policy, no names, no ledger.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from cryptography.hazmat.primitives.serialization import Encoding

from pki._proto.handfast.ca.v1 import authority_pb2, certificate_pb2
from tests.bench.ca.bare import BareCa
from tests.bench.children import serve_commands
from tests.bench.sides import Loop, pem_of

_METHOD = "IssueBatch"


class _Service:
    def __init__(self, directory: Path) -> None:
        self._ca = BareCa()
        self._pem = pem_of(directory)
        self._server: grpc.aio.Server | None = None

    async def serve(self) -> str:
        """Serve from now on; return the address."""
        server = self._server = grpc.aio.server()
        handler = grpc.unary_unary_rpc_method_handler(
            self._issue_batch,
            request_deserializer=authority_pb2.IssueBatchRequest.FromString,
            response_serializer=authority_pb2.IssueBatchResponse.SerializeToString,
        )
        name = authority_pb2.DESCRIPTOR.services_by_name["Authority"].full_name
        handlers = grpc.method_handlers_generic_handler(name, {_METHOD: handler})
        server.add_generic_rpc_handlers((handlers,))
        pair = self._pem["key"], self._pem["chain"]
        credentials = grpc.ssl_server_credentials(
            [pair], self._pem["bundle"], require_client_auth=True
        )
        port = server.add_secure_port("127.0.0.1:0", credentials)
        await server.start()
        return f"127.0.0.1:{port}"

    async def _issue_batch(
        self, request: authority_pb2.IssueBatchRequest, _: Any
    ) -> authority_pb2.IssueBatchResponse:
        results = [self._result(item.request) for item in request.items]
        return authority_pb2.IssueBatchResponse(results=results)

    def _result(self, der: bytes) -> authority_pb2.BatchResult:
        leaf = self._ca.issue(der).public_bytes(Encoding.DER)
        issued = certificate_pb2.IssuedCertificate(chain=[leaf])
        return authority_pb2.BatchResult(certificate=issued)


if __name__ == "__main__":
    _service = _Service(Path(json.loads(sys.argv[1])["directory"]))
    _address = Loop().run(_service.serve())
    serve_commands({"address": _address, "pid": os.getpid()}, {})
