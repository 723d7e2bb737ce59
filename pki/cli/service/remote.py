"""A CA that is reached over the network, with the credential of an admin or a registrar."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import typer

from pki._proto.handfast.ca.v1 import (
    authority_pb2_grpc,
    registrations_pb2_grpc,
    rotation_pb2_grpc,
    trust_pb2_grpc,
)
from pki.cli.service.remote_errors import errors_of
from pki.identity import SpiffeId
from pki.workload import Workload

SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class RemoteCa:
    """The stubs of a CA's services, and who asks."""

    own_id: SpiffeId
    authority: authority_pb2_grpc.AuthorityStub
    registrations: registrations_pb2_grpc.RegistrationsStub
    trust: trust_pb2_grpc.TrustStub
    rotation: rotation_pb2_grpc.RotationStub


@contextmanager
def remote_ca(address: str, credential: Path | None) -> Iterator[RemoteCa]:
    """Open a channel to a CA.

    Raises:
        UsageError: if no credential is named.
        PkiError: if the credential can't be used.
    """
    if credential is None:
        raise typer.BadParameter("--ca needs --credential DIR: the CA asks who you are")
    with errors_of(address, credential), Workload.from_directory(credential) as me:
        peer = SpiffeId.of_ca(me.spiffe_id.trust_domain)
        # What a failed handshake means is said here, in one line, and not by the channel.
        with me.sync_channel(address, peer=peer, explain=False) as channel:
            yield RemoteCa(
                me.spiffe_id,
                authority_pb2_grpc.AuthorityStub(channel),
                registrations_pb2_grpc.RegistrationsStub(channel),
                trust_pb2_grpc.TrustStub(channel),
                rotation_pb2_grpc.RotationStub(channel),
            )
