"""``pki.Authority`` in one process, beside the bare work of cryptography on the same requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from pki.authority import Authority
from pki.authority.enrollment import create_registration, issue_for_registrar, renew_own
from pki.authority.issuing.issuance import order_for_request
from pki.authority.orders import order_leaf
from pki.authority.registrations import Proof, Registration
from pki.authority.signing import SigningCa
from pki.errors import PkiError
from pki.identity import SpiffeId, TrustDomain
from pki.keys import generate_key
from pki.proofs import Purpose, bind_request
from pki.x509 import WORKLOAD, read_request
from tests.bench.ca.bare import BareCa
from tests.bench.ca.recorded import RecordedBareCa
from tests.bench.ca.served import OPERATOR
from tests.bench.ca.signing_requests import make_ders
from tests.bench.rows import Pairs, Row

_AT_ONCE, _BATCH = 16, 100
_Made = TypeVar("_Made")


def library(home: Path, quick: bool) -> Iterator[Row]:
    """Measure what a certificate costs in this process."""
    pairs, number = (3, 64) if quick else (15, 160)
    bare = BareCa()
    with (
        Authority.create(home / "ca", "shop.internal") as authority,
        ThreadPoolExecutor(_AT_ONCE) as threads,
    ):

        def issue(place: int, der: bytes) -> None:
            authority.issue_request(f"load-{place}", der)

        def at_once(ders: list[bytes]) -> None:
            list(threads.map(issue, [i % _AT_ONCE for i in range(len(ders))], ders))

        def only_sign(ders: list[bytes]) -> None:
            for der in ders:
                bare.issue(der)

        def without_ledger(ders: list[bytes]) -> None:
            for der in ders:
                _issue_unrecorded(authority, by, der)

        at_once(make_ders(_AT_ONCE))
        against = "against one CSR check and signing"
        with authority.context.ledger.snapshot() as transaction:
            by = authority.context.active_ca(transaction)
        costs = _costs(without_ledger, only_sign, make_ders, pairs, number)
        name = "a certificate by CSR without the ledger, processor ms"
        yield costs.row(name, 1.3, median(costs.ratios) <= 1.3, against)
        costs = _costs(at_once, only_sign, make_ders, pairs, number)
        name = f"the same with the ledger, {_AT_ONCE} at a time"
        yield costs.row(name, 1.6, median(costs.ratios) <= 1.6, against)
        costs = _recorded(home / "recorded.db", only_sign, pairs, number)
        name = f"the floor of that: the bare work and its rows, {_AT_ONCE} a commit"
        yield costs.row(name, None, None, against)
        costs = _renewals(authority, threads, at_once, pairs, number)
        yield costs.row(
            f"a renewal, {_AT_ONCE} at a time, processor ms", None, None, "beside issue"
        )


def _recorded(
    file: Path, only_sign: Callable[[list[bytes]], None], pairs: int, number: int
) -> Pairs:
    """Compare the bare work that is recorded with the bare work alone."""
    recorded = RecordedBareCa(file)

    def issue(ders: list[bytes]) -> None:
        for begin in range(0, len(ders), _AT_ONCE):
            recorded.issue(ders[begin : begin + _AT_ONCE])

    issue(make_ders(_AT_ONCE))
    try:
        return _costs(issue, only_sign, make_ders, pairs, number)
    finally:
        recorded.close()


def _issue_unrecorded(authority: Authority, by: SigningCa, der: bytes) -> None:
    """Do what an issue by CSR does before and beside the ledger."""
    request = read_request(der)
    order = order_for_request(
        order_leaf("load-1", authority.trust_domain, request.key, (), (), None, WORKLOAD), request
    )
    authority.context.signing.admission.check_names(
        order.spiffe_id, order.names(), by_admin=order.by_admin
    )
    now = authority.context.now()
    validity = authority.context.signing.leaf_validity(
        order.lifetime, by.record.certificate, now=now
    )
    order.profile.build(
        order.names(),
        order.key.public_key,
        issuer=by.record.certificate,
        issuer_key=by.key,
        validity=validity,
    )


def _renewals(
    authority: Authority,
    threads: ThreadPoolExecutor,
    issue: Callable[[list[bytes]], None],
    pairs: int,
    number: int,
) -> Pairs:
    """Compare renewals with the issue of as many certificates."""
    context, domain = authority.context, authority.trust_domain
    for place in range(_AT_ONCE):
        registration = Registration(
            SpiffeId.of_path(domain, f"renewed/{place}"),
            proofs=frozenset({Proof.REGISTRAR, Proof.RENEWAL}),
        )
        create_registration(context, OPERATOR, registration)

    def prepare(number: int) -> list[tuple[x509.Certificate, bytes, bytes]]:
        ids = [f"spiffe://{domain}/renewed/{place % _AT_ONCE}" for place in range(number)]
        issued: list[x509.Certificate] = []
        for begin in range(0, number, _BATCH):
            items = list(zip(ids, make_ders(number), strict=True))[begin : begin + _BATCH]
            for result in issue_for_registrar(context, OPERATOR, items):
                if isinstance(result, PkiError):
                    raise result
                issued.append(result.issued.leaf)
        return [_renewal_of(leaf, domain) for leaf in issued]

    def renew(prepared: list[tuple[x509.Certificate, bytes, bytes]]) -> None:
        list(threads.map(lambda item: renew_own(context, *item), prepared))

    return Pairs(*_in_turns((renew, prepare), (issue, make_ders), pairs, number))


def _renewal_of(
    leaf: x509.Certificate, domain: TrustDomain
) -> tuple[x509.Certificate, bytes, bytes]:
    """Return a certificate with the request to renew it, and what binds the two."""
    key = generate_key()
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.DER)
    )
    presented = leaf.public_bytes(serialization.Encoding.DER)
    binding = bind_request(key, Purpose.RENEW, domain, proof=presented, request=request)
    return leaf, request, binding


def _costs(
    ours: Callable[[list[bytes]], None],
    bare: Callable[[list[bytes]], None],
    make: Callable[[int], list[bytes]],
    pairs: int,
    number: int,
) -> Pairs:
    """Return the processor time of one certificate, in ms, in pairs of runs."""
    return Pairs(*_in_turns((ours, make), (bare, make), pairs, number))


def _in_turns(
    ours: tuple[Callable[[list[_Made]], None], Callable[[int], list[_Made]]],
    bare: tuple[Callable[[list[bytes]], None], Callable[[int], list[bytes]]],
    pairs: int,
    number: int,
) -> tuple[list[float], list[float]]:
    mine: list[float] = []
    theirs: list[float] = []
    for _ in range(pairs):
        mine.append(_cost(*ours, number))
        theirs.append(_cost(*bare, number))
    return mine, theirs


def _cost(
    work: Callable[[list[_Made]], None], make: Callable[[int], list[_Made]], number: int
) -> float:
    made = make(number)
    before = time.process_time()
    work(made)
    return (time.process_time() - before) / number * 1000
