"""A process that asks a CA for certificates, and renews them, with as little work as possible."""

from __future__ import annotations

import json
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from cryptography import x509

from pki._proto.handfast.ca.v1 import authority_pb2
from pki.ca_client.calls import signing_request
from pki.identity import SpiffeId
from pki.keys import PrivateKey, generate_key
from tests.bench.ca.lean.ca_calls import ISSUE, RENEW, host_and_port, server_name
from tests.bench.ca.lean.connections import Connection, Loop, context_of
from tests.bench.ca.lean.http2 import Event
from tests.bench.ca.lean.renewing import renewal_message
from tests.bench.ca.served import CA_ID, SHOP, save_pem
from tests.bench.ca.signing_requests import make_ders
from tests.bench.children import serve_commands

_SECONDS, _BATCH, _AT_ONCE = 120.0, 100, 32
_T = TypeVar("_T")
Done = Callable[[int], None]
Work = Callable[[Done], None]
"""Begins a call; tells how many certificates it brought."""


@dataclass(frozen=True, slots=True)
class _Renewal:
    """A certificate to renew, and the message that asks for it."""

    key: PrivateKey
    chain: tuple[x509.Certificate, ...]
    message: bytes


class Load:
    """The connections, and the requests that were not sent yet."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._root, self._home = Path(settings["root"]), Path(settings["home"])
        self._address = host_and_port(settings["address"])
        self._name = server_name(SpiffeId.parse(settings.get("peer", str(CA_ID))))
        self._loop = Loop()
        self._loop.start()
        self._contexts = [
            context_of(self._root, Path(item) / "chain.pem", Path(item) / "key.pem")
            for item in settings["registrars"]
        ]
        self._registrars = self._loop.do(lambda: [self._open_to(item) for item in self._contexts])
        self._first = settings.get("first", 0)
        self._ders: list[bytes] = []
        self._renewals: list[_Renewal] = []
        self._open: list[tuple[Connection, bytes]] = []

    def prepare(self, number: int) -> int:
        """Make requests for the next measure."""
        self._ders += make_ders(number - len(self._ders))
        return len(self._ders)

    def issue(self, seconds: float, size: int) -> dict[str, float]:
        """Ask for certificates, ``size`` in each call, over the connections of registrars."""
        places = range(len(self._registrars))
        return self._work([partial(self._issue, place, size) for place in places], seconds)

    def prepare_renewals(self, number: int, open_: bool) -> int:
        """Obtain certificates, and make the requests to renew them.

        Args:
            number: how many there are to be then.
            open_: open a connection with each.
        """
        missing = number - len(self._renewals) - (len(self._open) if open_ else 0)
        for begin in range(0, missing, _BATCH):
            self._renewals += self._obtain(min(_BATCH, missing - begin), begin // _BATCH)
        while open_ and len(self._open) < number:
            some = [_taken(self._renewals) for _ in range(min(_AT_ONCE, number - len(self._open)))]
            opening: list[tuple[Connection, bytes]] = self._loop.do(
                partial(list, map(self._connect, some))
            )
            self._wait(partial(_are_open, opening))
            self._open += opening
        return number

    def renew(self, seconds: float, at_once: int) -> dict[str, float]:
        """Renew certificates over their open connections."""

        def work(done: Done) -> None:
            connection, message = _taken(self._open)
            connection.call(RENEW, message, partial(_renewed, done, connection))

        return self._work([work] * at_once, seconds)

    def connect_and_renew(self, seconds: float, at_once: int) -> dict[str, float]:
        """Renew certificates, each over a new connection."""

        def work(done: Done) -> None:
            connection, message = self._connect(_taken(self._renewals))
            connection.call(RENEW, message, partial(_renewed, done, connection))

        return self._work([work] * at_once, seconds)

    def _work(self, workers: list[Work], seconds: float) -> dict[str, float]:
        counted, running = 0, len(workers)
        begun, cpu = time.perf_counter(), time.process_time()

        def go_on(work: Work, number: int) -> None:
            nonlocal counted, running
            counted += number
            if time.perf_counter() < begun + seconds:
                work(partial(go_on, work))
            else:
                running -= 1

        for work in workers:
            self._loop.soon(partial(go_on, work, 0))
        self._wait(lambda: running == 0)
        return {
            "done": counted,
            "seconds": time.perf_counter() - begun,
            "cpu": time.process_time() - cpu,
        }

    def _issue(self, place: int, size: int, done: Done) -> None:
        name = f"spiffe://{SHOP}/load/{self._first + place}"
        items = [
            authority_pb2.BatchItem(spiffe_id=name, request=_taken(self._ders)) for _ in range(size)
        ]
        message = authority_pb2.IssueBatchRequest(items=items).SerializeToString()
        self._registrar(place).call(ISSUE, message, partial(_issued, done))

    def _obtain(self, number: int, place: int) -> Iterator[_Renewal]:
        keys = [generate_key() for _ in range(number)]
        answers: list[authority_pb2.IssueBatchResponse] = []
        at = place % len(self._registrars)
        items = [
            authority_pb2.BatchItem(
                spiffe_id=f"spiffe://{SHOP}/load/{self._first + at}", request=signing_request(key)
            )
            for key in keys
        ]
        message = authority_pb2.IssueBatchRequest(items=items).SerializeToString()

        def note(event: Event) -> None:
            if event.message is not None:
                answers.append(authority_pb2.IssueBatchResponse.FromString(event.message))
            elif not event.is_ok:
                raise RuntimeError(f"the CA issued nothing: {event.trailers}")

        self._loop.soon(lambda: self._registrar(at).call(ISSUE, message, note))
        self._wait(lambda: bool(answers))
        for key, result in zip(keys, answers[0].results, strict=True):
            chain = tuple(x509.load_der_x509_certificate(item) for item in result.certificate.chain)
            yield _Renewal(key, chain, renewal_message(chain[0], SHOP)[1])

    def _registrar(self, place: int) -> Connection:
        if not self._registrars[place].takes_calls:
            self._registrars[place] = self._open_to(self._contexts[place])
        return self._registrars[place]

    def _open_to(self, context: ssl.SSLContext) -> Connection:
        return Connection(self._loop, self._address, context, self._name)

    def _connect(self, renewal: _Renewal) -> tuple[Connection, bytes]:
        file = self._home / "renewed.pem"
        save_pem(renewal.key, renewal.chain, file)
        context = context_of(self._root, file)
        return self._open_to(context), renewal.message

    def _wait(self, is_done: Callable[[], bool]) -> None:
        end = time.monotonic() + _SECONDS
        while not is_done():
            if self._loop.failed is not None or time.monotonic() > end:
                raise RuntimeError(f"the load has failed: {self._loop.failed!r}")
            time.sleep(0.002)


def _taken(prepared: list[_T]) -> _T:
    if not prepared:
        raise RuntimeError("the CA was faster than expected: more has to be prepared")
    return prepared.pop()


def _are_open(opening: list[tuple[Connection, bytes]]) -> bool:
    for connection, _ in opening:
        if connection.is_closed:
            raise RuntimeError(f"a connection was closed: {connection.why_closed}")
    return all(connection.is_open for connection, _ in opening)


def _issued(done: Done, event: Event) -> None:
    if event.message is not None:
        answer = authority_pb2.IssueBatchResponse.FromString(event.message)
        for result in answer.results:
            if not result.HasField("certificate"):
                raise RuntimeError(str(result.refused))
        done(len(answer.results))
    elif not event.is_ok:
        raise RuntimeError(f"the CA issued nothing: {event.trailers}")


def _renewed(done: Done, connection: Connection, event: Event) -> None:
    if event.message is not None:
        answer = authority_pb2.RenewResponse.FromString(event.message)
        if not answer.certificate.chain:
            raise RuntimeError("the CA renewed nothing")
        done(1)
    elif event.is_ok:
        connection.close()
    else:
        raise RuntimeError(f"the CA renewed nothing: {event.trailers}")


if __name__ == "__main__":
    _load = Load(json.loads(sys.argv[1]))
    serve_commands(
        {},
        {
            "prepare": _load.prepare,
            "issue": _load.issue,
            "prepare_renewals": _load.prepare_renewals,
            "renew": _load.renew,
            "connect_and_renew": _load.connect_and_renew,
        },
    )
