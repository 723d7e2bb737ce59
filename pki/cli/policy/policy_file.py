"""Reads policy files for the commands, and warns where one is not enforced."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from pki.authz import MAX_POLICY_BYTES, Policy, Principal, read_policy
from pki.authz.analysis.expectations import workload_principal
from pki.authz.patterns import parse_method_path
from pki.errors import (
    CouldNotTellError,
    InputError,
    PkiError,
    PolicyError,
    StateError,
    quote_untrusted,
)
from pki.files import read_bounded

PEER_HELP = "The peer: a workload's name or SPIFFE ID."
PolicyOption = Annotated[Path, typer.Option(help="The policy file.")]
DEFAULT_POLICY = Path("policy.toml")


def read_policy_file(path: Path) -> Policy:
    """Read a policy file.

    Raises:
        PolicyError: if it is missing, or is no policy.
    """
    return read_policy(read_policy_bytes(path), source=str(path))


def read_policy_bytes(path: Path) -> bytes:
    """Read the bytes of a policy file, whatever they are.

    Raises:
        PolicyError: if it is missing.
    """
    try:
        return read_bounded(path, max_bytes=MAX_POLICY_BYTES)[0]
    except FileNotFoundError:
        raise PolicyError("is not there", source=str(path)) from None


def require_method(text: str) -> str:
    """Return a method's path.

    Raises:
        BadParameter: if it is none: no call has such a path, so an answer would mislead.
    """
    if parse_method_path(text) is not None:
        return text
    meant = f"/{text}"
    remedy = "Write /package.Service/Method"
    if parse_method_path(meant) is not None:
        remedy = f"Begin with a slash: {meant}"
    raise typer.BadParameter(f"{quote_untrusted(text)} is no method's path. {remedy}")


@contextlib.contextmanager
def errors_as_could_not_tell() -> Iterator[None]:
    """Turn each error within into CouldNotTellError: the question has no answer, exit code 3."""
    try:
        yield
    except PkiError as error:
        raise CouldNotTellError(error) from error
    except OSError as error:
        where = f"{quote_untrusted(error.filename)}: " if error.filename else ""
        raise CouldNotTellError(
            StateError(f"{where}{error.strerror or quote_untrusted(error)}")
        ) from error


def enforcement_warnings(policy: Policy) -> list[str]:
    """Return a warning if refusals are not enforced everywhere; empty otherwise."""
    not_enforced = policy.enforcement.audited_summary()
    if not not_enforced:
        return []
    return [f"NOT ENFORCED for {not_enforced}: there, calls that no grant allows go through"]


def read_policy_and_peer(path: Path, peer: str) -> tuple[Policy, Principal]:
    """Read a policy file, and the name of a peer that a question is about.

    Raises:
        CouldNotTellError: if the policy can't be read.
        BadParameter: if the name is no workload's.
    """
    with errors_as_could_not_tell():
        policy = read_policy_file(path)
    try:
        return policy, workload_principal(policy, peer)
    except InputError as error:
        raise typer.BadParameter(str(error)) from None


def scopes_text(scopes: frozenset[str]) -> str:
    """Return the end of a line that says which scopes a role has; empty where it has none."""
    return f" with {' '.join(sorted(scopes))}" if scopes else ""
