"""``handfast ca root distribute``: bring the trust bundle to everybody here."""

from __future__ import annotations

from pki.cli.ca.rotate_status import holder_facts, step_facts
from pki.cli.options import DEFAULT_DIR, DirOption, ca_directory, dir_option
from pki.cli.output import JsonOption, print_result, quote_path
from pki.cli.state.authority import open_authority
from pki.cli.state.trust_distribution import distribute
from pki.daemon.calls.rotation import get_status
from pki.errors import counted


def distribute_root(directory: DirOption = DEFAULT_DIR, as_json: JsonOption = False) -> None:
    """Bring trust bundle and CRLs to all credentials here, and count who has the new root.

    Works on the folder alone: over the network, the CA's stream brings them to all who follow it.
    """
    with open_authority(directory) as authority:
        distribution = distribute(authority, directory)
        status = get_status(authority)
    step = status.steps[1]
    silent = [holder for holder in status.holders if step.name in holder.hinders]
    print_result(
        "ca root distribute",
        {
            "bundle": status.bundle_number,
            **step_facts(step),
            "silent": [holder_facts(holder) for holder in silent],
            **distribution.to_json(),
        },
        [
            f"Trust bundle {status.bundle_number} was brought to {distribution.directories_here}; "
            f"bring {quote_path(ca_directory(directory))}/bundle.pem "
            "and crl.pem to all others",
            f"{counted(len(silent), 'certificate')} {'is' if len(silent) == 1 else 'are'} held by "
            "workloads that are not known to have it"
            if silent
            else "Everybody with an unexpired certificate has it",
            f"See them with: handfast ca rotate status{dir_option(directory)}",
        ],
        as_json=as_json,
    )
    distribution.exit_if_incomplete("The trust bundle is distributed")
