"""Replace issuing CAs and roots of the CA in the state folder."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from pki._proto.handfast.ca.v1 import rotation_pb2 as messages
from pki.authority import Authority
from pki.authority.signers.new_key import KeyPlace
from pki.cli.options import ca_directory, dir_option
from pki.cli.output import quote_path
from pki.cli.state.root_requests import REQUEST_FILE
from pki.cli.state.trust_distribution import Distribution, distribute, import_crls
from pki.daemon import rotation_calls
from pki.errors import PkiError


class FolderDesk:
    """The CA's folder; credential directories below the state folder get each change at once."""

    def __init__(self, authority: Authority, state: Path) -> None:
        self._authority = authority
        self._state = state
        self.distribution = Distribution()
        self.waited = b""

    def status(self) -> messages.RotationStatus:
        """Return where the rotations stand, with every holder."""
        return rotation_calls.get_status(self._authority)

    def request(self) -> bytes:
        """Return the request that waits for the roots."""
        return rotation_calls.get_request(self._authority).request

    def prepare_issuer(
        self, request: messages.PrepareIssuerRequest, place: KeyPlace | None
    ) -> messages.Prepared:
        """Make the next issuing CA, or a request for it."""
        self._note_waiting()
        return rotation_calls.prepare_issuer(self._authority, request, place)

    def distribute(self) -> None:
        """Bring trust bundle and CRLs to all credential directories here."""
        self.distribution = distribute(self._authority, self._state)

    def activate_issuer(self, key_id: str) -> messages.IssuingCa:
        """Sign leaves with the prepared issuing CA."""
        request = messages.ActivateIssuerRequest(key_id=key_id)
        return rotation_calls.activate_issuer(self._authority, request)

    def distrust(self, key_id: str) -> messages.Distrusted:
        """Revoke an issuing CA."""
        request = messages.DistrustRequest(key_id=key_id)
        distrusted = rotation_calls.distrust(self._authority, request)
        self.distribute()
        return distrusted

    def prepare_root(
        self, request: messages.PrepareRootRequest, lifetime: timedelta
    ) -> messages.Prepared:
        """Put a new root beside the present one; without its certificate, make it here."""
        self._note_waiting()
        import_crls(self._authority, self._state)
        here = None if request.root else lifetime
        prepared = rotation_calls.prepare_root(self._authority, request, here)
        if not prepared.request:
            self.distribute()
        return prepared

    def import_answers(self, answers: list[bytes], *, force: bool) -> messages.Imported:
        """Record what the roots signed."""
        import_crls(self._authority, self._state)
        request = messages.ImportAnswersRequest(answers=answers, force=force)
        imported = rotation_calls.import_answers(self._authority, request)
        self.distribute()
        return imported

    def activate_root(self, *, force: bool) -> messages.ActivatedRoot:
        """Issue leaves under the prepared root."""
        import_crls(self._authority, self._state)
        # First, so that all that is here has the new root, and the CA knows it.
        self.distribute()
        request = messages.ActivateRootRequest(force=force)
        return rotation_calls.activate_root(self._authority, request)

    def withdraw_root(self, key_id: str, *, force: bool) -> messages.WithdrawnRoot:
        """Take a root out of the trust bundle, or make a request for that."""
        self._note_waiting()
        import_crls(self._authority, self._state)
        request = messages.WithdrawRootRequest(key_id=key_id, force=force)
        withdrawn = rotation_calls.withdraw_root(self._authority, request)
        if not withdrawn.request:
            self.distribute()
        return withdrawn

    def renew_root_lists(self) -> messages.RenewedRootLists:
        """Have the roots sign their lists anew."""
        self._note_waiting()
        import_crls(self._authority, self._state)
        renewed = rotation_calls.renew_root_lists(self._authority)
        if not renewed.request:
            self.distribute()
        return renewed

    def acknowledge_restored_log(self) -> messages.AcknowledgedLog:
        """Have the roots acknowledge that the audit log was restored."""
        self._note_waiting()
        acknowledged = rotation_calls.acknowledge_restored_log(self._authority)
        if not acknowledged.request:
            self.distribute()
        return acknowledged

    def _note_waiting(self) -> None:
        with suppress(PkiError):
            # None waits, or the step that follows says why nobody could be asked.
            self.waited = self.request()

    def root_keys(self) -> list[Path]:
        """Return the files here that hold roots' keys."""
        return sorted(self._authority.path.glob("root*.key.pem"))

    def request_path(self, out: Path | None) -> Path:
        """Return where a request is written: by default into the state folder."""
        return out if out is not None else self._state / REQUEST_FILE

    def reached(self, what: str) -> str:
        """Say to how many directories something was brought."""
        return f"{what} was brought to {self.distribution.directories_here}"

    def renewals(self) -> str:
        """Say how certificates come under what is active now."""
        return (
            "renew all certificates here (handfast renew --all); workloads that enrolled do so "
            "themselves"
        )

    def rest(self) -> str:
        """Say what must be brought to other machines."""
        folder = quote_path(ca_directory(self._state))
        return f"bring {folder}/bundle.pem and crl.pem to all others"

    def options(self) -> str:
        """Return the option that finds this folder again."""
        return dir_option(self._state)
