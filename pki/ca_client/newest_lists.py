"""The newest revocation lists, fetched where nobody has to be trusted.

A workload whose lists have all ended accepts nobody, and so not the CA either, from whose stream
new lists would come. Lists prove themselves: each is verified by the key of its issuer, which a
trusted root certifies. So they are also asked for where the CA takes enrollments.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from cryptography import x509

from pki._proto.handfast.ca.v1 import enrollment_pb2, enrollment_pb2_grpc, trust_pb2
from pki.ca_client.bundles import Anchor
from pki.ca_client.contact import stranger_channel, verified_path
from pki.ca_client.received import read_crl
from pki.ca_client.rpc_errors import BusyCaError, call
from pki.errors import CertificateError
from pki.x509 import Crl, CrlSet
from pki.x509.readers import MAX_CRLS, MAX_CRLS_BYTES
from pki.x509.revocation import IssuerId

_SECONDS, _ALL_SECONDS = 10.0, 60.0


@dataclass(frozen=True, slots=True)
class FetchedLists:
    """Lists that are not verified yet, and the CAs that may have signed them.

    Args:
        crls: the lists.
        issuers: the CAs above the certificate that the server showed, up to a trusted root.
    """

    crls: tuple[Crl, ...]
    issuers: tuple[x509.Certificate, ...]

    def of_known(self, others: Sequence[x509.Certificate]) -> CrlSet:
        """Return the lists of these issuers and the other ones: nobody can verify the rest.

        Raises:
            CertificateError: if there are two lists of one issuer.
        """
        known = {IssuerId.of_ca(issuer) for issuer in (*self.issuers, *others)}
        return CrlSet.of(crl for crl in self.crls if crl.issuer in known)


def newest_lists_at(
    address: str, anchor: Anchor, present: CrlSet, *, now: datetime, seconds: float = _SECONDS
) -> FetchedLists:
    """Fetch the lists that are newer than the present ones.

    Args:
        address: where the CA takes enrollments.
        anchor: what is trusted.
        present: the present lists.
        now: the time.
        seconds: how long the first handshake may take.

    Raises:
        CaUnreachableError: if the CA can't be reached or can't answer now.
        CaRefusedError: if somebody else is there, or the CA refuses.
        CertificateError: if a list is malformed, or there is no end of them.
    """
    domain = anchor.trust_domain
    path = verified_path(address, domain, now=now, roots=anchor.roots, seconds=seconds)
    with stranger_channel(address, domain, path[-1]) as channel:
        crls = newest_lists(enrollment_pb2_grpc.EnrollmentStub(channel), present)
    return FetchedLists(crls, path[1:])


def newest_lists(stub: enrollment_pb2_grpc.EnrollmentStub, present: CrlSet) -> tuple[Crl, ...]:
    """Ask for the lists that are newer than the present ones.

    Raises:
        PkiError: as :func:`newest_lists_at`.
    """
    gathering = _Gathering(
        {
            issuer.key_id: crl.number
            for issuer, crl in present.crls.items()
            if crl.number.bit_length() <= 64
        }
    )
    end = time.monotonic() + _ALL_SECONDS
    while True:
        seconds = min(_SECONDS, max(end - time.monotonic(), 0.0))
        try:
            answer = call(partial(stub.GetLists, gathering.request(), timeout=seconds))
        except BusyCaError as error:
            # Long lists take more than the budget holds at once.
            pause = error.retry_after
            if pause is None or time.monotonic() + pause > end:
                raise
            time.sleep(pause)
            continue
        for part in answer.parts:
            gathering.add(part)
        if not answer.more:
            return tuple(gathering.crls)
        if not any(part.data for part in answer.parts):
            raise CertificateError("the CA sent revocation lists without an end")


class _Gathering:
    """The lists that have come, and the one that has come in part."""

    def __init__(self, known: dict[bytes, int]) -> None:
        self.crls: list[Crl] = []
        self._known = known
        self._begun: tuple[bytes, int] | None = None
        self._data = b""
        self._size = 0

    def request(self) -> enrollment_pb2.GetListsRequest:
        """Return the request for what is missing."""
        request = enrollment_pb2.GetListsRequest()
        for key_id, number in self._known.items():
            request.crls.add(issuer_key_id=key_id, number=number)
        if self._begun is not None:
            request.begun.issuer_key_id, request.begun.number = self._begun
            request.offset = len(self._data)
        return request

    def add(self, part: trust_pb2.CrlPart) -> None:
        """Add a part.

        Raises:
            CertificateError: if a list is malformed, or there is no end of them.
        """
        self._size += len(part.data)
        if self._size > MAX_CRLS_BYTES or len(self.crls) >= MAX_CRLS:
            raise CertificateError("the CA sent revocation lists without an end")
        name = (part.issuer_key_id, part.number)
        # A newer list took the place of one that had come in part.
        self._data = self._data + part.data if name == self._begun else part.data
        self._begun = name
        if not part.more:
            crl = read_crl(self._data)
            # The CA may have signed another one meanwhile.
            self.crls = [item for item in self.crls if item.issuer != crl.issuer]
            self.crls.append(crl)
            self._known[part.issuer_key_id] = part.number
            self._begun, self._data = None, b""
