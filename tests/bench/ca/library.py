"""``pki.Authority`` in one process, beside the bare work of cryptography on the same requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import NameOID

from pki.authority import Authority
from tests.bench.ca.signing_requests import make_ders
from tests.bench.rows import Pairs, Row

_AT_ONCE = 16


def library(home: Path, quick: bool) -> Iterator[Row]:
    """Measure what a certificate costs in this process."""
    pairs, number = (3, 64) if quick else (15, 160)
    bare = _Bare()
    with (
        Authority.create(home / "ca", "shop.internal") as authority,
        ThreadPoolExecutor(_AT_ONCE) as threads,
    ):

        def issue(place: int, der: bytes) -> None:
            authority.issue_request(f"load-{place}", der)

        def at_once(ders: list[bytes]) -> None:
            list(threads.map(issue, [i % _AT_ONCE for i in range(len(ders))], ders))

        at_once(make_ders(_AT_ONCE))
        name = f"a certificate by CSR with the ledger, {_AT_ONCE} at a time, processor ms"
        costs = _costs(at_once, bare.issue, pairs, number)
        yield costs.row(name, 1.6, median(costs.ratios) <= 1.6, "against one CSR check and signing")


class _Bare:
    """Checks a request's signature, and builds and signs a certificate for its key."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bare")])

    def issue(self, ders: list[bytes]) -> None:
        """Do it for each request."""
        for der in ders:
            request = x509.load_der_x509_csr(der)
            assert request.is_signature_valid
            self._sign(request.public_key())

    def _sign(self, key: CertificatePublicKeyTypes) -> None:
        now = datetime.now(UTC)
        (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + timedelta(hours=1))
            .sign(self._key, hashes.SHA256())
        )


def _costs(
    ours: Callable[[list[bytes]], None],
    bare: Callable[[list[bytes]], None],
    pairs: int,
    number: int,
) -> Pairs:
    """Return the processor time of one certificate, in ms, in pairs of runs."""
    mine: list[float] = []
    theirs: list[float] = []
    for _ in range(pairs):
        for work, costs in ((ours, mine), (bare, theirs)):
            ders = make_ders(number)
            before = time.process_time()
            work(ders)
            costs.append((time.process_time() - before) / number * 1000)
    return Pairs(mine, theirs)
