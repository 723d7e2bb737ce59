"""Those who ask the CA over the network: workloads, registrars, admins and strangers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

import pki
from pki._proto.handfast.ca.v1 import (
    authority_pb2,
    authority_pb2_grpc,
    enrollment_pb2_grpc,
    registrations_pb2,
    registrations_pb2_grpc,
    trust_pb2_grpc,
)
from pki.ca_client.contact import stranger_channel
from pki.identity import SpiffeId
from pki.keys import generate_key
from tests.ca_service import Served
from tests.enrolling import request_of
from tests.interop.shop import SECONDS


def reason(error: grpc.RpcError) -> str:
    """Return the reason of a refusal, wherever it was decided."""
    call: Any = error
    for key, value in call.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            info = error_details_pb2.ErrorInfo()
            status = status_pb2.Status.FromString(value)
            assert status.details[0].Unpack(info)
            assert info.domain == "handfast"
            return str(info.reason)
    return str(call.code().name)


class Asking:
    """A workload that asks the CA."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.authority = authority_pb2_grpc.AuthorityStub(channel)
        self.registrations = registrations_pb2_grpc.RegistrationsStub(channel)
        self.trust = trust_pb2_grpc.TrustStub(channel)
        self.channel = channel

    def register(self, path: str, **settings: Any) -> registrations_pb2.Registration:
        registration = registrations_pb2.Registration(
            spiffe_id=f"spiffe://shop.internal/{path}", **settings
        )
        request = registrations_pb2.CreateRegistrationRequest(registration=registration)
        return self.registrations.CreateRegistration(request, timeout=SECONDS)

    def token(self, path: str) -> str:
        request = authority_pb2.CreateTokenRequest(spiffe_id=f"spiffe://shop.internal/{path}")
        return self.authority.CreateToken(request, timeout=SECONDS).token

    def batch(self, *paths: str) -> list[authority_pb2.BatchResult]:
        items = [
            authority_pb2.BatchItem(
                spiffe_id=f"spiffe://shop.internal/{path}", request=request_of(generate_key())
            )
            for path in paths
        ]
        request = authority_pb2.IssueBatchRequest(items=items)
        return list(self.authority.IssueBatch(request, timeout=SECONDS).results)

    def listed(self) -> list[str]:
        request = authority_pb2.ListCertificatesRequest(page_size=2)
        found: list[str] = []
        while True:
            page = self.authority.ListCertificates(request, timeout=SECONDS)
            found += [item.spiffe_id for item in page.certificates]
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    def revoke(self, **target: Any) -> int:
        request = authority_pb2.RevokeRequest(**target)
        return len(self.authority.Revoke(request, timeout=SECONDS).certificates)


@contextmanager
def asking(ca: Served, folder: Path, name: str) -> Iterator[Asking]:
    ca.authority.issue(name).save(folder / name)
    with pki.Workload.from_directory(folder / name) as me:
        peer = SpiffeId.of_ca(me.spiffe_id.trust_domain)
        with me.sync_channel(ca.address, peer=peer) as channel:
            yield Asking(channel)


@contextmanager
def stranger(ca: Served) -> Iterator[enrollment_pb2_grpc.EnrollmentStub]:
    root = ca.authority.trust()[0].all_roots()[0]
    with stranger_channel(ca.enroll_address, ca.authority.trust_domain, root) as channel:
        yield enrollment_pb2_grpc.EnrollmentStub(channel)


def refused(call: Any) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return reason(caught.value)
