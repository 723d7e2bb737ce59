"""A channel's pin: the one server that it speaks to, by SPIFFE ID and by DNS name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pki.authz import Principal
from pki.errors import InputError
from pki.identity import DnsName, SpiffeId, TrustDomain, derive_names
from pki.rpc.options import ChannelOptions, check_channel_options

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
            InputError: if no DNS name can be derived from the peer, to pin it by.
        """
        if isinstance(peer, str):
            peer = SpiffeId.parse_name(peer, own)
        dns = derive_names(peer).dns
        if dns is None:
            raise InputError(
                f"no DNS name can be derived from {peer}, and gRPC can pin a server only "
                "by a DNS name",
                remedy="Name servers with lower-case letters, digits and dashes",
            )
        return cls(peer, dns)

    def principal(self) -> Principal:
        """Return the names that the server's certificate must hold, as a principal."""
        derived = derive_names(self.spiffe_id)
        return Principal(self.spiffe_id, frozenset({self.dns}), derived.subject)

    def options(self, options: ChannelOptions) -> list[tuple[str, Any]]:
        """Return a channel's options with the pin.

        Raises:
            NotPermittedError: if an option would undo what a channel promises.
            InputError: if an option is malformed.
        """
        check_channel_options(options)
        return [
            *options,
            (_TARGET_NAME, self.dns.name),
            # Never share a connection with a channel of another credential.
            ("grpc.use_local_subchannel_pool", 1),
        ]
