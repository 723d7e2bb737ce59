"""A channel's pin: which server it speaks to, held in TLS and against ``served_by``."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pki.access.refusal import POLICY_UNAVAILABLE, Refusal, decision_refusal
from pki.authz import Policy, Principal
from pki.credentials.fork_guard import ForkGuard
from pki.errors import InputError, quote_untrusted
from pki.identity import DnsName, SpiffeId, TrustDomain, derive_names
from pki.rpc.options import ChannelOptions, check_channel_options

log = logging.getLogger("handfast.rpc")

_TARGET_NAME = "grpc.ssl_target_name_override"


@dataclass(frozen=True, slots=True)
class Pin:
    """The one server that a channel speaks to.

    gRPC for Python pins a server by a DNS name alone, so the DNS name that is derived from the
    SPIFFE ID stands for it: the CA gives it to no other workload.
    """

    spiffe_id: SpiffeId
    dns: DnsName

    @classmethod
    def of(cls, peer: str | SpiffeId, own: TrustDomain) -> Pin:
        """Pin a server by its name.

        Args:
            peer: a path in our own trust domain such as ``payments``, or a SPIFFE ID.
            own: our own trust domain.

        Raises:
            InputError: if it has no derived DNS name to pin it by.
        """
        if isinstance(peer, str):
            peer = SpiffeId.parse_name(peer, own)
        dns = derive_names(peer).dns
        if dns is None:
            raise InputError(
                f"{peer} derives no DNS name, and gRPC can pin a server by one alone",
                remedy="Name servers with lower-case letters, digits and dashes",
            )
        return cls(peer, dns)

    def principal(self) -> Principal:
        """Return the server's names, as its certificate must hold them."""
        derived = derive_names(self.spiffe_id)
        return Principal(self.spiffe_id, frozenset({self.dns}), derived.subject)

    def options(self, options: ChannelOptions) -> list[tuple[str, Any]]:
        """Add the pin to a channel's options.

        Raises:
            NotPermittedError: if they would undo what a channel promises.
            InputError: if they are no options.
        """
        check_channel_options(options)
        return [
            *options,
            (_TARGET_NAME, self.dns.name),
            # Connections are never shared with a channel of another credential.
            ("grpc.use_local_subchannel_pool", 1),
        ]


class ServedByCheck:
    """Asks the policy whether the pinned server may answer a method. Before a byte is sent.

    Args:
        pin: the server.
        policy: gives the policy in force; None where the channel has no policy at all.
    """

    def __init__(self, pin: Pin, policy: Callable[[], Policy | None] | None) -> None:
        self._principal = pin.principal()
        self._policy = policy
        self._here = ForkGuard("channel")
        self._answers: dict[str, Refusal | None] = {}
        self._answered_by: Policy | None = None

    def refusal(self, method: str | bytes) -> Refusal | None:
        """Return the refusal of a method, or None if it may be called.

        Raises:
            StateError: after a fork, in the child: a call would hang there.
        """
        self._here.check()
        if self._policy is None:
            return None
        policy = self._policy()
        if policy is None:
            return POLICY_UNAVAILABLE
        if self._answered_by is not policy:
            self._answers, self._answered_by = {}, policy
        text = method.decode() if isinstance(method, bytes) else method
        if text not in self._answers:
            service = text[1:].partition("/")[0] if text.startswith("/") else ""
            decision = policy.decide_served_by(self._principal, service)
            refusal = None
            if not decision.allowed:
                refusal = decision_refusal(
                    decision.reason, who=str(self._principal.spiffe_id), what=service
                )
                # Once for each policy: whoever calls reads it each time.
                log.warning("calls of %s are refused: %s", quote_untrusted(text), refusal.message)
            self._answers[text] = refusal
        return self._answers[text]
