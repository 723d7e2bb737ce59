"""A channel's target as gRPC names it, and the addresses that it stands for.

gRPC's own naming: https://github.com/grpc/grpc/blob/master/doc/naming.md. Only schemes whose
addresses we can find as gRPC does are taken: a look at another server than the one that is called
would be worse than none.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote

from pki.errors import InputError, quote_untrusted
from pki.tls.proxy import Proxy, proxy_for

_DEFAULT_PORT = 443
_REMEDY = "Name it host:port, dns:///host:port, ipv4:, ipv6:, unix: or unix-abstract:"

# gRPC asks for both, whatever the hosts file says (RFC 6761, section 6.3).
_LOOPBACK = ("127.0.0.1", "::1")
_BRIEFLY_SECONDS = 0.25

Address = tuple[socket.AddressFamily, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """Where a server is.

    Args:
        text: as it was given to gRPC.
        hosts: host and port, resolved when it is looked at; empty for a unix socket.
        path: the unix socket's address; None for the others.
        alone: the one address of it that is meant; None means all that it stands for.
        through: the proxy that it is reached through, whose addresses are then the target's.
    """

    text: str
    hosts: tuple[tuple[str, int], ...] = ()
    path: str | bytes | None = None
    alone: Address | None = None
    through: Proxy | None = None

    @classmethod
    def parse(cls, text: str) -> Target:
        """Parse a target.

        Raises:
            InputError: if it is none, or of a scheme that can't be looked at.
        """
        scheme, colon, rest = text.partition(":")
        match scheme.lower() if colon else "":
            case "unix":
                return cls(text, path=_unix_path(rest, text))
            case "unix-abstract":
                return cls(text, path=b"\0" + _unquoted(rest, text).encode())
            case "ipv4" | "ipv6":
                hosts = [
                    _host_and_port(item, text) for item in unquote(rest.lstrip("/")).split(",")
                ]
                for host, _ in hosts:
                    _check_literal(host, text)
                return cls(text, tuple(hosts))
            case "dns":
                if rest.startswith("//") and not rest.startswith("///"):
                    raise InputError(
                        f"target {quote_untrusted(text)} names a DNS server of its own",
                        remedy=_REMEDY,
                    )
                return cls(text, (_host_and_port(unquote(rest.lstrip("/")), text),))
            case _ if "://" in text:
                raise InputError(
                    f"target {quote_untrusted(text)} is of a scheme that can't be looked at",
                    remedy=_REMEDY + "; or take the parts: Workload.channel_arguments()",
                )
            case _:
                return cls(text, (_host_and_port(text, text),))

    @property
    def is_literal(self) -> bool:
        """Whether its addresses stand in it, so that no resolver is asked for them."""
        return self.path is not None or all(_is_ip(host) for host, _ in self._asked)

    def by_way_of(self, environment: Mapping[str, str]) -> Target:
        """Return the same target, by way of the proxy that gRPC would take to it, if any."""
        if self.path is not None or len(self.hosts) != 1:
            return self
        return replace(self, through=proxy_for(*self.hosts[0], environment))

    @property
    def _asked(self) -> tuple[tuple[str, int], ...]:
        """The hosts that are connected to."""
        return self.hosts if self.through is None else ((self.through.host, self.through.port),)

    def at(self, address: Address) -> Target:
        """Return the target that stands for one of the addresses alone."""
        return replace(self, alone=address)

    def addresses(self) -> list[Address]:
        """Return the addresses, each once, in the order in which they are tried.

        Raises:
            OSError: if the name can't be resolved.
        """
        if self.alone is not None:
            return [self.alone]
        if self.path is not None:
            return [(socket.AF_UNIX, self.path)]
        found: dict[Address, None] = {}
        for host, port in self._asked:
            known = _resolved(host, port)
            found |= dict.fromkeys(_on_loopback(known, port) if _is_localhost(host) else known)
        return list(found)

    def naming(self, addresses: Collection[Address]) -> str:
        """Return what gRPC calls some of the addresses, and no others."""
        if self.path is not None:
            return self.text
        if all(family == socket.AF_INET for family, _ in addresses):
            return "ipv4:" + ",".join(f"{host}:{port}" for _, (host, port) in addresses)
        return "ipv6:" + ",".join(_as_ipv6(*address) for address in addresses)


def words_of_address(address: Address) -> str:
    """Return an address as people write it."""
    family, where = address
    if family == socket.AF_UNIX:
        path = where.decode(errors="replace") if isinstance(where, bytes) else where
        return quote_untrusted(f"unix:{path}")
    return f"[{where[0]}]:{where[1]}" if family == socket.AF_INET6 else f"{where[0]}:{where[1]}"


def grpc_name(address: Address) -> str:
    """Return what gRPC calls a network address where it tells of a connection to it."""
    family, where = address
    if family == socket.AF_INET6:
        zone = f"%25{where[3]}" if where[3] else ""
        return f"ipv6:%5B{where[0].partition('%')[0]}{zone}%5D:{where[1]}"
    return f"ipv4:{where[0]}:{where[1]}"


def _resolved(host: str, port: int) -> list[Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


def _on_loopback(known: list[Address], port: int) -> list[Address]:
    """Return the loopback addresses on which somebody listens; those that are known if nobody does.

    A server on the one alone is no server with a replica that is down.
    """
    both = dict.fromkeys(known)
    for host in _LOOPBACK:
        with contextlib.suppress(OSError):
            both |= dict.fromkeys(_resolved(host, port))
    return [item for item in both if _listens(item)] or known


def _listens(address: Address) -> bool:
    try:
        with socket.socket(address[0], socket.SOCK_STREAM) as plain:
            plain.settimeout(_BRIEFLY_SECONDS)
            plain.connect(address[1])
    except OSError:
        return False
    return True


def _as_ipv6(family: socket.AddressFamily, where: Any) -> str:
    if family == socket.AF_INET:
        # gRPC takes one family to a target; an IPv4 address has a name in the other.
        return f"[::ffff:{where[0]}]:{where[1]}"
    host, port, _, scope = where
    zone = f"%25{scope}" if scope else ""
    return f"[{host.partition('%')[0]}{zone}]:{port}"


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_localhost(host: str) -> bool:
    name = host.lower().removesuffix(".")
    return name == "localhost" or name.endswith(".localhost")


def _unix_path(rest: str, text: str) -> str:
    path = "/" + rest.lstrip("/") if rest.startswith("//") else rest
    path = _unquoted(path, text)
    if not path or "\0" in path:
        raise InputError(f"target {quote_untrusted(text)} names no unix socket", remedy=_REMEDY)
    return path


def _unquoted(path: str, text: str) -> str:
    if "#" in path or "?" in path:
        # gRPC's path ends there, and another socket would be looked at.
        raise InputError(
            f"target {quote_untrusted(text)} holds '#' or '?'", remedy="Write them as %23 and %3F"
        )
    return unquote(path)


def _host_and_port(text: str, whole: str) -> tuple[str, int]:
    if text.startswith("["):
        host, closed, port = text[1:].partition("]")
        good = bool(closed) and (not port or port.startswith(":"))
        port = port[1:]
    elif text.count(":") > 1:
        # An IPv6 address without brackets has no port.
        host, port, good = text, "", True
    else:
        host, _, port = text.partition(":")
        good = True
    if (
        not good
        or not host
        or "/" in host
        or any(map(_is_no_label, host.removesuffix(".").split(".")))
    ):
        raise InputError(f"target {quote_untrusted(whole)} names no host", remedy=_REMEDY)
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) <= 65535):
        raise InputError(f"target {quote_untrusted(whole)} has no good port", remedy=_REMEDY)
    return host, int(port) if port else _DEFAULT_PORT


def _is_no_label(label: str) -> bool:
    """Return what no resolver takes: it encodes each label by IDNA, in 1 to 63 bytes."""
    if not label:
        return True
    try:
        label.encode("idna")
    except UnicodeError:
        return True
    return False


def _check_literal(host: str, whole: str) -> None:
    if not _is_ip(host):
        raise InputError(f"target {quote_untrusted(whole)} holds no IP address", remedy=_REMEDY)
