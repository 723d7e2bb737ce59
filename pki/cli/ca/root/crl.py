"""``handfast ca root crl``: have the roots sign their CRLs anew."""

from __future__ import annotations

from pki.cli.ca.root.options import OutOption
from pki.cli.options import DEFAULT_DIR, DirOption
from pki.cli.output import JsonOption, print_result
from pki.cli.state.authority import open_authority
from pki.cli.state.root_requests import next_lines, save_request
from pki.cli.state.trust_distribution import distribute, import_crls


def crl(
    out: OutOption = None, directory: DirOption = DEFAULT_DIR, as_json: JsonOption = False
) -> None:
    """Have every trusted root sign its CRL anew, and those ahead for distrust without its key."""
    with open_authority(directory) as authority:
        import_crls(authority, directory)
        request = authority.renew_root_crls()
        if request is not None:
            path = save_request(request, out, directory)
            print_result(
                "ca root crl",
                {"status": "requested", "request": path, "digest": request.digest},
                next_lines(request, path, directory),
                as_json=as_json,
            )
            return
        distribution = distribute(authority, directory)
    print_result(
        "ca root crl",
        {"status": "signed", **distribution.to_json()},
        [
            "The roots' CRLs are signed anew, and were brought to "
            f"{len(distribution.updated)} credential directories here"
        ],
        as_json=as_json,
    )
    distribution.exit_if_incomplete("The roots' CRLs are signed")
