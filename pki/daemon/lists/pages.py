"""The signed revocation lists in pages, for callers that can't follow a stream yet."""

from __future__ import annotations

from collections.abc import Mapping

from pki._proto.handfast.ca.v1 import enrollment_pb2, trust_pb2
from pki.daemon.trust_feed import TrustState
from pki.errors import InputError
from pki.x509 import Crl

PAGE_BYTES = 512 * 1024
_MOST_LISTS = 4096
_PLACE_BYTES = 64 * 1024


class ListPages:
    """Makes pages of the lists in force. For one event loop.

    A stranger may ask for pages, so a page costs little: the lists are encoded once.
    """

    def __init__(self) -> None:
        self._lists: Mapping[bytes, Crl] = {}
        self._encoded: dict[bytes, bytes] = {}

    def page(
        self, state: TrustState, request: enrollment_pb2.GetListsRequest
    ) -> enrollment_pb2.GetListsResponse:
        """Return the next page of what a caller lacks.

        Raises:
            InputError: if it names more lists than any caller has.
        """
        if len(request.crls) > _MOST_LISTS:
            raise InputError("no caller has so many lists")
        if state.crls is not self._lists:
            self._lists = state.crls
            self._encoded = {key_id: crl.der for key_id, crl in state.crls.items()}
        known = {item.issuer_key_id: item.number for item in request.crls}
        page, left = enrollment_pb2.GetListsResponse(), PAGE_BYTES
        # The begun one first: it fits to what the caller has of it.
        order = sorted(self._lists, key=lambda key_id: key_id != request.begun.issuer_key_id)
        for key_id in order:
            number = self._lists[key_id].number
            if known.get(key_id, -1) >= number:
                continue
            if not left:
                page.more = True
                break
            begun = request.begun
            is_begun = (begun.issuer_key_id, begun.number) == (key_id, number)
            encoded, offset = self._encoded[key_id], request.offset if is_begun else 0
            data = encoded[offset : offset + left]
            left -= len(data)
            page.more = offset + len(data) < len(encoded)
            page.parts.append(
                trust_pb2.CrlPart(issuer_key_id=key_id, number=number, data=data, more=page.more)
            )
        return page


def places_of(page: enrollment_pb2.GetListsResponse) -> int:
    """Return how many places in the budget a page takes besides its first one."""
    return sum(len(part.data) for part in page.parts) // _PLACE_BYTES
