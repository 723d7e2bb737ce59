"""Who asks: the audit log names that one for what is decided."""

from __future__ import annotations

from dataclasses import replace

from pki.authority.context import AuthorityContext
from pki.authority.ledger.audit import Actor


def acting_as(context: AuthorityContext, name: str) -> AuthorityContext:
    """Return the CA for a caller.

    Args:
        context: the CA.
        name: a SPIFFE ID, ``token:ID``, or another name of the CA's own making.
    """
    return replace(context, actor=Actor(name))
