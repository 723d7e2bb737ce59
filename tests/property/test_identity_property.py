"""For any text: a name that parses prints back the same, and no two IDs share a DNS name."""

from __future__ import annotations

from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from pki.errors import NameRefusedError
from pki.identity import (
    DnsName,
    SpiffeId,
    Subject,
    TrustDomain,
    derive_names,
    spiffe_id_of_dns_name,
)

SHOP = TrustDomain("shop.internal")
few = settings(max_examples=150, deadline=None)

# Small alphabets, so that many names are almost equal.
segments = st.text("ab-._A", min_size=1, max_size=4).filter(lambda text: text not in {".", ".."})
paths = st.lists(segments, min_size=1, max_size=4).map(tuple)
domains = st.sampled_from(["shop.internal", "a.shop.internal", "b", "shop_internal", "a-b.b"])
ids = st.builds(SpiffeId, domains.map(TrustDomain), paths)
near_uris = st.one_of(
    st.text(max_size=60),
    st.text("spife:/.a%?#@\\ \0A1", max_size=40).map("spiffe://shop.internal/".__add__),
    st.builds(
        lambda uri, at, junk: uri[:at] + junk + uri[at:],
        ids.map(str),
        st.integers(0, 40),
        st.text(max_size=2),
    ),
)


@few
@given(near_uris)
def test_a_text_is_a_spiffe_id_that_prints_back_to_it_or_is_refused(text: str) -> None:
    try:
        parsed = SpiffeId.parse(text)
    except NameRefusedError:
        return
    assert str(parsed) == text


@few
@given(ids)
def test_every_spiffe_id_prints_and_parses_back_to_itself(spiffe_id: SpiffeId) -> None:
    assert SpiffeId.parse(str(spiffe_id)) == spiffe_id


@few
@given(ids, ids)
def test_no_two_ids_of_disjoint_trust_domains_share_a_dns_name(
    one: SpiffeId, two: SpiffeId
) -> None:
    nested = one.trust_domain != two.trust_domain and (
        one.trust_domain.encloses(two.trust_domain) or two.trust_domain.encloses(one.trust_domain)
    )
    first, second = derive_names(one).dns, derive_names(two).dns
    if one != two and first is not None and not nested:
        assert first != second


@few
@given(paths, paths)
def test_no_two_ids_share_a_subject(one: tuple[str, ...], two: tuple[str, ...]) -> None:
    first = derive_names(SpiffeId(SHOP, one)).subject
    second = derive_names(SpiffeId(SHOP, two)).subject
    assert one == two or not first.rdns or first != second


@few
@given(ids)
def test_a_derived_dns_name_leads_back_to_its_id_and_to_no_other(spiffe_id: SpiffeId) -> None:
    name = derive_names(spiffe_id).dns
    if name is not None:
        assert spiffe_id_of_dns_name(name, spiffe_id.trust_domain) == spiffe_id


@few
@given(st.text("ab-.A1", max_size=12))
def test_an_id_found_for_a_dns_name_derives_that_name(text: str) -> None:
    try:
        name = DnsName.parse(f"{text}.shop.internal")
    except NameRefusedError:
        return
    found = spiffe_id_of_dns_name(name, SHOP)
    assert found is None or derive_names(found).dns == name


@few
@given(st.text(max_size=20) | st.text("aZ09-._*\0é", max_size=12))
def test_a_dns_name_parses_to_its_lower_case_or_is_refused(text: str) -> None:
    try:
        name = DnsName.parse(text)
    except NameRefusedError:
        return
    assert name.name == text.lower()
    assert DnsName.parse(name.name) == name


attributes = st.tuples(
    st.sampled_from([x509.NameOID.COMMON_NAME, x509.NameOID.ORGANIZATION_NAME, x509.NameOID.TITLE]),
    st.text('aé #=,+"\\;<> 1', min_size=1, max_size=8),
).map(lambda pair: (pair[0].dotted_string, pair[1]))
subjects = st.lists(st.frozensets(attributes, min_size=1, max_size=3), min_size=1, max_size=3)


@few
@given(subjects)
def test_a_subject_prints_and_parses_back_to_itself(
    rdns: list[frozenset[tuple[str, str]]],
) -> None:
    subject = Subject(tuple(rdns))
    assert Subject.parse(str(subject)) == subject
    assert Subject.of_name(subject.to_name()) == subject


@few
@given(st.text(max_size=30) | st.text('CNO=,+\\0a#"', max_size=20))
def test_a_text_is_a_printable_subject_or_is_refused(text: str) -> None:
    try:
        subject = Subject.parse(text)
    except NameRefusedError:
        return
    assert str(subject).isprintable()
