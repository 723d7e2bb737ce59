"""What a workload counts while it runs: plain numbers, read when metrics are collected.

Counting is always on, and is part of each call: it costs one lock. A caller chooses
neither the number of counters nor their names: a method is counted under its name only if this
process has a handler for it, and the number of methods is bounded.
"""

from __future__ import annotations

import threading
from collections import Counter

from pki.access.call_verdict import CallVerdict
from pki.access.refusal import Refusal
from pki.authz.patterns import parse_method_path

ALLOWED = "ALLOWED"
OTHER = "other"
_MOST_METHODS = 1024
_MOST_PEERS = 1024


class Tally:
    """The number of calls of one kind. Safe for use by several threads."""

    __slots__ = ("_lock", "count")

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()

    def add(self) -> None:
        """Count one more."""
        with self._lock:
            self.count += 1


class Counters:
    """The counters of one workload since it began. Safe for use by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._methods: frozenset[str] = frozenset()
        self._allowed: dict[tuple[str, str | None], Tally] = {}
        self._refused: Counter[tuple[str, str]] = Counter()
        self._audited: Counter[tuple[str, str]] = Counter()
        self._streams: Counter[str] = Counter()
        self._rotations: Counter[str] = Counter()
        self._verifications: Counter[tuple[str, str]] = Counter()
        self._refused_calls: Counter[tuple[str, str]] = Counter()
        self._lost_lines = 0

    def register_method(self, method: str) -> None:
        """Count a method under its own name from now on: there is a handler for it."""
        if method in self._methods or parse_method_path(method) is None:
            return
        with self._lock:
            if len(self._methods) < _MOST_METHODS:
                self._methods |= {method}

    def count_call(self, verdict: CallVerdict) -> None:
        """Count the verdict on one call."""
        decision = verdict.decision
        if verdict.refusal is None and verdict.audited is None:
            self.tally_of(verdict.method, decision.role if decision is not None else None).add()
            return
        with self._lock:
            method = verdict.method if verdict.method in self._methods else OTHER
            if verdict.audited is not None:
                self._audited[method, verdict.audited.name] += 1
            elif verdict.refusal is not None:
                self._refused[method, verdict.refusal.name] += 1

    def tally_of(self, method: str, role: str | None) -> Tally:
        """Return what counts the allowed calls of a method, by the role that decided."""
        tally = self._allowed.get((method, role))
        if tally is None:
            with self._lock:
                key = (method if method in self._methods else OTHER, role)
                tally = self._allowed.setdefault(key, Tally())
        return tally

    def count_stream_ended(self, refusal: Refusal) -> None:
        """Count a running stream that a server ended."""
        with self._lock:
            self._streams[refusal.name] += 1

    def count_rotation(self, peer: str) -> None:
        """Count a channel whose new calls use another connection from now on.

        Args:
            peer: the SPIFFE ID that the channel is pinned to.
        """
        with self._lock:
            has_label = peer in self._rotations or len(self._rotations) < _MOST_PEERS
            self._rotations[peer if has_label else OTHER] += 1

    def count_verification(self, peer: str, result: str) -> None:
        """Count a channel's verification of its server.

        Args:
            peer: the SPIFFE ID that the channel is pinned to.
            result: the result name of gRFC A118.
        """
        with self._lock:
            has_label = (peer, result) in self._verifications or len(
                self._verifications
            ) < _MOST_PEERS
            self._verifications[peer if has_label else OTHER, result] += 1

    def count_refused_call(self, peer: str, refusal: Refusal) -> None:
        """Count a call that a channel refused before anything was sent.

        Args:
            peer: the SPIFFE ID that the channel is pinned to.
            refusal: why.
        """
        with self._lock:
            key = (peer, refusal.name)
            has_label = key in self._refused_calls or len(self._refused_calls) < _MOST_PEERS
            self._refused_calls[peer if has_label else OTHER, refusal.name] += 1

    def count_lost_lines(self, number: int) -> None:
        """Count lines of a decision log for which there was no room."""
        with self._lock:
            self._lost_lines += number

    @property
    def lost_lines(self) -> int:
        """The number of lines of decision logs for which there was no room."""
        return self._lost_lines

    def decisions(self) -> dict[tuple[str, str, str], int]:
        """Return the number of verdicts by method, role that allowed the call, and verdict."""
        with self._lock:
            allowed, refused = dict(self._allowed), dict(self._refused)
        return {
            **{
                (method, role or "", ALLOWED): tally.count
                for (method, role), tally in allowed.items()
            },
            **{(method, "", reason): count for (method, reason), count in refused.items()},
        }

    def audited(self) -> dict[tuple[str, str], int]:
        """Return the number of calls that no grant allows and the policy does not enforce."""
        with self._lock:
            return dict(self._audited)

    def streams_ended(self) -> dict[str, int]:
        """Return the number of streams that were ended, by reason."""
        with self._lock:
            return dict(self._streams)

    def rotations(self) -> dict[str, int]:
        """Return the number of rotations of channels, by peer."""
        with self._lock:
            return dict(self._rotations)

    def verifications(self) -> dict[tuple[str, str], int]:
        """Return the number of verifications of servers, by peer and result."""
        with self._lock:
            return dict(self._verifications)

    def refused_calls(self) -> dict[tuple[str, str], int]:
        """Return the number of calls that channels refused, by peer and reason."""
        with self._lock:
            return dict(self._refused_calls)
