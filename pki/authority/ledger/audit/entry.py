"""An entry of the audit log: one decision of the CA.

An entry is canonical JSON as RFC 8785 writes it: UTF-8, keys sorted, no space between, no number
but whole ones. So one entry has one form, and its hash can be computed anywhere from its fields.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from pki.errors import InputError, quote_untrusted

MAX_ENTRY_BYTES = 16 * 1024
_VERSION = 1
_MAX_TEXT = 2048
_MAX_ITEMS = 64
_MAX_NUMBER = (1 << 53) - 1  # RFC 8785 §3.2.2.3: what every reader of JSON keeps exactly
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_KEY = re.compile(r"[a-z][a-z0-9_]{0,39}", re.ASCII)
_HEX = re.compile(r"[0-9a-f]{1,64}", re.ASCII)
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode
_FIELDS = frozenset(
    {
        "action",
        "actor",
        "certificate_sha256",
        "details",
        "reason",
        "serial",
        "subject",
        "time",
        "version",
    }
)

Detail = str | int | Sequence[str]


class AuditAction(StrEnum):
    """What the CA decided. Values are added, never renamed or used for something else."""

    INIT = "init"
    """The CA was made."""
    BEGIN = "begin"
    """The log begins in a ledger that has a history, whose hash this entry holds."""
    LOG_KEY = "log-key"
    """The log got its key."""
    ISSUE = "issue"
    RENEW = "renew"
    REFUSE = "refuse"
    """The CA looked at what somebody asked for, and refused it."""
    REFUSE_MANY = "refuse-many"
    """How often strangers were refused for one reason within a minute."""
    REVOKE = "revoke"
    PREPARE = "prepare"
    """An issuing CA was made, or a root recorded."""
    ACTIVATE = "activate"
    """An issuing CA signs leaves from now on, or leaves are issued under a root."""
    BUNDLE = "bundle"
    """A signed trust bundle was recorded that neither prepares nor withdraws anything."""
    WITHDRAW = "withdraw"
    """A root is in no trust bundle any more."""
    STRAND = "strand"
    """A forced step of a rotation has stranded a workload."""
    DISTRUST = "distrust"
    RECOVER = "recover"
    """An older copy of the ledger was accepted: the log has lost entries."""
    RESTORE = "restore"
    """The ledger was restored from a backup: the log goes on under another origin."""
    RESUME = "resume"
    """The restored CA signs again."""
    REGISTER = "register"
    """A workload was registered."""
    REGISTER_CHANGE = "register-change"
    REGISTER_CONFIRM = "register-confirm"
    """An admin confirmed a registration from a restored backup."""
    REGISTER_DELETE = "register-delete"
    TOKEN = "token"  # noqa: S105 - no secret
    """An enrollment token was made."""
    RECOVER_LINE = "recover-line"
    """A line of certificates recovered by itself, after its last one had ended."""
    BLOCK_LINE = "block-line"
    """Nothing of a line is renewed or recovered any more."""
    PRUNE = "prune"
    """Certificates that had ended long before were removed from the ledger."""
    ROOT_REQUEST = "root-request"
    """The roots were asked to sign something, where their keys are."""
    ROOT_CRLS = "root-crls"
    """The roots have signed their lists anew, and nothing else."""
    IMPORT_CRLS = "import-crls"
    """Published CRLs were newer than the ledger."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asked for a decision: ``local:1000``, a SPIFFE ID, or ``stranger``."""

    name: str

    @classmethod
    def local(cls) -> Actor:
        """Return the user who runs this process, on the CA's own machine."""
        return cls(f"local:{os.geteuid()}")


