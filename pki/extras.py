"""Which extra of the distribution holds a library that is not installed.

A service installs ``handfast`` alone. What only a CA, the command or a test needs comes with
``handfast[ca]``, ``handfast[cli]``, ``handfast[test]``, ``handfast[pkcs11]`` (CA keys in a token)
and ``handfast[oidc]`` (proofs by JWTs).
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
    }
)


def extra_of(error: ModuleNotFoundError) -> str | None:
    """Return the extra that installs the missing module; None if the module is of no extra."""
    return _EXTRAS.get((error.name or "").partition(".")[0])


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
