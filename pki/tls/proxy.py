"""Find the HTTP proxy through which gRPC reaches a server, by gRPC's own rules.

gRPC for Python follows ``grpc_proxy``, ``https_proxy`` and ``http_proxy``, the first that is set,
be it to nothing, and the exceptions of ``no_grpc_proxy`` or ``no_proxy``
(``src/core/handshaker/http_connect/http_proxy_mapper.cc``; seen with grpcio 1.85.1). It asks the
proxy for a tunnel, and TLS goes through that to the server itself.
"""

from __future__ import annotations

import base64
import ipaddress
import logging
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from pki.errors import quote_untrusted

log = logging.getLogger("handfast.tls")

_VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")
_EXCEPTIONS = ("no_grpc_proxy", "no_proxy")
_MAX_BYTES = 8192
_DEFAULT_PORT = 443  # as gRPC resolves the proxy's name


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy, and the server to reach through it.

    Args:
        host: the proxy's name or address.
        port: the proxy's port.
        server: host and port of the server, as sent to the proxy.
        authorization: the value of ``Proxy-Authorization``; empty for none. It holds a password.
        variable: the environment variable that names the proxy.
    """

    host: str
    port: int
    server: str
    authorization: str = field(default="", repr=False)
    variable: str = field(default="", compare=False)

    def __str__(self) -> str:
        """Return where the proxy is, without user and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return quote_untrusted(f"http://{host}:{self.port}")

    def options(self) -> list[tuple[str, str]]:
        """Return the channel options with which gRPC asks for the same tunnel."""
        headers = f"Proxy-Authorization:{self.authorization}"
        authorization = [("grpc.http_connect_headers", headers)] if self.authorization else []
        return [("grpc.http_connect_server", self.server), *authorization]

    def open_tunnel(self, plain: socket.socket, remaining: Callable[[], float]) -> None:
        """Open a tunnel to the server through a connection to the proxy.

        Args:
            plain: the connection.
            remaining: returns the remaining seconds, or raises.

        Raises:
            OSError: if the proxy refuses the tunnel or does not speak HTTP.
        """
        header = f"Proxy-Authorization: {self.authorization}\r\n" if self.authorization else ""
        plain.settimeout(remaining())
        plain.sendall(
            f"CONNECT {self.server} HTTP/1.1\r\nHost: {self.server}\r\n{header}\r\n".encode()
        )
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            plain.settimeout(remaining())
            # Byte by byte, because all that follows the answer comes from the server.
            byte = plain.recv(1)
            if not byte or len(answer) >= _MAX_BYTES:
                raise OSError("the proxy gave no answer to CONNECT")
            answer += byte
        status = answer.partition(b"\r\n")[0]
        fields = status.split(None, 2)
        if len(fields) < 2 or not fields[0].startswith(b"HTTP/") or not fields[1].startswith(b"2"):
            raise OSError(f"the proxy refused CONNECT: {quote_untrusted(status.decode('latin-1'))}")


@dataclass(frozen=True, slots=True)
class ProxyChoice:
    """Which proxy gRPC uses for a server, and why.

    Args:
        proxy: the proxy; None if gRPC connects directly.
        variable: the environment variable that counts; empty if none is set.
        exception: the variable that excepts the server from the proxy; empty if none does.
        is_unusable: whether the variable names no proxy that gRPC can use.
    """

    proxy: Proxy | None
    variable: str = ""
    exception: str = ""
    is_unusable: bool = False


NO_PROXY = ProxyChoice(None)


def proxy_for(host: str, port: int, environment: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for a server; None if gRPC connects to it directly.

    Args:
        host: the server's name or address.
        port: its port.
        environment: the variables of the process.
    """
    choice = choose_proxy(host, port, environment)
    if choice.is_unusable:
        # Ignored, as gRPC does. The value is not logged, because it may hold a password.
        log.warning(
            "%s names no proxy that gRPC can use, so connections are direct: write "
            "http://host:port",
            choice.variable,
        )
    return choice.proxy


def choose_proxy(host: str, port: int, environment: Mapping[str, str]) -> ProxyChoice:
    """Return which proxy gRPC uses for a server, and why.

    Args:
        host: the server's name or address.
        port: its port.
        environment: the variables of the process.
    """
    variable = _first_set(_VARIABLES, environment)
    if not environment.get(variable):
        # Set to nothing, a variable turns off the proxy that a later one names.
        return NO_PROXY
    exception = _first_set(_EXCEPTIONS, environment)
    if _is_excepted(host, environment.get(exception, "")):
        return ProxyChoice(None, variable, exception)
    try:
        url = urlsplit(environment[variable])
        name, number = url.hostname, url.port or _DEFAULT_PORT
        usable = url.scheme == "http" and bool(name)
    except ValueError:
        usable = False
    if not usable or name is None:
        return ProxyChoice(None, variable, is_unusable=True)
    authorization = ""
    if url.username is not None:
        pair = f"{unquote(url.username)}:{unquote(url.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode()
    server = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return ProxyChoice(Proxy(name, number, server, authorization, variable), variable)


def _first_set(names: tuple[str, ...], environment: Mapping[str, str]) -> str:
    return next((name for name in names if name in environment), "")


def _is_excepted(host: str, exceptions: str) -> bool:
    name = host.lower()
    for entry in filter(None, map(str.strip, exceptions.lower().split(","))):
        # A domain excepts itself and the hosts in it, with or without a dot in front.
        domain = entry.removeprefix(".")
        if domain and (name == domain or name.endswith(f".{domain}")):
            return True
        try:
            if ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False):
                return True
        except ValueError:
            continue
    return False
