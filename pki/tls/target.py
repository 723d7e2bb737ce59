"""A channel's target in gRPC's syntax, and its addresses.

gRPC's syntax: https://github.com/grpc/grpc/blob/master/doc/naming.md. Only schemes that can be
resolved here as gRPC does are accepted: to verify another server than the one that is called would
be worse than to verify none.
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
from pki.tls.proxy import NO_PROXY, Proxy, ProxyChoice, choose_proxy, proxy_for

_DEFAULT_PORT = 443
_REMEDY = "Name it host:port, dns:///host:port, ipv4:, ipv6:, unix: or unix-abstract:"

# gRPC uses both, whatever the hosts file says (RFC 6761, section 6.3).
_LOOPBACK = ("127.0.0.1", "::1")
_SHORT_SECONDS = 0.25

Address = tuple[socket.AddressFamily, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """The target of a channel.

    Args:
        text: as given to gRPC.
        hosts: hosts and ports, which are resolved later; empty for a unix socket.
        path: the unix socket's address; None for other targets.
        only_address: restricts the target to one of its addresses; None for all.
        proxy: the proxy to the server; the target's addresses are then the proxy's.
    """

    text: str
    hosts: tuple[tuple[str, int], ...] = ()
    path: str | bytes | None = None
    only_address: Address | None = None
    proxy: Proxy | None = None

    @classmethod
    def parse(cls, text: str) -> Target:
        """Parse a target.

        Raises:
            InputError: if it is no target, or its scheme is not supported.
        """
        scheme, colon, rest = text.partition(":")
        match scheme.lower() if colon else "":
            case "unix":
                return cls(text, path=_unix_path(rest, text))
            case "unix-abstract":
                return cls(text, path=b"\0" + _unquote(rest, text).encode())
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
                    f"target {quote_untrusted(text)} is of a scheme whose server can't be verified",
                    remedy=_REMEDY + "; or take the parts: Workload.channel_arguments()",
                )
            case _:
                return cls(text, (_host_and_port(text, text),))

    @property
    def is_literal(self) -> bool:
        """Whether the target holds addresses, so that nothing has to be resolved."""
        return self.path is not None or all(_is_ip(host) for host, _ in self._hosts_to_connect)

    def via_proxy(self, environment: Mapping[str, str]) -> Target:
        """Return the target with the proxy that gRPC would use for it, if any."""
        if self.path is not None or len(self.hosts) != 1:
            return self
        return replace(self, proxy=proxy_for(*self.hosts[0], environment))

    def proxy_choice(self, environment: Mapping[str, str]) -> ProxyChoice:
        """Return which proxy gRPC would use for the target, and why."""
        if self.path is not None or len(self.hosts) != 1:
            return NO_PROXY
        return choose_proxy(*self.hosts[0], environment)

    @property
    def _hosts_to_connect(self) -> tuple[tuple[str, int], ...]:
        """The hosts to connect to: the proxy or the server."""
        return self.hosts if self.proxy is None else ((self.proxy.host, self.proxy.port),)

    def at(self, address: Address) -> Target:
        """Return the target restricted to one of its addresses."""
        return replace(self, only_address=address)

    def addresses(self) -> list[Address]:
        """Return the addresses, each once, in the order in which to try them.

        Raises:
            OSError: if the name can't be resolved.
        """
        if self.only_address is not None:
            return [self.only_address]
        if self.path is not None:
            return [(socket.AF_UNIX, self.path)]
        addresses: dict[Address, None] = {}
        for host, port in self._hosts_to_connect:
            resolved = _resolve(host, port)
            if _is_localhost(host):
                resolved = _listening_on_loopback(resolved, port)
            addresses |= dict.fromkeys(resolved)
        return list(addresses)

    def grpc_target(self, addresses: Collection[Address]) -> str:
        """Return a target in gRPC's syntax for exactly these addresses."""
        if self.path is not None:
            return self.text
        if all(family == socket.AF_INET for family, _ in addresses):
            return "ipv4:" + ",".join(f"{host}:{port}" for _, (host, port) in addresses)
        return "ipv6:" + ",".join(_as_ipv6(*address) for address in addresses)


def format_address(address: Address) -> str:
    """Return an address in the usual notation."""
    family, where = address
    if family == socket.AF_UNIX:
        path = where.decode(errors="replace") if isinstance(where, bytes) else where
        return quote_untrusted(f"unix:{path}")
    return f"[{where[0]}]:{where[1]}" if family == socket.AF_INET6 else f"{where[0]}:{where[1]}"


def grpc_name(address: Address) -> str:
    """Return a network address as gRPC writes it in its reports on connections."""
    family, where = address
    if family == socket.AF_INET6:
        zone = f"%25{where[3]}" if where[3] else ""
        return f"ipv6:%5B{where[0].partition('%')[0]}{zone}%5D:{where[1]}"
    return f"ipv4:{where[0]}:{where[1]}"


def _resolve(host: str, port: int) -> list[Address]:
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in infos]


def _listening_on_loopback(resolved: list[Address], port: int) -> list[Address]:
    """Return the loopback addresses on which a server listens; the resolved ones if none does.

    A server that listens on only one of them must not look like a replica that is down.
    """
    both = dict.fromkeys(resolved)
    for host in _LOOPBACK:
        with contextlib.suppress(OSError):
            both |= dict.fromkeys(_resolve(host, port))
    return [item for item in both if _listens(item)] or resolved


def _listens(address: Address) -> bool:
    try:
        with socket.socket(address[0], socket.SOCK_STREAM) as plain:
            plain.settimeout(_SHORT_SECONDS)
            plain.connect(address[1])
    except OSError:
        return False
    return True


def _as_ipv6(family: socket.AddressFamily, where: Any) -> str:
    if family == socket.AF_INET:
        # A target of gRPC has one address family, so an IPv4 address is written as IPv6 here.
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
    path = _unquote(path, text)
    if not path or "\0" in path:
        raise InputError(f"target {quote_untrusted(text)} names no unix socket", remedy=_REMEDY)
    return path


def _unquote(path: str, text: str) -> str:
    if "#" in path or "?" in path:
        # gRPC's path ends there, so a wrong socket would be verified.
        raise InputError(
            f"target {quote_untrusted(text)} holds '#' or '?'", remedy="Write them as %23 and %3F"
        )
    return unquote(path)


def _host_and_port(text: str, whole: str) -> tuple[str, int]:
    if text.startswith("["):
        host, closed, port = text[1:].partition("]")
        valid = bool(closed) and (not port or port.startswith(":"))
        port = port[1:]
    elif text.count(":") > 1:
        # An IPv6 address without brackets has no port.
        host, port, valid = text, "", True
    else:
        host, _, port = text.partition(":")
        valid = True
    if (
        not valid
        or not host
        or "/" in host
        or any(map(_is_invalid_label, host.removesuffix(".").split(".")))
    ):
        raise InputError(f"target {quote_untrusted(whole)} names no host", remedy=_REMEDY)
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) <= 65535):
        raise InputError(f"target {quote_untrusted(whole)} has no valid port", remedy=_REMEDY)
    return host, int(port) if port else _DEFAULT_PORT


def _is_invalid_label(label: str) -> bool:
    """Return whether no resolver accepts a label: IDNA encodes it in 1 to 63 bytes."""
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
