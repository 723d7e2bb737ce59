"""``handfast ca root new``: make a root where roots are kept."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer
from cryptography.hazmat.primitives import hashes

from pki.authority.directory import AuthorityDirectory, key_id_of
from pki.authority.lifetimes import DEFAULT_BACKDATE, DEFAULT_ISSUING, DEFAULT_ROOT
from pki.authority.rotation.root import make_root
from pki.authority.signers import FileSigner
from pki.cli.ca.root.options import IssuingLifetimeOption, KeysOption, RootLifetimeOption
from pki.cli.options import parse_lifetime
from pki.cli.output import JsonOption, print_result, quote_path
from pki.cli.state.key_access import ca_passphrase
from pki.clock import system_clock
from pki.files import write_durably
from pki.files.open_folder import PUBLIC
from pki.identity import TrustDomain
from pki.keys import KeyType, generate_key
from pki.x509.readers import to_pem


def new(
    trust_domain: Annotated[str, typer.Option(help="The trust domain of the CA.")],
    keys: KeysOption,
    lifetime: RootLifetimeOption = DEFAULT_ROOT,
    issuing_lifetime: IssuingLifetimeOption = DEFAULT_ISSUING,
    key_type: Annotated[
        KeyType, typer.Option(help="The kind of the root's key.")
    ] = KeyType.ECDSA_P256,
    backdate: Annotated[
        timedelta,
        typer.Option(
            parser=parse_lifetime,
            metavar="TIME",
            show_default="1m",
            help="How far notBefore is set back, for clocks that differ.",
        ),
    ] = DEFAULT_BACKDATE,
    as_json: JsonOption = False,
) -> None:
    """Make a root: its key, which stays here, and its certificate. Needs no CA on this machine.

    Works where the roots are kept, without any network.
    """
    domain = TrustDomain.parse(trust_domain)
    key = generate_key(key_type)
    certificate = make_root(
        domain,
        key,
        lifetime=lifetime,
        issuing_lifetime=issuing_lifetime,
        backdate=backdate,
        now=system_clock(),
    )
    folder = AuthorityDirectory(keys)
    folder.make()
    key_path = folder.later_root_key(key_id_of(key))
    folder.write_signer(key_path, FileSigner(key, ca_passphrase()))
    path = keys / f"root-{key_id_of(key)}.pem"
    write_durably(path, to_pem([certificate]), mode=PUBLIC)
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
    print_result(
        "ca root new",
        {
            "trust_domain": domain,
            "root": key_id_of(key),
            "certificate": path,
            "key": key_path,
            "sha256": fingerprint,
            "not_after": certificate.not_valid_after_utc,
        },
        [
            f"Made root {key_id_of(key)} for {domain}, until "
            f"{certificate.not_valid_after_utc:%Y-%m-%d}",
            f"  SHA-256 {fingerprint}",
            f"  its key stays here: {quote_path(key_path)}",
            f"Next: take the certificate {quote_path(path)} to the CA, and there:",
            f"  handfast ca root prepare --root {quote_path(path.relative_to(keys))}",
        ],
        as_json=as_json,
    )
