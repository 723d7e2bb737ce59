"""``handfast ca root activate``: issue under the new root."""

from __future__ import annotations

from pki.cli.ca.root.options import ForceOption
from pki.cli.options import DEFAULT_DIR, DirOption, dir_option
from pki.cli.output import JsonOption, print_result
from pki.cli.state.authority import open_authority
from pki.cli.state.trust_distribution import distribute, import_crls


def activate(
    force: ForceOption = False,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Issue certificates under the prepared root from now on. The old root stays trusted."""
    with open_authority(directory) as authority:
        import_crls(authority, directory)
        # First, so that all that is here has the new root, and the CA knows it.
        distribution = distribute(authority, directory)
        record, stranded = authority.activate_root(force=force)
        withdraw = authority.rotation_status().steps[3]
    free = withdraw.free_at
    print_result(
        "ca root activate",
        {
            "root": record.key_id,
            "status": record.status.value,
            "stranded": [str(holder) for holder in stranded],
            "withdraw_free_at": free,
            **distribution.to_json(),
        },
        [
            f"Root {record.key_id} is active: new certificates hang on it. The old root is still "
            "trusted",
            *(f"STRANDED: {holder}" for holder in stranded),
            f"Next: renew all certificates. The last one under the old root ends at "
            f"{free:%Y-%m-%d %H:%M:%S} UTC; then: handfast ca root withdraw{dir_option(directory)}"
            if free is not None
            else f"Next: handfast ca root withdraw{dir_option(directory)}",
        ],
        as_json=as_json,
    )
    distribution.exit_if_incomplete(f"Root {record.key_id} is active")
