"""Enrollment tokens: one text for one token, and no secret in what may be logged."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.errors import InputError
from pki.identity import TrustDomain
from pki.proofs import EnrollmentToken, TokenCredential

KEY = b"k" * 32
TOKEN = EnrollmentToken(
    "ca.shop.internal:8444", TrustDomain("shop.internal"), b"r" * 32, TokenCredential.make(KEY)
)
ALPHABET = string.ascii_letters + string.digits + "-_"


def test_a_token_is_read_as_it_was_made() -> None:
    parsed = EnrollmentToken.parse(f"  {TOKEN}\n")
    assert parsed == TOKEN
    assert parsed.credential.is_of(KEY)
    assert TokenCredential.decode(TOKEN.credential.encode()) == TOKEN.credential


@given(st.data())
def test_one_wrong_missing_or_added_character_is_noticed_before_anything_is_sent(
    data: st.DataObject,
) -> None:
    text = str(TOKEN)
    place = data.draw(st.integers(0, len(text) - 1))
    changed = data.draw(
        st.sampled_from([text[:place] + c + text[place + 1 :] for c in ALPHABET])
        | st.just(text[:place] + text[place + 1 :])
        | st.just(text[:place] + "A" + text[place:])
        | st.just(text[:place])
    )
    if changed != text:
        with pytest.raises(InputError) as caught:
            EnrollmentToken.parse(changed)
        assert changed[5:] not in str(caught.value) or len(changed) < 9


@pytest.mark.parametrize("text", ["", "hft1_", "hft1_====", "hft2_abc", "\0", "hft1_\N{SNOWMAN}"])
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        EnrollmentToken.parse(text)


def test_a_huge_text_is_refused_at_once() -> None:
    with pytest.raises(InputError):
        EnrollmentToken.parse("hft1_" + "A" * 10_000_000)


def test_a_log_shows_no_secret() -> None:
    shown = repr(TOKEN) + repr(TOKEN.credential)
    assert str(TOKEN) not in shown
    assert TOKEN.credential.secret.hex() not in shown
    assert repr(TOKEN.credential.secret) not in shown


def test_an_id_with_one_bit_changed_or_of_another_ca_is_no_id_of_ours() -> None:
    credential = TOKEN.credential
    changed = TokenCredential(
        bytes([credential.id[0] ^ 1]) + credential.id[1:], credential.mac, credential.secret
    )
    assert not changed.is_of(KEY)
    assert not credential.is_of(b"j" * 32)


@pytest.mark.parametrize("size", [0, 63, 65, 1 << 20])
def test_a_credential_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(InputError):
        TokenCredential.decode(bytes(size))


@pytest.mark.parametrize("address", ["", "a" * 256, "caf\N{LATIN SMALL LETTER E WITH ACUTE}:1"])
def test_an_address_that_fits_no_token_is_refused(address: str) -> None:
    with pytest.raises(InputError):
        EnrollmentToken(address, TOKEN.trust_domain, TOKEN.root, TOKEN.credential)
