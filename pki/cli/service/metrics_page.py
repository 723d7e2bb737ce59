"""The page that Prometheus reads: on a loopback address, else only over mutual TLS with a role.

These numbers show who is who.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from pki.cli.service.listening import listen_error
from pki.errors import InputError, quote_untrusted

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.registry import Collector

    from pki.workload import Workload

_MOST_PORT = 65_535
_METHOD = "/handfast.v1.Metrics/Read"

MetricsOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Show metrics to Prometheus here, e.g. 127.0.0.1:9464; elsewhere than on a loopback "
        "address over mutual TLS, by the policy's grants for /handfast.v1.Metrics/Read.",
    ),
]


def parse_metrics_address(text: str) -> tuple[str, int, bool]:
    """Return host, port, and whether only this machine reaches it.

    Raises:
        InputError: if it is no IP address with a port.
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
    if int(number) > _MOST_PORT:
        raise InputError(f"--metrics {quote_untrusted(text)}: ports end at {_MOST_PORT}")
    return str(address), int(number), address.is_loopback


@contextmanager
def metrics_page(
    address: str | None,
    collectors: Iterable[Collector],
    secured: Callable[[], AbstractContextManager[Workload]],
) -> Iterator[str]:
    """Serve the metrics while the block runs; yield where, or an empty text for nowhere.

    Args:
        address: where; None for nowhere.
        collectors: what to show.
        secured: returns the workload that shows it elsewhere than on a loopback address, and whose
            policy says to whom.

    Raises:
        PkiError: if the address can't be used.
    """
    if address is None:
        yield ""
        return
    # Loaded here: who shows no metrics does not pay for the library.
    from prometheus_client import CollectorRegistry  # noqa: PLC0415

    host, number, is_loopback = parse_metrics_address(address)
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    if is_loopback:
        with _plain_page(host, number, registry) as port:
            yield f"http://{_shown(host, port)}/metrics"
    else:
        with secured() as workload, _secured_page(host, number, registry, workload) as port:
            yield f"https://{_shown(host, port)}/metrics"


@contextmanager
def _plain_page(host: str, number: int, registry: CollectorRegistry) -> Iterator[int]:
    from prometheus_client import start_http_server  # noqa: PLC0415

    try:
        server, thread = start_http_server(number, host, registry)
    except OSError as error:
        raise listen_error("--metrics", _shown(host, number), error) from error
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def _secured_page(
    host: str, number: int, registry: CollectorRegistry, workload: Workload
) -> Iterator[int]:
    from prometheus_client.exposition import (  # noqa: PLC0415
        CONTENT_TYPE_LATEST,
        generate_latest,
    )

    from pki.web import Page, PageServer  # noqa: PLC0415

    access = workload.access_control()
    page = Page("/metrics", _METHOD, CONTENT_TYPE_LATEST, lambda: generate_latest(registry))
    try:
        server = PageServer(host, number, lambda: workload.credential, access.authorize, page)
    except OSError as error:
        raise listen_error("--metrics", _shown(host, number), error) from error
    server.start()
    try:
        yield server.port
    finally:
        server.stop()


def _shown(host: str, number: int) -> str:
    return f"[{host}]:{number}" if ":" in host else f"{host}:{number}"
