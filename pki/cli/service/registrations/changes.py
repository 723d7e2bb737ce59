"""``handfast registration create``, ``update`` and ``delete``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated

import typer

from pki._proto.handfast.ca.v1 import registrations_pb2 as messages
from pki.authority.registrations.registration import LISTED_PROOFS
from pki.cli.options import DEFAULT_DIR, DirOption, choose, complete, parse_each, parse_lifetime
from pki.cli.output import JsonOption, print_result
from pki.cli.service.ca_options import CaOption, CredentialOption
from pki.cli.service.registrar import registrar
from pki.cli.service.registrations.lines import registration_json, registration_lines
from pki.x509.profiles import LEAF_PROFILES

_PROOFS = sorted(proof.value for proof in LISTED_PROOFS)
_parse_proof = choose(_PROOFS, "proof")

NameArgument = Annotated[str, typer.Argument(help="The workload: a path, or a SPIFFE ID.")]
DnsOption = Annotated[
    list[str] | None, typer.Option("--dns", metavar="NAME", help="A further DNS name.")
]
IpOption = Annotated[list[str] | None, typer.Option("--ip", metavar="ADDRESS", help="An address.")]
TtlOption = Annotated[
    timedelta | None,
    typer.Option(
        parser=parse_lifetime,
        metavar="TIME",
        help="How long its certificates live: 1h, at most 24h.",
    ),
]
ProofOption = Annotated[
    list[str] | None,
    typer.Option(
        "--proof",
        metavar="PROOF",
        autocompletion=complete(_PROOFS),
        help=f"How it may prove who it is: {', '.join(_PROOFS)}.",
    ),
]
ProfileOption = Annotated[
    str | None,
    typer.Option(
        parser=choose(LEAF_PROFILES, "profile"),
        metavar="PROFILE",
        autocompletion=complete(LEAF_PROFILES),
        help=", ".join(LEAF_PROFILES),
    ),
]
OidcIssuerOption = Annotated[
    str | None, typer.Option(metavar="URL", help="With --proof oidc: who issues the JWTs.")
]
ClaimOption = Annotated[
    list[str] | None,
    typer.Option("--claim", metavar="NAME=VALUE", help="With --proof oidc: a claim, exactly."),
]
RecoveriesOption = Annotated[
    int | None,
    typer.Option(min=0, max=1000, help="How often it may recover within --recovery-within."),
]
RecoveryWithinOption = Annotated[
    timedelta | None,
    typer.Option(parser=parse_lifetime, metavar="TIME", help="The period for that: 30d."),
]
MaxSleepOption = Annotated[
    timedelta | None,
    typer.Option(
        parser=parse_lifetime, metavar="TIME", help="How long after its end it may recover: 14d."
    ),
]
KeepOption = Annotated[
    bool,
    typer.Option(
        "--keep-certificates",
        help="Do not revoke what is no longer covered; it can't be renewed all the same.",
    ),
]


def create(
    name: NameArgument,
    dns: DnsOption = None,
    ip: IpOption = None,
    ttl: TtlOption = None,
    proof: ProofOption = None,
    profile: ProfileOption = None,
    oidc_issuer: OidcIssuerOption = None,
    claim: ClaimOption = None,
    recoveries: RecoveriesOption = None,
    recovery_within: RecoveryWithinOption = None,
    max_sleep: MaxSleepOption = None,
    ca: CaOption = None,
    credential: CredentialOption = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Register a workload. Works on the folder, or with --ca over the network."""
    with registrar(ca, credential, directory) as desk:
        message = messages.Registration(spiffe_id=desk.spiffe_id(name))
        _apply(message, dns, ip, ttl, proof, profile)
        _apply_oidc(message, oidc_issuer, claim)
        _apply_recovery(message, recoveries, recovery_within, max_sleep)
        made = desk.create(message)
    print_result(
        "registration create",
        registration_json(made),
        [
            f"Registered {made.spiffe_id}",
            *registration_lines(made),
            f"Next: handfast token create {name}",
        ],
        as_json=as_json,
    )


