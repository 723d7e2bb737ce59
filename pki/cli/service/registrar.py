"""Registrations on the CA's folder or over the network: the same messages both ways."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from pki._proto.handfast.ca.v1 import registrations_pb2 as messages
from pki._proto.handfast.ca.v1.registrations_pb2_grpc import RegistrationsStub
from pki.authority import Authority
from pki.authority.enrollment import (
    create_registration,
    delete_registration,
    get_registration,
    list_registrations,
    update_registration,
)
from pki.authority.enrollment.registering import Changed
from pki.authority.publishing.refreshing import sign_missing
from pki.ca_client.rpc_errors import call
from pki.cli.service.operator import operator
from pki.cli.service.remote import SECONDS, remote_ca
from pki.cli.state.authority import open_authority, open_urgently
from pki.daemon import registration_calls
from pki.daemon.messages import read_registration, registration_message
from pki.identity import SpiffeId

_PAGE = 500


class Registrar(Protocol):
    """Who answers about registrations."""

    def create(self, registration: messages.Registration) -> messages.Registration:
        """Register a workload."""

    def get(self, spiffe_id: str) -> messages.Registration:
        """Return a registration."""

    def update(
        self, registration: messages.Registration, *, keep: bool
    ) -> messages.ChangedRegistration:
        """Replace a registration."""

    def delete(self, spiffe_id: str, *, keep: bool) -> messages.ChangedRegistration:
        """Delete a registration."""

    def all(self, prefix: str) -> Iterator[messages.Registration]:
        """Return every registration at or below a path."""

    def confirm(
        self, request: messages.ConfirmRegistrationsRequest
    ) -> messages.ConfirmRegistrationsResponse:
        """Confirm registrations from a backup, and list those that wait."""

    def spiffe_id(self, name: str) -> str:
        """Return the SPIFFE ID that a name stands for."""


class FolderRegistrar:
    """The CA's folder, as the operator's."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self._context = authority.context

    def create(self, registration: messages.Registration) -> messages.Registration:
        """Register a workload."""
        value = read_registration(registration)
        return registration_message(value, create_registration(self._context, operator(), value))

    def get(self, spiffe_id: str) -> messages.Registration:
        """Return a registration."""
        found = get_registration(self._context, operator(), SpiffeId.parse(spiffe_id))
        return registration_message(*found)

    def update(
        self, registration: messages.Registration, *, keep: bool
    ) -> messages.ChangedRegistration:
        """Replace a registration."""
        changed = update_registration(
            self._context,
            operator(),
            read_registration(registration),
            revision=registration.revision,
            keep_certificates=keep,
        )
        return self._changed(changed)

    def delete(self, spiffe_id: str, *, keep: bool) -> messages.ChangedRegistration:
        """Delete a registration."""
        changed = delete_registration(
            self._context, operator(), SpiffeId.parse(spiffe_id), keep_certificates=keep
        )
        return self._changed(changed)

    def all(self, prefix: str) -> Iterator[messages.Registration]:
        """Return every registration at or below a path."""
        below = SpiffeId.parse_name(prefix, self._authority.trust_domain) if prefix else None
        after = ""
        while page := list_registrations(
            self._context, operator(), after=after, most=_PAGE, prefix=below
        ):
            yield from (registration_message(*item) for item in page)
            after = str(page[-1][0].spiffe_id)

    def confirm(
        self, request: messages.ConfirmRegistrationsRequest
    ) -> messages.ConfirmRegistrationsResponse:
        """Confirm registrations from a backup, and list those that wait."""
        return registration_calls.confirm(self._context, operator(), request)

    def spiffe_id(self, name: str) -> str:
        """Return the SPIFFE ID that a name stands for."""
        return str(SpiffeId.parse_name(name, self._authority.trust_domain))

    def _changed(self, changed: Changed) -> messages.ChangedRegistration:
        if changed.revoked:
            self._context.publish()
            # A list that could not be signed is told: the rest is done.
            sign_missing(self._context)
        message = messages.ChangedRegistration(
            revoked=[record.serial for record in changed.revoked]
        )
        if changed.registration is not None and changed.revision is not None:
            message.registration.CopyFrom(
                registration_message(changed.registration, changed.revision)
            )
        return message


class RemoteRegistrar:
    """A CA over the network."""

    def __init__(self, stub: RegistrationsStub, own_id: SpiffeId) -> None:
        self._stub = stub
        self._own_id = own_id

    def create(self, registration: messages.Registration) -> messages.Registration:
        """Register a workload."""
        request = messages.CreateRegistrationRequest(registration=registration)
        return call(lambda: self._stub.CreateRegistration(request, timeout=SECONDS))

    def get(self, spiffe_id: str) -> messages.Registration:
        """Return a registration."""
        request = messages.GetRegistrationRequest(spiffe_id=spiffe_id)
        return call(lambda: self._stub.GetRegistration(request, timeout=SECONDS))

    def update(
        self, registration: messages.Registration, *, keep: bool
    ) -> messages.ChangedRegistration:
        """Replace a registration."""
        request = messages.UpdateRegistrationRequest(
            registration=registration, keep_certificates=keep
        )
        return call(lambda: self._stub.UpdateRegistration(request, timeout=SECONDS))

    def delete(self, spiffe_id: str, *, keep: bool) -> messages.ChangedRegistration:
        """Delete a registration."""
        request = messages.DeleteRegistrationRequest(spiffe_id=spiffe_id, keep_certificates=keep)
        return call(lambda: self._stub.DeleteRegistration(request, timeout=SECONDS))

    def all(self, prefix: str) -> Iterator[messages.Registration]:
        """Return every registration at or below a path."""
        request = messages.ListRegistrationsRequest(page_size=_PAGE, prefix=prefix)
        while True:
            page = call(lambda: self._stub.ListRegistrations(request, timeout=SECONDS))
            yield from page.registrations
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def confirm(
        self, request: messages.ConfirmRegistrationsRequest
    ) -> messages.ConfirmRegistrationsResponse:
        """Confirm registrations from a backup, and list those that wait."""
        return call(lambda: self._stub.ConfirmRegistrations(request, timeout=SECONDS))

    def spiffe_id(self, name: str) -> str:
        """Return the SPIFFE ID that a name stands for."""
        return str(SpiffeId.parse_name(name, self._own_id.trust_domain))


@contextmanager
def registrar(
    ca: str | None,
    credential: Path | None,
    directory: Path,
    *,
    revokes: bool = False,
    publishes: bool = True,
) -> Iterator[Registrar]:
    """Open the CA's folder, or a CA over the network if its address is given.

    Args:
        ca: the address.
        credential: the directory of the credential to ask with.
        directory: the state folder.
        revokes: whether something may be revoked, which a full disk must not stop.
        publishes: whether the folder's CA publishes first, which one that was restored can't yet.
    """
    if ca is None:
        with (
            open_urgently(directory)
            if revokes
            else open_authority(directory, read_only=not publishes)
        ) as authority:
            yield FolderRegistrar(authority)
        return
    with remote_ca(ca, credential) as remote:
        yield RemoteRegistrar(remote.registrations, remote.own_id)
