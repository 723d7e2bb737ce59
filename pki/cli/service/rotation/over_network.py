"""Replace issuing CAs and roots of a CA that is reached over the network."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import typer

from pki._proto.handfast.ca.v1 import rotation_pb2 as messages
from pki._proto.handfast.ca.v1.rotation_pb2_grpc import RotationStub
from pki.authority.signers.new_key import KeyPlace
from pki.ca_client.rpc_errors import call
from pki.cli.service.ca_options import remote_options
from pki.cli.service.remote import SECONDS
from pki.cli.state.root_requests import REQUEST_FILE
from pki.cli.state.trust_distribution import Distribution
from pki.errors import PkiError

_PAGE = 5000
_HEARD_AFTER = 1.0


class NetworkDesk:
    """A CA over the network. Who follows it gets each change by itself.

    Args:
        stub: of its service.
        address: where it is.
        credential: the directory of the credential to ask with.
    """

    def __init__(self, stub: RotationStub, address: str, credential: Path | None) -> None:
        self._stub = stub
        self._address = address
        self._credential = credential
        self.distribution = Distribution()
        self.waited = b""

    def status(self) -> messages.RotationStatus:
        """Return where the rotations stand, with every holder."""
        request = messages.GetRotationStatusRequest(page_size=_PAGE)
        whole = messages.RotationStatus()
        while True:
            page = call(lambda: self._stub.GetRotationStatus(request, timeout=SECONDS))
            holders = [*whole.holders, *page.holders]
            whole.CopyFrom(page)
            del whole.holders[:]
            whole.holders.extend(holders)
            if not page.next_page_token:
                return whole
            request.page_token = page.next_page_token

    def request(self) -> bytes:
        """Return the request that waits for the roots."""
        request = messages.GetRootRequestRequest()
        return call(lambda: self._stub.GetRootRequest(request, timeout=SECONDS)).request

    def prepare_issuer(
        self, request: messages.PrepareIssuerRequest, place: KeyPlace | None
    ) -> messages.Prepared:
        """Make the next issuing CA, or a request for it."""
        self._note_waiting()
        if place is not None:
            raise typer.BadParameter("--key is for the CA's own machine: leave it out with --ca")
        return call(lambda: self._stub.PrepareIssuer(request, timeout=SECONDS))

    def distribute(self) -> None:
        """Wait until all who follow the CA have it: its stream brings it."""
        time.sleep(_HEARD_AFTER)

    def activate_issuer(self, key_id: str) -> messages.IssuingCa:
        """Sign leaves with the prepared issuing CA."""
        request = messages.ActivateIssuerRequest(key_id=key_id)
        return call(lambda: self._stub.ActivateIssuer(request, timeout=SECONDS))

    def distrust(self, key_id: str) -> messages.Distrusted:
        """Revoke an issuing CA."""
        request = messages.DistrustRequest(key_id=key_id)
        return call(lambda: self._stub.Distrust(request, timeout=SECONDS))

    def prepare_root(
        self, request: messages.PrepareRootRequest, lifetime: timedelta
    ) -> messages.Prepared:
        """Put a new root beside the present one, or make a request for that."""
        self._note_waiting()
        del lifetime
        if not request.root:
            raise typer.BadParameter(
                "--ca needs --root FILE: the root's key is made where roots are kept (handfast ca "
                "root new), and never over the network"
            )
        return call(lambda: self._stub.PrepareRoot(request, timeout=SECONDS))

    def import_answers(self, answers: list[bytes], *, force: bool) -> messages.Imported:
        """Record what the roots signed."""
        request = messages.ImportAnswersRequest(answers=answers, force=force)
        return call(lambda: self._stub.ImportAnswers(request, timeout=SECONDS))

    def activate_root(self, *, force: bool) -> messages.ActivatedRoot:
        """Issue leaves under the prepared root."""
        request = messages.ActivateRootRequest(force=force)
        return call(lambda: self._stub.ActivateRoot(request, timeout=SECONDS))

    def withdraw_root(self, key_id: str, *, force: bool) -> messages.WithdrawnRoot:
        """Take a root out of the trust bundle, or make a request for that."""
        self._note_waiting()
        request = messages.WithdrawRootRequest(key_id=key_id, force=force)
        return call(lambda: self._stub.WithdrawRoot(request, timeout=SECONDS))

    def renew_root_lists(self) -> messages.RenewedRootLists:
        """Have the roots sign their lists anew."""
        self._note_waiting()
        request = messages.RenewRootListsRequest()
        return call(lambda: self._stub.RenewRootLists(request, timeout=SECONDS))

    def acknowledge_restored_log(self) -> messages.AcknowledgedLog:
        """Have the roots acknowledge that the audit log was restored."""
        self._note_waiting()
        request = messages.AcknowledgeRestoredLogRequest()
        return call(lambda: self._stub.AcknowledgeRestoredLog(request, timeout=SECONDS))

    def _note_waiting(self) -> None:
        with suppress(PkiError):
            # None waits, or the step that follows says why nobody could be asked.
            self.waited = self.request()

    def root_keys(self) -> list[Path]:
        """Return nothing: whoever looks after the CA's machine knows what is there."""
        return []

    def request_path(self, out: Path | None) -> Path:
        """Return where a request is written: by default into the present folder."""
        return out if out is not None else Path(REQUEST_FILE)

    def reached(self, what: str) -> str:
        """Say how followers get it."""
        return f"{what} reaches everybody who follows the CA within a second"

    def renewals(self) -> str:
        """Say how certificates come under what is active now."""
        return "workloads renew by themselves, in the middle of their life"

    def rest(self) -> str:
        """Say who does not get it by themselves."""
        return "bring bundle.pem and crl.pem from the CA's machine to those who do not follow it"

    def options(self) -> str:
        """Return the options that ask this CA again."""
        return remote_options(self._address, self._credential)