def update(
    name: NameArgument,
    dns: DnsOption = None,
    ip: IpOption = None,
    ttl: TtlOption = None,
    proof: ProofOption = None,
    profile: ProfileOption = None,
    oidc_issuer: OidcIssuerOption = None,
    claim: ClaimOption = None,
    recoveries: RecoveriesOption = None,
    recovery_within: RecoveryWithinOption = None,
    max_sleep: MaxSleepOption = None,
    keep: KeepOption = False,
    ca: CaOption = None,
    credential: CredentialOption = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Change a registration: what is given replaces what was there; revoke what is not covered."""
    with registrar(ca, credential, directory, revokes=not keep) as desk:
        message = desk.get(desk.spiffe_id(name))
        _apply(message, dns, ip, ttl, proof, profile)
        _apply_oidc(message, oidc_issuer, claim)
        _apply_recovery(message, recoveries, recovery_within, max_sleep)
        changed = desk.update(message, keep=keep)
    print_result(
        "registration update",
        {**registration_json(changed.registration), "revoked": list(changed.revoked)},
        [
            f"Changed the registration of {changed.registration.spiffe_id}",
            *registration_lines(changed.registration),
            *_revoked_lines(changed.revoked),
        ],
        as_json=as_json,
    )


def delete(
    name: NameArgument,
    keep: KeepOption = False,
    ca: CaOption = None,
    credential: CredentialOption = None,
    directory: DirOption = DEFAULT_DIR,
    as_json: JsonOption = False,
) -> None:
    """Delete a registration: renewal stops, and its certificates are revoked."""
    with registrar(ca, credential, directory, revokes=not keep) as desk:
        spiffe_id = desk.spiffe_id(name)
        changed = desk.delete(spiffe_id, keep=keep)
    print_result(
        "registration delete",
        {"spiffe_id": spiffe_id, "revoked": list(changed.revoked)},
        [f"Deleted the registration of {spiffe_id}", *_revoked_lines(changed.revoked)],
        as_json=as_json,
    )


def _revoked_lines(serials: Sequence[str]) -> list[str]:
    if not serials:
        return ["Nothing was revoked"]
    return [f"Revoked {serial}" for serial in serials]


def _apply(
    message: messages.Registration,
    dns: Sequence[str] | None,
    ip: Sequence[str] | None,
    ttl: timedelta | None,
    proofs: Sequence[str] | None,
    profile: str | None,
) -> None:
    if dns is not None:
        message.dns_names[:] = dns
    if ip is not None:
        message.ip_addresses[:] = ip
    if ttl is not None:
        message.lifetime.FromTimedelta(ttl)
    if proofs is not None:
        message.proofs[:] = parse_each(_parse_proof, proofs, option="--proof")
    if profile is not None:
        message.profile = profile
    if "oidc" not in message.proofs:
        message.ClearField("oidc")


def _apply_oidc(
    message: messages.Registration, issuer: str | None, claims: Sequence[str] | None
) -> None:
    if issuer is not None:
        message.oidc.issuer = issuer
    if claims is not None:
        message.oidc.claims.clear()
    for claim in claims or ():
        name, equals, value = claim.partition("=")
        if not equals:
            raise typer.BadParameter("write it as NAME=VALUE", param_hint="'--claim'")
        message.oidc.claims[name] = value


def _apply_recovery(
    message: messages.Registration,
    times: int | None,
    within: timedelta | None,
    max_sleep: timedelta | None,
) -> None:
    if times is None and within is None and max_sleep is None:
        return
    if not message.HasField("recovery"):
        message.recovery.times = 3
    if times is not None:
        message.recovery.times = times
    if within is not None:
        message.recovery.within.FromTimedelta(within)
    if max_sleep is not None:
        message.recovery.max_sleep.FromTimedelta(max_sleep)
