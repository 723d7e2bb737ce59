"""Announces what was revoked just now. It is in force whatever fails here."""

from __future__ import annotations

import logging

from pki.authority.context import AuthorityContext
from pki.authority.publishing.pending_lists import publish_pending
from pki.background import defer
from pki.daemon.trust_feed import TrustFeed
from pki.errors import NotAnnouncedError, PkiError

log = logging.getLogger("handfast.ca")

_REMEDY = (
    "The CA goes on trying while it runs. Revoke again until it is answered otherwise, or on the "
    "CA's machine: handfast revoke"
)


def announce_revoked(context: AuthorityContext, feed: TrustFeed, *, workers: int) -> None:
    """Announce what was revoked; publish it where it could not be announced.

    Args:
        context: the CA.
        feed: what the followers of this process are told.
        workers: how many processes serve the CA: each has followers of its own.

    Raises:
        NotAnnouncedError: if it is in memory alone, and neither announced nor on a list, or if
            followers of other workers can't hear of it.
    """
    try:
        feed.refresh()
    except Exception as error:
        # What is recorded, or in the file, is read again four times a second.
        defer(log.error, "a revocation could not be announced at once: %s", error)
    told = set(feed.state.pending)
    in_memory = context.pending.in_memory()
    if any(not told.issuperset(record.entries) for record in in_memory):
        _publish(context)
    if in_memory and workers > 1:
        raise NotAnnouncedError(
            "the revocation is in the memory of one worker of the CA alone: whoever follows "
            "another one has not heard of it",
            remedy=_REMEDY,
        )


def _publish(context: AuthorityContext) -> None:
    try:
        publish_pending(context)
    except PkiError as error:
        raise NotAnnouncedError(
            "the revocation is in the memory of the CA's process alone: it could be announced "
            "to nobody, and is on no list",
            remedy=_REMEDY,
        ) from error
