"""The page that Prometheus reads, on a loopback address: these numbers show who is who."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from pki.errors import InputError, StateError, quote_untrusted

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

_MOST_PORT = 65_535

MetricsOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Show metrics to Prometheus here, e.g. 127.0.0.1:9464; loopback addresses only.",
    ),
]


def parse_metrics_address(text: str) -> tuple[str, int]:
    """Return host and port of an address that only this machine reaches.

    Raises:
        InputError: if it is none.
    """
    host, _, number = text.rpartition(":")
    host = "127.0.0.1" if host == "localhost" else host.removeprefix("[").removesuffix("]")
    remedy = "Write 127.0.0.1:PORT or [::1]:PORT"
    if not (number.isascii() and number.isdigit() and len(number) <= 5):
        raise InputError(f"--metrics {quote_untrusted(text)} has no port number", remedy=remedy)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise InputError(
            f"--metrics {quote_untrusted(text)}: {quote_untrusted(host)} is no IP address",
            remedy=remedy,
        ) from None
    if not address.is_loopback:
        raise InputError(
            f"--metrics {quote_untrusted(text)} is no loopback address: the page shows who is who, "
            "and over the network it needs mutual TLS with a role, which is not there yet",
            remedy=f"{remedy}, and let a scraper on this machine read it",
        )
    if int(number) > _MOST_PORT:
        raise InputError(f"--metrics {quote_untrusted(text)}: ports end at {_MOST_PORT}")
    return str(address), int(number)


@contextmanager
def metrics_page(address: str | None, collectors: Iterable[Collector]) -> Iterator[str]:
    """Serve the metrics while the block runs; yield where, or an empty text for nowhere.

    Raises:
        InputError: if the address is no loopback address.
        StateError: if it can't be listened on.
    """
    if address is None:
        yield ""
        return
    # Loaded here: who shows no metrics does not pay for the library.
    from prometheus_client import CollectorRegistry, start_http_server  # noqa: PLC0415

    host, number = parse_metrics_address(address)
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    try:
        server, thread = start_http_server(number, host, registry)
    except OSError as error:
        raise StateError(
            f"can't show metrics at {address}: {error.strerror or error}",
            remedy="Choose another port with --metrics",
        ) from error
    try:
        shown = f"[{host}]" if ":" in host else host
        yield f"http://{shown}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