STRANGER = Actor("stranger")


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One decision.

    Args:
        action: what was decided.
        at: when, by the CA's clock.
        actor: who asked for it.
        subject: the SPIFFE ID that it is about.
        serial: of the certificate that it is about, in lower-case hex.
        certificate_sha256: of that certificate in DER, in lower-case hex.
        reason: why, in words or as a code.
        details: what else belongs to it: short texts, whole numbers, lists of texts.
    """

    action: AuditAction
    at: datetime
    actor: Actor
    subject: str | None = None
    serial: str | None = None
    certificate_sha256: str | None = None
    reason: str | None = None
    details: Mapping[str, Detail] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        action: AuditAction,
        at: datetime,
        actor: Actor,
        *,
        certificate: x509.Certificate | None = None,
        subject: str | None = None,
        serial: str | None = None,
        reason: str | None = None,
        **details: Detail,
    ) -> AuditEntry:
        """Return an entry; a certificate gives its serial number and hash."""
        digest = None
        if certificate is not None:
            serial = f"{certificate.serial_number:x}"
            digest = certificate.fingerprint(SHA256()).hex()
        return cls(action, at, actor, subject, serial, digest, reason, details)

    def to_text(self) -> str:
        """Return the entry as the log holds it.

        Raises:
            InputError: if a field is too large or of another kind: nothing may be recorded then.
        """
        document: dict[str, object] = {
            "action": self.action.value,
            "actor": self.actor.name,
            "certificate_sha256": self.certificate_sha256,
            "details": {key: _listed(value) for key, value in self.details.items()},
            "reason": self.reason,
            "serial": self.serial,
            "subject": self.subject,
            "time": self.at.astimezone(UTC).strftime(_TIME),
            "version": _VERSION,
        }
        document = {key: value for key, value in document.items() if value not in (None, {})}
        _check(document)
        return _canonical(document)

    @classmethod
    def parse(cls, text: str) -> AuditEntry:
        """Parse an entry.

        Raises:
            InputError: if it is not exactly what :meth:`to_text` writes.
        """
        try:
            document: Any = json.loads(text) if len(text) <= MAX_ENTRY_BYTES else None
            _check(document)
            entry = cls(
                AuditAction(document["action"]),
                datetime.strptime(document["time"], _TIME).replace(tzinfo=UTC),
                Actor(document["actor"]),
                document.get("subject"),
                document.get("serial"),
                document.get("certificate_sha256"),
                document.get("reason"),
                document.get("details", {}),
            )
            is_canonical = entry.to_text() == text
        except (ValueError, TypeError, KeyError, RecursionError):
            is_canonical = False
        if not is_canonical:
            raise InputError(f"this is not an entry of an audit log: {quote_untrusted(text)}")
        return entry


def shorten(text: str) -> str:
    """Return a text for an entry: cut to what an entry may hold, and valid UTF-8."""
    text = text.encode(errors="backslashreplace").decode()
    return text if len(text) <= _MAX_TEXT // 2 else text[: _MAX_TEXT // 2 - 1] + "…"


def shorten_list(texts: Sequence[object]) -> tuple[str, ...]:
    """Return names for an entry: at most 16, and how many there are more."""
    most = 16
    more = [f"and {len(texts) - most} more"] if len(texts) > most else []
    return (*(shorten(str(item))[:256] for item in texts[:most]), *more)


def _listed(value: Detail) -> object:
    return value if isinstance(value, str | int) else list(value)


def _canonical(document: Mapping[str, object]) -> str:
    text = _encode(document)
    if len(text.encode()) > MAX_ENTRY_BYTES:
        raise InputError(f"an audit entry of {len(text)} characters is too large")
    return text


def _check(document: Any) -> None:
    """Check the kind and the size of each field.

    Raises:
        InputError: if one is not as it should be.
    """
    if not isinstance(document, dict) or not document.keys() <= _FIELDS:
        raise InputError("an audit entry has another form")
    details = document.get("details", {})
    hexes = [document[key] for key in ("serial", "certificate_sha256") if key in document]
    texts = [document[key] for key in ("actor", "reason", "subject") if key in document]
    if (
        type(document["version"]) is not int
        or document["version"] != _VERSION
        or not all(isinstance(item, str) and _HEX.fullmatch(item) for item in hexes)
        or not all(isinstance(item, str) and len(item) <= _MAX_TEXT for item in texts)
        or not isinstance(details, dict)
        or not all(_KEY.fullmatch(key) and _is_detail(item) for key, item in details.items())
    ):
        raise InputError("an audit entry has a field of another kind, or one that is too large")


def _is_detail(value: object) -> bool:
    if isinstance(value, list):
        return len(value) <= _MAX_ITEMS and all(
            isinstance(item, str) and len(item) <= _MAX_TEXT for item in value
        )
    if isinstance(value, str):
        return len(value) <= _MAX_TEXT
    return type(value) is int and abs(value) <= _MAX_NUMBER
