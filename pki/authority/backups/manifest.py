"""What a backup says of itself: of which CA it is, of which moment, and the hash of each part."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from pki.errors import InputError

FORMAT = "handfast backup v1"
_PART = re.compile(r"ledger/[a-z_]{1,64}\.jsonl|files/[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a backup.

    Args:
        name: ``ledger/TABLE.jsonl``, the rows of a table, or ``files/NAME``, a file of the CA.
        size: in bytes.
        sha256: of its content, in lower-case hex.
    """

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds.

    Args:
        version: of the handfast that made it.
        made_at: when, in whole seconds of UTC.
        trust_domain: of the CA.
        schema: the version of the ledger's tables.
        ledger_id: of the ledger.
        sequence: of the ledger's last commit in it.
        certificates: how many certificates it holds.
        log_origin: the name of the audit log.
        log_size: how many entries the log had.
        log_root: the root hash of its tree, in hex.
        keys_elsewhere: the CA's keys that live in a token, each with its URI: they are not in it.
        holds_root_key: whether a root's key is in it.
        parts: all parts but the manifest.
    """

    version: str
    made_at: datetime
    trust_domain: str
    schema: str
    ledger_id: str
    sequence: int
    certificates: int
    log_origin: str
    log_size: int
    log_root: str
    keys_elsewhere: Mapping[str, str]
    holds_root_key: bool
    parts: tuple[Part, ...]

    def encode(self) -> bytes:
        """Return it as JSON."""
        document = {"format": FORMAT, **asdict(self), "made_at": int(self.made_at.timestamp())}
        return json.dumps(document, indent=1, sort_keys=True).encode() + b"\n"

    @classmethod
    def read(cls, data: bytes) -> Manifest:
        """Parse a manifest.

        Raises:
            InputError: if it is none, or a part has a name that no backup holds.
        """
        try:
            document: Any = json.loads(data)
            if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
                raise _malformed(f"is not one of a {FORMAT!r}")
            parts = tuple(Part(**item) for item in document.pop("parts"))
            made_at = datetime.fromtimestamp(document.pop("made_at"), tz=UTC)
            manifest = cls(made_at=made_at, parts=parts, **document)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            raise _malformed("has another form") from None
        kinds: dict[type, tuple[object, ...]] = {
            str: (
                manifest.version,
                manifest.trust_domain,
                manifest.schema,
                manifest.ledger_id,
                manifest.log_origin,
                manifest.log_root,
            ),
            int: (manifest.sequence, manifest.certificates, manifest.log_size),
            bool: (manifest.holds_root_key,),
            dict: (manifest.keys_elsewhere,),
        }
        if any(type(value) is not kind for kind, values in kinds.items() for value in values):
            raise _malformed("has a member of another kind")
        for part in parts:
            if not (isinstance(part.name, str) and _PART.fullmatch(part.name)):
                raise _malformed("names a part that no backup has")
            if type(part.size) is not int or not _is_hash(part.sha256):
                raise _malformed("lacks the size or the hash of a part")
        if len({part.name for part in parts}) != len(parts):
            raise _malformed("names a part twice")
        return manifest


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and _HASH.fullmatch(value) is not None


def _malformed(why: str) -> InputError:
    return InputError(f"the backup's manifest {why}", remedy="Use another backup")
