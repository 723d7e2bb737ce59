"""What commands that replace issuing CAs and roots ask of a CA: the same messages both ways."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from pki._proto.handfast.ca.v1 import rotation_pb2 as messages
from pki.authority.signers.new_key import KeyPlace
from pki.cli.service.rotation.on_folder import FolderDesk
from pki.cli.state.authority import open_authority, open_urgently
from pki.cli.state.trust_distribution import Distribution


class RotationDesk(Protocol):
    """A CA whose issuing CAs and roots are replaced.

    Attributes:
        distribution: which credential directories on the CA's machine have what was changed.
        waited: the request that waited for the roots before one was made; empty if there was none.
    """

    distribution: Distribution
    waited: bytes

    def status(self) -> messages.RotationStatus:
        """Return where the rotations stand, with every holder."""

    def request(self) -> bytes:
        """Return the request that waits for the roots."""

    def prepare_issuer(
        self, request: messages.PrepareIssuerRequest, place: KeyPlace | None
    ) -> messages.Prepared:
        """Make the next issuing CA, or a request for it."""

    def distribute(self) -> None:
        """Bring what was changed to whom this CA brings it itself."""

    def activate_issuer(self, key_id: str) -> messages.IssuingCa:
        """Sign leaves with the prepared issuing CA."""

    def distrust(self, key_id: str) -> messages.Distrusted:
        """Revoke an issuing CA."""

    def prepare_root(
        self, request: messages.PrepareRootRequest, lifetime: timedelta
    ) -> messages.Prepared:
        """Put a new root beside the present one, or make a request for that."""

    def import_answers(self, answers: list[bytes], *, force: bool) -> messages.Imported:
        """Record what the roots signed."""

    def activate_root(self, *, force: bool) -> messages.ActivatedRoot:
        """Issue leaves under the prepared root."""

    def withdraw_root(self, key_id: str, *, force: bool) -> messages.WithdrawnRoot:
        """Take a root out of the trust bundle, or make a request for that."""

    def renew_root_lists(self) -> messages.RenewedRootLists:
        """Have the roots sign their lists anew."""

    def acknowledge_restored_log(self) -> messages.AcknowledgedLog:
        """Have the roots acknowledge that the audit log was restored."""

    def root_keys(self) -> list[Path]:
        """Return the files here that hold roots' keys."""

    def request_path(self, out: Path | None) -> Path:
        """Return where a request is written."""

    def reached(self, what: str) -> str:
        """Say how something new gets to the workloads, in a sentence."""

    def renewals(self) -> str:
        """Say how certificates come under what is active now."""

    def rest(self) -> str:
        """Say what is left to do for workloads that it does not reach by itself."""

    def options(self) -> str:
        """Return the options with which a printed command finds this CA again."""


@contextmanager
def rotation_desk(
    ca: str | None,
    credential: Path | None,
    directory: Path,
    *,
    passphrase_file: Path | None = None,
    module: Path | None = None,
    read_only: bool = False,
    is_urgent: bool = False,
) -> Iterator[RotationDesk]:
    """Open the CA's folder, or a CA over the network if its address is given.

    Args:
        ca: the address.
        credential: the directory of the credential to ask with.
        directory: the state folder.
        passphrase_file: of the CA's keys in the folder.
        module: the PKCS#11 module.
        read_only: nothing is changed.
        is_urgent: it revokes something, and waits for nobody.
    """
    if ca is None:
        with (
            open_urgently(directory, passphrase_file=passphrase_file)
            if is_urgent
            else open_authority(
                directory, read_only=read_only, passphrase_file=passphrase_file, module=module
            )
        ) as authority:
            yield FolderDesk(authority, directory)
        return
    # Loaded here: on the folder, nobody needs the network.
    from pki.cli.service.remote import remote_ca  # noqa: PLC0415
    from pki.cli.service.rotation.over_network import NetworkDesk  # noqa: PLC0415

    with remote_ca(ca, credential) as remote:
        yield NetworkDesk(remote.rotation, ca, credential)
