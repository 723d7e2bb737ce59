"""Transparency logs as values: Merkle trees, and the formats of C2SP. No I/O, no clock."""

from pki.transparency.checkpoint import Checkpoint, SignedCheckpoint, open_checkpoint
from pki.transparency.compact_range import CompactRange, root_of
from pki.transparency.cosignature import Cosignature, cosign, verify_cosignatures
from pki.transparency.errors import (
    ConsistencyError,
    ForkError,
    InclusionError,
    NoteSignatureError,
    StepBackError,
    TransparencyError,
    TransparencyFormatError,
)
from pki.transparency.merkle import (
    EMPTY_ROOT,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)
from pki.transparency.note import (
    NoteSignature,
    SignedNote,
    VerifierKey,
    open_note,
    sign_note,
)
from pki.transparency.proof_file import InclusionProofFile
from pki.transparency.proofs import TileHashes, consistency_proof, inclusion_proof, tree_root
from pki.transparency.tiles import (
    Tile,
    decode_bundle,
    decode_tile,
    encode_bundle,
    tiles_of,
)
from pki.transparency.witness import Witness

__all__ = [
    "EMPTY_ROOT",
    "Checkpoint",
    "CompactRange",
    "ConsistencyError",
    "Cosignature",
    "ForkError",
    "InclusionError",
    "InclusionProofFile",
    "NoteSignature",
    "NoteSignatureError",
    "SignedCheckpoint",
    "SignedNote",
    "StepBackError",
    "Tile",
    "TileHashes",
    "TransparencyError",
    "TransparencyFormatError",
    "VerifierKey",
    "Witness",
    "consistency_proof",
    "cosign",
    "decode_bundle",
    "decode_tile",
    "encode_bundle",
    "inclusion_proof",
    "leaf_hash",
    "node_hash",
    "open_checkpoint",
    "open_note",
    "root_of",
    "sign_note",
    "tiles_of",
    "tree_root",
    "verify_consistency",
    "verify_cosignatures",
    "verify_inclusion",
]
