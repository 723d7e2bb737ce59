"""Read the existing services and methods from compiled contracts (``FileDescriptorSet``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import DecodeError

from pki.errors import InputError, quote_untrusted

MAX_CONTRACT_BYTES = 64 * 1024 * 1024
# gRPC's own services, which are part of its packages and not of a user's contracts.
WELL_KNOWN = MappingProxyType(
    {
        "grpc.health.v1.Health": frozenset({"Check", "List", "Watch"}),
        "grpc.reflection.v1.ServerReflection": frozenset({"ServerReflectionInfo"}),
        "grpc.reflection.v1alpha.ServerReflection": frozenset({"ServerReflectionInfo"}),
    }
)


@dataclass(frozen=True, slots=True)
class Contracts:
    """Services by full name, and the methods of each."""

    services: Mapping[str, frozenset[str]]

    @property
    def methods(self) -> tuple[str, ...]:
        """Every method's path, sorted."""
        return tuple(
            sorted(
                f"/{service}/{method}"
                for service, methods in self.services.items()
                for method in methods
            )
        )

    @classmethod
    def union(cls, parts: Iterable[Contracts]) -> Contracts:
        """Return the union of several contracts."""
        services: dict[str, frozenset[str]] = {}
        for part in parts:
            for name, methods in part.services.items():
                services[name] = services.get(name, frozenset()) | methods
        return cls(services)


def read_descriptor_set(data: bytes, *, source: str) -> Contracts:
    """Read a file written by ``protoc --descriptor_set_out``.

    Args:
        data: the bytes, at most 64 MiB.
        source: the file's name, for messages.

    Raises:
        InputError: if it is no descriptor set, or holds no service.
    """
    if len(data) > MAX_CONTRACT_BYTES:
        raise InputError(
            f"{quote_untrusted(source)} has {len(data)} bytes; {MAX_CONTRACT_BYTES} is the most"
        )
    try:
        descriptors = FileDescriptorSet.FromString(data)
    except DecodeError:
        raise InputError(
            f"{quote_untrusted(source)} is no descriptor set",
            remedy="Make one with: protoc --include_imports --descriptor_set_out=FILE ...",
        ) from None
    services = {
        f"{file.package}.{service.name}" if file.package else service.name: frozenset(
            method.name for method in service.method
        )
        for file in descriptors.file
        for service in file.service
    }
    if not services:
        raise InputError(f"{quote_untrusted(source)} holds no service")
    return Contracts(services)
