"""``handfast audit acknowledge``: a root tells all followers that the log was restored."""

from __future__ import annotations

from pki.cli.ca.root.options import OutOption
from pki.cli.options import DEFAULT_DIR, DirOption, dir_option
from pki.cli.output import JsonOption, print_result
from pki.cli.state.authority import open_authority
from pki.cli.state.key_access import PassphraseFileOption
from pki.cli.state.root_requests import REQUEST_FILE, print_request
from pki.cli.state.trust_distribution import distribute


def acknowledge(
    out: OutOption = None,
    passphrase_file: PassphraseFileOption = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Acknowledge once that the CA was restored, so that followers accept its audit log again.

    The roots sign a trust bundle with the log's new name.
    """
    command = "audit acknowledge"
    with open_authority(directory, passphrase_file=passphrase_file) as authority:
        request = authority.acknowledge_restored_log()
        if request is not None:
            path = out if out is not None else directory / REQUEST_FILE
            option = dir_option(directory)
            print_request(command, request.encode(), path, option, as_json=as_json)
            return
        distribution = distribute(authority, directory)
        number = authority.bundle_number()
    print_result(
        command,
        {"status": "acknowledged", "bundle": number, **distribution.to_json()},
        [
            f"Trust bundle {number} names the restored audit log: followers accept it from now on",
            "What they had accepted before stays in their folders, as .handfast-audit.replaced",
        ],
        as_json=as_json,
    )
    distribution.exit_if_incomplete("The restored audit log is acknowledged")
