"""OpenTelemetry's real SDK and its own gRPC instrumentation, for the tests of traces."""

from __future__ import annotations

from typing import Any

import opentelemetry.instrumentation.grpc
import opentelemetry.instrumentation.grpc.grpcext
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.interop.shop import eventually

# Neither has types.
GRPC: Any = opentelemetry.instrumentation.grpc
GRPCEXT: Any = opentelemetry.instrumentation.grpc.grpcext
SERVER, CLIENT = trace.SpanKind.SERVER, trace.SpanKind.CLIENT


class Spans:
    """What was recorded."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def of(self, kind: trace.SpanKind) -> list[ReadableSpan]:
        return [item for item in self.exporter.get_finished_spans() if item.kind is kind]

    def names(self, kind: trace.SpanKind) -> list[str]:
        return [item.name for item in self.of(kind)]

    def one(self, kind: trace.SpanKind = SERVER) -> dict[str, Any]:
        """Wait for the one span of a kind, and give its attributes."""
        assert eventually(lambda: len(self.of(kind)) == 1)
        (span,) = self.of(kind)
        return dict(span.attributes or {})

    def observer(self, kind: str) -> Any:
        make = GRPC.aio_server_interceptor if kind == "aio" else GRPC.server_interceptor
        return make(self.provider)
