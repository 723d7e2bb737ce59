"""``handfast ca root crl``: have the roots sign their CRLs anew."""

from __future__ import annotations

from pki.cli.ca.root.options import OutOption
from pki.cli.options import DEFAULT_DIR, DirOption
from pki.cli.output import JsonOption, print_result
from pki.cli.service.ca_options import CaOption, CredentialOption
from pki.cli.service.rotation.desk import rotation_desk
from pki.cli.state.root_requests import print_request


def crl(
    out: OutOption = None,
    ca: CaOption = None,
    credential: CredentialOption = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Have every trusted root sign its CRL anew, and those ahead for distrust without its key.

    Works on the folder, or with --ca over the network.
    """
    with rotation_desk(ca, credential, directory) as desk:
        renewed = desk.renew_root_lists()
    if renewed.request:
        path = desk.request_path(out)
        print_request(
            "ca root crl",
            renewed.request,
            path,
            desk.options(),
            as_json=as_json,
            waited=desk.waited,
        )
        return
    print_result(
        "ca root crl",
        {"status": "signed", **desk.distribution.to_json()},
        ["The roots' CRLs are signed anew", desk.reached("Each")],
        as_json=as_json,
    )
    desk.distribution.exit_if_incomplete("The roots' CRLs are signed")
