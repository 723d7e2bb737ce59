"""A channel's target as gRPC names it, and the addresses that it stands for.

gRPC's own naming: https://github.com/grpc/grpc/blob/master/doc/naming.md. Only schemes whose
addresses we can find as gRPC does are taken: a look at another server than the one that is called
would be worse than none.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from pki.errors import InputError, shown

_DEFAULT_PORT = 443
_REMEDY = "Name it host:port, dns:///host:port, ipv4:, ipv6:, unix: or unix-abstract:"

Address = tuple[socket.AddressFamily, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """Where a server is.

    Args:
        text: as it was given to gRPC.
        hosts: host and port, resolved when it is looked at; empty for a unix socket.
        path: the unix socket's address; None for the others.
    """

    text: str
    hosts: tuple[tuple[str, int], ...] = ()
    path: str | bytes | None = None

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
                return cls(text, path=b"\0" + unquote(rest).encode())
            case "ipv4" | "ipv6":
                hosts = [_host_and_port(item, text) for item in rest.lstrip("/").split(",")]
                for host, _ in hosts:
                    _check_literal(host, text)
                return cls(text, tuple(hosts))
            case "dns":
                if rest.startswith("//") and not rest.startswith("///"):
                    raise InputError(
                        f"target {shown(text)} names a DNS server of its own", remedy=_REMEDY
                    )
                return cls(text, (_host_and_port(unquote(rest.lstrip("/")), text),))
            case _ if "://" in text:
                raise InputError(
                    f"target {shown(text)} is of a scheme that can't be looked at",
                    remedy=_REMEDY + "; or take the parts: Workload.channel_arguments()",
                )
            case _:
                return cls(text, (_host_and_port(text, text),))

    def addresses(self) -> list[Address]:
        """Find the addresses, in the order in which they are tried.

        Raises:
            OSError: if the name can't be resolved.
        """
        if self.path is not None:
            return [(socket.AF_UNIX, self.path)]
        found: list[Address] = []
        for host, port in self.hosts:
            for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
                found.append((family, address))
        return found


def _unix_path(rest: str, text: str) -> str:
    path = "/" + rest.lstrip("/") if rest.startswith("//") else rest
    path = unquote(path)
    if not path or "\0" in path:
        raise InputError(f"target {shown(text)} names no unix socket", remedy=_REMEDY)
    return path


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
        raise InputError(f"target {shown(whole)} names no host", remedy=_REMEDY)
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) <= 65535):
        raise InputError(f"target {shown(whole)} has no good port", remedy=_REMEDY)
    return host, int(port) if port else _DEFAULT_PORT


def _is_no_label(label: str) -> bool:
    """Tell what no resolver takes: it encodes each label by IDNA, in 1 to 63 bytes."""
    if not label:
        return True
    try:
        label.encode("idna")
    except UnicodeError:
        return True
    return False


def _check_literal(host: str, whole: str) -> None:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise InputError(f"target {shown(whole)} holds no IP address", remedy=_REMEDY) from None
