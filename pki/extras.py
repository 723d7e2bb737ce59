"""Which extra of the distribution brings a module that is not installed.

A service installs ``handfast`` alone. What only a CA, the command or a test needs comes with
``handfast[ca]``, ``handfast[cli]``, ``handfast[test]``, ``handfast[pkcs11]`` (CA keys in a token)
and ``handfast[oidc]`` (proofs by JWTs). Their code is in the distribution ``handfast-ca``, which
each of these extras brings beside its libraries.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType

from pki.errors import MissingExtraError

_EXTRAS = MappingProxyType(
    {
        "alembic": "ca",
        "grpc_health": "ca",
        "sqlalchemy": "ca",
        "rich": "cli",
        "typer": "cli",
        "watchfiles": "cli",
        "jwt": "oidc",
        "pkcs11": "pkcs11",
        "pytest": "test",
        # What handfast-ca holds.
        "pki._proto.handfast.ca.v1.error_reason_pb2": "ca",
        "pki._proto.handfast.ca.v1.registrations_pb2": "ca",
        "pki._proto.handfast.ca.v1.registrations_pb2_grpc": "ca",
        "pki._proto.handfast.ca.v1.rotation_pb2": "ca",
        "pki._proto.handfast.ca.v1.rotation_pb2_grpc": "ca",
        "pki.attestation": "oidc",
        "pki.authority": "ca",
        "pki.authz.analysis": "cli",
        "pki.cli": "cli",
        "pki.daemon": "ca",
        "pki.inspection": "cli",
        "pki.oidc": "oidc",
        "pki.web": "cli",
    }
)


def extra_of(error: ModuleNotFoundError) -> str | None:
    """Return the extra that installs the missing module; None if the module is of no extra."""
    parts = (error.name or "").split(".")
    names = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((_EXTRAS[name] for name in names if name in _EXTRAS), None)


def missing_extra(what: str, extras: Iterable[str]) -> MissingExtraError:
    """Return the error for something that needs extras.

    Args:
        what: what needs them, to begin a sentence with.
        extras: their names.
    """
    names = ",".join(sorted(extras))
    return MissingExtraError(
        f"{what} needs handfast[{names}], which is not installed",
        remedy=f"Install it: pip install 'handfast[{names}]'",
    )


def require_one_version() -> None:
    """Raise an error where the two distributions are installed at different versions.

    pip only warns when it upgrades one of them alone.

    Raises:
        MissingExtraError: if the versions differ.
    """
    from importlib import metadata  # noqa: PLC0415 - loaded with the CA, which loads it anyway

    try:
        core, ca = metadata.version("handfast"), metadata.version("handfast-ca")
    except metadata.PackageNotFoundError:
        return  # a source tree that is not installed is of one version
    if core != ca:
        raise MissingExtraError(
            f"handfast-ca {ca} is beside handfast {core}, and both must be of one version",
            remedy=f"Install both: pip install 'handfast[ca]=={core}'",
        )
