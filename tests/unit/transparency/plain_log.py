"""A log in memory that follows the definitions of RFC 6962 word by word, to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256


def mth(entries: Sequence[bytes]) -> bytes:
    """The Merkle tree hash, as RFC 6962 §2.1 defines it."""
    if not entries:
        return sha256(b"").digest()
    if len(entries) == 1:
        return sha256(b"\x00" + entries[0]).digest()
    k = largest_power_below(len(entries))
    return sha256(b"\x01" + mth(entries[:k]) + mth(entries[k:])).digest()


def path(index: int, entries: Sequence[bytes]) -> list[bytes]:
    """The audit path, as RFC 6962 §2.1.1 defines it."""
    if len(entries) == 1:
        return []
    k = largest_power_below(len(entries))
    if index < k:
        return [*path(index, entries[:k]), mth(entries[k:])]
    return [*path(index - k, entries[k:]), mth(entries[:k])]


def subproof(m: int, entries: Sequence[bytes], *, known: bool) -> list[bytes]:
    """The consistency proof, as RFC 6962 §2.1.2 defines it."""
    if m == len(entries):
        return [] if known else [mth(entries)]
    k = largest_power_below(len(entries))
    if m <= k:
        return [*subproof(m, entries[:k], known=known), mth(entries[k:])]
    return [*subproof(m - k, entries[k:], known=False), mth(entries[:k])]


def largest_power_below(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


class PlainLog:
    """Entries, and the hashes of their tiles by definition."""

    def __init__(self, entries: Sequence[bytes]) -> None:
        self.entries = list(entries)

    def hashes(self, level: int, start: int, end: int) -> Sequence[bytes]:
        width = 256**level
        return [
            mth(self.entries[at * width : (at + 1) * width])
            for at in range(start, end)
            if (at + 1) * width <= len(self.entries)
        ]
