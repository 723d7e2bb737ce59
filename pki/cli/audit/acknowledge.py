"""``handfast audit acknowledge``: a root tells all followers that the log was restored."""

from __future__ import annotations

from pki.cli.ca.root.options import OutOption
from pki.cli.options import DEFAULT_DIR, DirOption
from pki.cli.output import JsonOption, print_result
from pki.cli.service.ca_options import CaOption, CredentialOption
from pki.cli.service.rotation.desk import rotation_desk
from pki.cli.state.key_access import PassphraseFileOption
from pki.cli.state.root_requests import print_request


def acknowledge(
    out: OutOption = None,
    ca: CaOption = None,
    credential: CredentialOption = None,
    passphrase_file: PassphraseFileOption = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Acknowledge once that the CA was restored, so that followers accept its audit log again.

    The roots sign a trust bundle with the log's new name. Works on the folder, or with --ca over
    the network.
    """
    command = "audit acknowledge"
    with rotation_desk(ca, credential, directory, passphrase_file=passphrase_file) as desk:
        acknowledged = desk.acknowledge_restored_log()
    if acknowledged.request:
        print_request(
            command,
            acknowledged.request,
            desk.request_path(out),
            desk.options(),
            as_json=as_json,
            waited=desk.waited,
        )
        return
    number = acknowledged.bundle_number
    print_result(
        command,
        {"status": "acknowledged", "bundle": number, **desk.distribution.to_json()},
        [
            f"Trust bundle {number} names the restored audit log: followers accept it from now on",
            "What they had accepted before stays in their folders, as .handfast-audit.replaced",
        ],
        as_json=as_json,
    )
    desk.distribution.exit_if_incomplete("The restored audit log is acknowledged")
