"""Signed notes, checkpoints and cosignatures: the examples of C2SP, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pki.transparency import (
    EMPTY_ROOT,
    Checkpoint,
    NoteSignatureError,
    SignedNote,
    TransparencyFormatError,
    VerifierKey,
    cosign,
    open_checkpoint,
    open_note,
    sign_note,
    verify_cosignatures,
)
from pki.transparency.note import COSIGNATURE_V1, MAX_NOTE_BYTES, NoteSignature

# The example of c2sp.org/signed-note.
SPEC_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SPEC_NOTE = (
    "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppz"
    "i2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
).encode()
ORIGIN = "shop.internal/handfast/audit"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
VKEY = VerifierKey.of(ORIGIN, KEY.public_key())
CHECKPOINT = Checkpoint(ORIGIN, 3, bytes(range(32)))
NOTE = CHECKPOINT.sign(KEY)
WITNESS_KEY = Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32)
WITNESS = VerifierKey.of("witness.example/w1", WITNESS_KEY.public_key(), kind=COSIGNATURE_V1)
AT = datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_the_example_of_the_specification_verifies() -> None:
    key = VerifierKey.parse(SPEC_KEY)
    assert open_note(SPEC_NOTE, [key]).text == "This is an example message.\n"
    assert str(key) == SPEC_KEY
    assert SignedNote.parse(SPEC_NOTE).to_bytes() == SPEC_NOTE


def test_a_text_that_was_changed_is_refused() -> None:
    with pytest.raises(NoteSignatureError, match="invalid"):
        open_note(
            SPEC_NOTE.replace(b"example message", b"example massage"), [VerifierKey.parse(SPEC_KEY)]
        )


def test_a_note_that_no_known_key_signed_is_refused_with_a_remedy() -> None:
    for keys in ([], [VKEY], [WITNESS]):
        with pytest.raises(NoteSignatureError, match="not signed by a known key") as caught:
            open_note(SPEC_NOTE, keys)
        assert caught.value.remedy


def test_signatures_of_unknown_keys_are_ignored_and_a_bad_one_of_a_known_key_spoils_all() -> None:
    stranger = NoteSignature(ORIGIN, b"\0\0\0\0", b"x" * 64)
    open_note(NOTE.with_signatures([stranger]).to_bytes(), [VKEY])
    forged = NoteSignature(ORIGIN, VKEY.key_id, b"x" * 64)
    for note in (NOTE.with_signatures([forged]), SignedNote(NOTE.text, (forged, *NOTE.signatures))):
        with pytest.raises(NoteSignatureError, match="invalid"):
            open_note(note.to_bytes(), [VKEY])


def test_a_signature_is_not_moved_to_another_type_of_key() -> None:
    # The same key, as that of a witness: its plain signature is no cosignature.
    as_witness = VerifierKey.of(ORIGIN, KEY.public_key(), kind=COSIGNATURE_V1)
    assert as_witness.key_id != VKEY.key_id
    moved = NoteSignature(ORIGIN, as_witness.key_id, NOTE.signatures[0].signature)
    with pytest.raises(NoteSignatureError):
        verify_cosignatures(NOTE.with_signatures([moved]), [as_witness])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"text\n",
        b"text\n\n",
        b"text\n\n\n",
        b"\xff\n\n" + NOTE.signatures[0].to_line().encode() + b"\n",
        SPEC_NOTE[:-1],
        SPEC_NOTE + b"more\n",
        SPEC_NOTE.replace(b"\n", b"\r\n"),
        SPEC_NOTE.replace(b"example message", b"example\tmessage"),
        SPEC_NOTE.replace(b"Uw2Q", b"Uw2!"),
        SPEC_NOTE.replace(b"yaQM=", b"yaQN="),
        SPEC_NOTE.replace(b"yaQM=", b"yaQM"),
        SPEC_NOTE.replace("— ".encode(), b"- "),
        SPEC_NOTE.replace(b"com/foo Uw", b"com/foo  Uw"),
        SPEC_NOTE.replace(b"com/foo Uw", b"com+foo Uw"),
        SPEC_NOTE.replace(b"com/foo Uw", "com\N{NO-BREAK SPACE}foo Uw".encode()),
        "text\n\n— name AAAAAA==\n".encode(),
        SPEC_NOTE + b"x" * MAX_NOTE_BYTES,
        b"text\n\n" + (NOTE.signatures[0].to_line() + "\n").encode() * 513,
    ],
)
def test_a_malformed_note_is_refused(data: bytes) -> None:
    with pytest.raises(TransparencyFormatError):
        SignedNote.parse(data)


def test_the_last_empty_line_parts_text_and_signatures() -> None:
    note = sign_note("one\n\ntwo\n\n", ORIGIN, KEY)
    assert open_note(note.to_bytes(), [VKEY]).text == "one\n\ntwo\n\n"
    with pytest.raises(TransparencyFormatError):
        sign_note("no newline", ORIGIN, KEY)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.com/foo",
        SPEC_KEY.replace("530d903a", "530d903b"),
        SPEC_KEY.replace("530d903a", "530D903A"),
        SPEC_KEY.replace("foo", "fo o"),
        SPEC_KEY[:-4],
        SPEC_KEY + "\n",
        "example.com/foo+530d903a+",
        "x" * 2000,
    ],
)
def test_a_malformed_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(TransparencyFormatError):
        VerifierKey.parse(text)


def test_a_checkpoint_is_three_lines_that_the_log_signs() -> None:
    assert NOTE.text.split("\n")[:2] == [ORIGIN, "3"]
    assert open_checkpoint(NOTE.to_bytes(), [VKEY]).checkpoint == CHECKPOINT


def test_a_checkpoint_of_another_log_is_refused_whoever_signed_it() -> None:
    # The log's own key, and its own name on the signature, under the origin of another log.
    other = sign_note(Checkpoint("other/log", 3, bytes(32)).to_text(), ORIGIN, KEY)
    with pytest.raises(NoteSignatureError):
        open_checkpoint(other.to_bytes(), [VKEY])


@pytest.mark.parametrize(
    "text",
    [
        f"{ORIGIN}\n3\n",
        f"{ORIGIN}\n03\n{'A' * 43}=\n",
        f"{ORIGIN}\n-3\n{'A' * 43}=\n",
        f"{ORIGIN}\n+3\n{'A' * 43}=\n",
        f"{ORIGIN}\n\N{ARABIC-INDIC DIGIT THREE}\n{'A' * 43}=\n",
        f"{ORIGIN}\n9223372036854775808\n{'A' * 43}=\n",
        f"{ORIGIN}\n{'9' * 5000}\n{'A' * 43}=\n",
        f"{ORIGIN}\n3\n{'A' * 43}\n",
        f"{ORIGIN}\n3\nAAAA\n",
        f"\n3\n{'A' * 43}=\n",
        f"{ORIGIN}\n3\n{'A' * 43}=\n\n",
        f"{ORIGIN}\n3\n{'A' * 43}=",
        f"{ORIGIN}\n0\n{'A' * 43}=\n",
        f"{'x' * 600}\n3\n{'A' * 43}=\n",
    ],
)
def test_a_malformed_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(TransparencyFormatError):
        Checkpoint.parse(text)


def test_extension_lines_are_signed_and_mean_nothing() -> None:
    text = CHECKPOINT.to_text() + "more\n"
    assert Checkpoint.parse(text) == CHECKPOINT
    note = sign_note(text, ORIGIN, KEY)
    cosigned = note.with_signatures([cosign(note, WITNESS.name, WITNESS_KEY, at=AT)])
    without = SignedNote(CHECKPOINT.to_text(), cosigned.signatures)
    assert verify_cosignatures(cosigned, [WITNESS])
    with pytest.raises(NoteSignatureError):
        verify_cosignatures(without, [WITNESS])


def test_the_empty_log_has_the_empty_root_alone() -> None:
    assert Checkpoint(ORIGIN, 0, EMPTY_ROOT).size == 0
    with pytest.raises(TransparencyFormatError):
        Checkpoint(ORIGIN, 0, bytes(32))


def test_a_cosignature_says_who_saw_the_checkpoint_and_when() -> None:
    line = cosign(NOTE, WITNESS.name, WITNESS_KEY, at=AT)
    note = SignedNote.parse(NOTE.with_signatures([line]).to_bytes())
    (verified,) = verify_cosignatures(note, [WITNESS, VKEY])
    assert (verified.witness, verified.at) == (WITNESS, AT)
    assert verify_cosignatures(NOTE, [WITNESS]) == ()
    assert verify_cosignatures(note, [VKEY]) == ()
    # Its own log's signature is there still.
    open_checkpoint(note.to_bytes(), [VKEY])
    assert note.with_signatures([line]) == note


def test_of_two_cosignatures_the_later_counts() -> None:
    later = cosign(NOTE, WITNESS.name, WITNESS_KEY, at=AT.replace(hour=13))
    lines = [later, cosign(NOTE, WITNESS.name, WITNESS_KEY, at=AT)]
    (verified,) = verify_cosignatures(NOTE.with_signatures(lines), [WITNESS])
    assert verified.at.hour == 13


def test_a_cosignature_with_another_time_tree_or_length_is_refused() -> None:
    good = cosign(NOTE, WITNESS.name, WITNESS_KEY, at=AT)
    bad = [
        NoteSignature(good.name, good.key_id, bytes(8) + good.signature[8:]),
        NoteSignature(good.name, good.key_id, b"\xff" * 8 + good.signature[8:]),
        NoteSignature(good.name, good.key_id, good.signature[:-1]),
        NoteSignature(good.name, good.key_id, good.signature + b"\0"),
        NoteSignature(good.name, good.key_id, b"\0"),
    ]
    for line in bad:
        with pytest.raises(NoteSignatureError):
            verify_cosignatures(NOTE.with_signatures([line]), [WITNESS])
    other = Checkpoint(ORIGIN, 4, bytes(32)).sign(KEY)
    with pytest.raises(NoteSignatureError):
        verify_cosignatures(other.with_signatures([good]), [WITNESS])


def test_only_a_checkpoint_is_cosigned() -> None:
    with pytest.raises(TransparencyFormatError):
        cosign(sign_note("pay 100\n", ORIGIN, KEY), WITNESS.name, WITNESS_KEY, at=AT)
    with pytest.raises(TransparencyFormatError):
        cosign(NOTE, WITNESS.name, WITNESS_KEY, at=datetime(1960, 1, 1, tzinfo=UTC))
