"""The formats of the audit log: what comes in is refused, or comes out as it was."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from pki.authority.ledger.audit import Actor, AuditAction, AuditEntry
from pki.errors import InputError
from pki.transparency import (
    Checkpoint,
    InclusionProofFile,
    SignedNote,
    Tile,
    TransparencyError,
    TransparencyFormatError,
    VerifierKey,
    cosign,
    decode_bundle,
    encode_bundle,
    open_checkpoint,
)
from pki.transparency.note import COSIGNATURE_V1

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
VKEY = VerifierKey.of("log.example", KEY.public_key())
CHECKPOINT = Checkpoint("log.example", 7, bytes(range(32)))
NOTE = CHECKPOINT.sign(KEY)
PROOF = InclusionProofFile(3, (bytes(32), bytes(32)), NOTE, b"entry")
SAMPLES = [NOTE.to_bytes(), PROOF.to_bytes(), str(VKEY).encode(), b"tile/0/x001/234.p/7"]
ENTRY = AuditEntry(
    AuditAction.ISSUE, datetime(2026, 11, 23, tzinfo=UTC), Actor("local:0"), details={"a": "b"}
).to_text()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Bytes that are almost one of the formats, or anything."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=200))
    data = bytearray(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(data)


@given(damaged())
def test_what_is_read_is_written_back_byte_for_byte_or_refused(data: bytes) -> None:
    for parse in (SignedNote.parse, InclusionProofFile.parse):
        with contextlib.suppress(TransparencyFormatError):
            assert parse(data).to_bytes() == data
    text = data.decode(errors="surrogateescape")
    with contextlib.suppress(TransparencyFormatError):
        assert str(VerifierKey.parse(text)) == text
    with contextlib.suppress(TransparencyFormatError):
        assert Tile.parse(text).path == text


@given(damaged())
def test_nothing_but_the_signed_checkpoint_is_opened(data: bytes) -> None:
    try:
        opened = open_checkpoint(data, [VKEY])
    except (TransparencyError, TransparencyFormatError):
        return
    assert opened.checkpoint == CHECKPOINT
    assert opened.note.text == NOTE.text


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=20))
def test_a_bundle_gives_back_its_entries(entries: list[bytes]) -> None:
    data = encode_bundle(entries)
    assert decode_bundle(data, width=len(entries)) == tuple(entries)
    with pytest.raises(TransparencyFormatError):
        decode_bundle(data[:-1], width=len(entries))


@given(st.integers(0, 7), st.integers(0, 1 << 60), st.integers(1, 256))
def test_a_tile_that_a_log_can_have_is_named_by_one_path(
    level: int, index: int, width: int
) -> None:
    try:
        tile = Tile(level, index, width)
    except TransparencyFormatError:
        assert index * 256 ** (level + 1) + width * 256**level >= 1 << 62
        return
    assert Tile.parse(tile.path) == tile


@given(st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 30), timezones=st.just(UTC)))
def test_a_cosignature_keeps_its_second(at: datetime) -> None:
    from pki.transparency import verify_cosignatures  # noqa: PLC0415 - beside its one use

    witness = VerifierKey.of("w", KEY.public_key(), kind=COSIGNATURE_V1)
    note = NOTE.with_signatures([cosign(NOTE, "w", KEY, at=at)])
    (verified,) = verify_cosignatures(SignedNote.parse(note.to_bytes()), [witness])
    assert verified.at == at.replace(microsecond=0)


@given(st.text(max_size=300))
def test_what_is_no_entry_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        AuditEntry.parse(text)


@given(st.integers(0, len(ENTRY)), st.text(max_size=3), st.integers(0, 3))
def test_an_entry_has_one_form(at: int, new: str, cut: int) -> None:
    text = ENTRY[:at] + new + ENTRY[at + cut :]
    with contextlib.suppress(InputError):
        assert AuditEntry.parse(text).to_text() == text


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9_]{0,39}", fullmatch=True),
        st.text(max_size=100)
        | st.integers(-(2**53) + 1, 2**53 - 1)
        | st.lists(st.text(max_size=9)),
        max_size=5,
    ),
    st.text(max_size=100),
)
def test_an_entry_comes_back_as_it_was(
    details: dict[str, str | int | list[str]], reason: str
) -> None:
    at = datetime(2026, 11, 23, tzinfo=UTC)
    entry = AuditEntry(AuditAction.REFUSE, at, Actor("x"), reason=reason, details=details)
    parsed = AuditEntry.parse(entry.to_text())
    assert (parsed.reason, parsed.details) == (reason, details)
