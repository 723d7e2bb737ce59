"""What a workload knows of its CA, as it lies in its directory."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pki.ca_client.received import Received
from pki.errors import InputError, PkiError, quote_untrusted

_VERSION = 1
_FIELDS = {
    "authority": str,
    "enrollment": str,
    "recovery_id": str,
    "renew_begin": int,
    "renew_end": int,
}


@dataclass(frozen=True, slots=True)
class CaState:
    """What a workload knows of its CA.

    Args:
        authority: where workloads with a certificate reach it.
        enrollment: where those without reach it.
        recovery_id: names the line for a recovery; empty if it can't recover.
        renew_begin: when to renew the certificate: not before this time, in seconds since 1970.
        renew_end: and until this one.
    """

    authority: str
    enrollment: str
    recovery_id: str
    renew_begin: int
    renew_end: int

    @classmethod
    def of(cls, received: Received) -> CaState:
        """Return what is to be kept of an answer of the CA."""
        return cls(
            received.authority_address,
            received.enrollment_address,
            received.recovery_id,
            int(received.renew_begin.timestamp()),
            int(received.renew_end.timestamp()),
        )

    def window(self) -> tuple[datetime, datetime]:
        """Return when to renew."""
        return (
            datetime.fromtimestamp(self.renew_begin, tz=UTC),
            datetime.fromtimestamp(self.renew_end, tz=UTC),
        )

    def encode(self) -> bytes:
        """Return it as it lies on disk."""
        return json.dumps({"version": _VERSION, **asdict(self)}, indent=1).encode() + b"\n"

    @classmethod
    def read(cls, data: bytes, path: Path) -> CaState:
        """Read it.

        Args:
            data: from the file.
            path: of the file, for the error.

        Raises:
            InputError: if it is damaged.
        """
        damaged = InputError(
            f"{quote_untrusted(path)} is damaged",
            remedy="Enroll again: handfast enroll TOKEN --out DIR",
        )
        try:
            values: Any = json.loads(data)
            if values.pop("version") != _VERSION or set(values) != set(_FIELDS):
                raise damaged
            if not all(type(values[name]) is kind for name, kind in _FIELDS.items()):
                raise damaged
            state = CaState(**values)
            state.window()
        except PkiError:
            raise
        except (
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            ArithmeticError,
            RecursionError,
        ):
            raise damaged from None
        return state
