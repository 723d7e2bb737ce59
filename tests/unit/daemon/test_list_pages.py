"""Revocation lists in pages: each caller gets what it lacks, and no page is long."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from pki._proto.handfast.ca.v1 import enrollment_pb2
from pki.authority import Authority
from pki.ca_client import newest_lists
from pki.ca_client.newest_lists import FetchedLists
from pki.daemon.lists import pages as list_pages
from pki.daemon.lists.pages import ListPages, places_of
from pki.daemon.trust_feed import TrustFeed, TrustState
from pki.errors import CertificateError, InputError
from pki.x509 import CrlSet
from pki.x509.revocation import IssuerId
from tests.support import Clock, create_authority, make_authority


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    with make_authority(tmp_path, Clock()) as made:
        yield made


@pytest.fixture
def state(authority: Authority) -> TrustState:
    return TrustFeed(authority.context, lambda: None, lambda _: None).state


class Server:
    """Answers as the CA does."""

    def __init__(self, state: TrustState) -> None:
        self.state = state
        self.pages = ListPages()
        self.answered = 0

    def GetLists(self, request: Any, timeout: float) -> enrollment_pb2.GetListsResponse:
        del timeout
        self.answered += 1
        return self.pages.page(self.state, request)


def fetched(server: Any, present: CrlSet | None = None) -> CrlSet:
    return CrlSet.of(newest_lists.newest_lists(server, present or CrlSet.none()))


def ders(lists: CrlSet) -> set[bytes]:
    return {crl.der for crl in lists.crls.values()}


def test_short_lists_come_in_one_page(state: TrustState) -> None:
    server = Server(state)
    assert ders(fetched(server)) == {crl.der for crl in state.crls.values()}
    assert server.answered == 1


def test_who_has_all_lists_gets_none(state: TrustState) -> None:
    present = CrlSet.of(state.crls.values())
    assert not fetched(Server(state), present).crls


def test_long_lists_come_in_parts(state: TrustState, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in (1, 7, 100, 500):
        monkeypatch.setattr(list_pages, "PAGE_BYTES", size)
        server = Server(state)
        assert ders(fetched(server)) == {crl.der for crl in state.crls.values()}
        total = sum(len(crl.der) for crl in state.crls.values())
        assert server.answered == -(-total // size), "each page is full"


def test_a_list_that_is_signed_anew_while_its_parts_come_is_begun_again(
    authority: Authority, state: TrustState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(list_pages, "PAGE_BYTES", 100)

    class Changing(Server):
        def GetLists(self, request: Any, timeout: float) -> enrollment_pb2.GetListsResponse:
            if self.answered == 1:
                authority.refresh_crls(force=True)
                self.state = TrustFeed(authority.context, lambda: None, lambda _: None).state
            return super().GetLists(request, timeout)

    server = Changing(state)
    assert ders(fetched(server)) == {crl.der for crl in server.state.crls.values()}
    assert server.state.crls != state.crls


def test_a_page_takes_places_for_its_size(
    state: TrustState, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = ListPages().page(state, enrollment_pb2.GetListsRequest())
    assert places_of(page) == 0
    page.parts[0].data = bytes(list_pages.PAGE_BYTES)
    assert places_of(page) == 8


def test_a_request_that_names_thousands_of_lists_is_refused(state: TrustState) -> None:
    request = enrollment_pb2.GetListsRequest()
    for number in range(5000):
        request.crls.add(issuer_key_id=b"x", number=number)
    with pytest.raises(InputError):
        ListPages().page(state, request)


@pytest.mark.parametrize("data", [b"", b"x" * 1024 * 1024])
def test_a_server_that_sends_lists_without_an_end_is_left(data: bytes) -> None:
    class Endless:
        answered = 0

        def GetLists(self, request: Any, timeout: float) -> enrollment_pb2.GetListsResponse:
            del request, timeout
            self.answered += 1
            answer = enrollment_pb2.GetListsResponse(more=True)
            answer.parts.add(issuer_key_id=b"k", number=1, data=data, more=True)
            return answer

    server = Endless()
    with pytest.raises(CertificateError, match="without an end"):
        fetched(server)
    assert server.answered < 100


def test_a_list_of_an_issuer_that_nobody_knows_is_not_taken(
    authority: Authority, state: TrustState, tmp_path: Path
) -> None:
    own = [item.certificate for item in authority.issuers()]
    with create_authority(tmp_path / "other") as other:
        foreign = list(other.trust()[1].crls.values())
    assert foreign
    lists = FetchedLists((*state.crls.values(), *foreign), tuple(own))
    assert ders(lists.of_known(())) == {crl.der for crl in state.crls.values()}
    assert not FetchedLists(tuple(foreign), ()).of_known(own).crls


def test_a_forged_list_of_a_known_issuer_is_refused(
    authority: Authority, state: TrustState
) -> None:
    own = [item.certificate for item in authority.issuers()]
    present = CrlSet.of(state.crls.values())
    issuer = IssuerId.of_ca(own[-1])
    genuine = present.crls[issuer]
    # As one whose signature does not fit to what it holds.
    other = next(crl for name, crl in present.crls.items() if name != issuer)
    forged = replace(other, issuer=issuer, number=genuine.number + 1000)
    taken = FetchedLists((forged,), tuple(own)).of_known(())
    assert forged in taken.crls.values()
    merged, refused = present.merge_newer(taken, issuers=own)
    assert merged.crls == MappingProxyType(dict(present.crls))
    assert "not signed" in refused[0]
