"""Opens keys and PKCS#12 stores in a process of their own, which is ended if it takes too long.

What such a file asks for can't be known before it is opened: rounds of hashing without number,
memory without end, numbers that are to be tested for primes. While a library works on it, it hears
no interrupt. The process gives back public halves and certificates alone; no secret leaves it.
"""

from __future__ import annotations

import base64
import json
import os
import resource
import subprocess
import sys
from dataclasses import dataclass, field
from enum import StrEnum

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_ssh_private_key,
    pkcs12,
)

from pki.x509.decoding import UNREADABLE

SECONDS = 10
_MAX_BYTES = 2 * 1024 * 1024 * 1024
_FAILS = (*UNREADABLE, UnsupportedAlgorithm)


class Kind(StrEnum):
    """What is to be opened."""

    KEY = "key"
    """A private key in DER: PKCS#8, encrypted or not, or its older forms."""
    OPENSSH = "openssh"
    """A private key in PEM in OpenSSH's format."""
    STORE = "store"
    """A PKCS#12 store."""


class Outcome(StrEnum):
    """What came of it."""

    OPENED = "opened"
    NEEDS_PASSWORD = "needs password"  # noqa: S105 - an outcome, no password
    UNSUPPORTED = "unsupported"
    REFUSED = "refused"
    """Damaged, or the password does not open it."""
    TOO_LONG = "too long"
    """It asks for more time or memory than it is given."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The public part of what was opened: SubjectPublicKeyInfo and certificates, in DER."""

    outcome: Outcome
    key: bytes | None = None
    certificates: tuple[bytes, ...] = field(default=())


def open_apart(
    kind: Kind, data: bytes, password: bytes | None, *, seconds: float = SECONDS
) -> Opened:
    """Open a key or a store in a process of its own.

    Args:
        kind: what it is.
        data: its bytes.
        password: None for none.
        seconds: after which the process is ended.
    """
    asked = {
        "kind": kind.value,
        "data": base64.b64encode(data).decode(),
        "password": base64.b64encode(password).decode() if password is not None else None,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-c", "from pki.inspection.opening import main; main()"],
            input=json.dumps(asked).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Opened(Outcome.TOO_LONG)
    if done.returncode:
        # Ended by a limit on memory or processor time.
        return Opened(Outcome.TOO_LONG)
    answer = json.loads(done.stdout)
    return Opened(
        Outcome(answer["outcome"]),
        base64.b64decode(answer["key"]) if answer["key"] is not None else None,
        tuple(base64.b64decode(item) for item in answer["certificates"]),
    )


def main() -> None:
    """Open what standard input names, and write its public part to standard output."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_BYTES, _MAX_BYTES))
    asked = json.load(sys.stdin.buffer)
    password = base64.b64decode(asked["password"]) if asked["password"] is not None else None
    try:
        found = _opened(Kind(asked["kind"]), base64.b64decode(asked["data"]), password)
    except MemoryError:
        found = Opened(Outcome.TOO_LONG)
    json.dump(
        {
            "outcome": found.outcome.value,
            "key": base64.b64encode(found.key).decode() if found.key is not None else None,
            "certificates": [base64.b64encode(item).decode() for item in found.certificates],
        },
        sys.stdout,
    )
    sys.stdout.flush()
    os._exit(0)


def _opened(kind: Kind, data: bytes, password: bytes | None) -> Opened:
    try:
        if kind is Kind.STORE:
            return _store(data, password)
        load = load_der_private_key if kind is Kind.KEY else load_ssh_private_key
        return Opened(Outcome.OPENED, _public(load(data, password)))
    except TypeError:
        # How the library says that a password is needed, or that one was given for nothing.
        return Opened(Outcome.NEEDS_PASSWORD if password is None else Outcome.REFUSED)
    except UnsupportedAlgorithm:
        return Opened(Outcome.UNSUPPORTED)
    except _FAILS:
        return Opened(Outcome.REFUSED)


def _store(data: bytes, password: bytes | None) -> Opened:
    # A store without a password is made with none, or with an empty one.
    for word in [password] if password is not None else [None, b""]:
        try:
            found = pkcs12.load_pkcs12(data, word)
        except _FAILS:
            continue
        certificates = [*([found.cert] if found.cert is not None else []), *found.additional_certs]
        return Opened(
            Outcome.OPENED,
            _public(found.key) if found.key is not None else None,
            tuple(item.certificate.public_bytes(Encoding.DER) for item in certificates),
        )
    return Opened(Outcome.NEEDS_PASSWORD if password is None else Outcome.REFUSED)


def _public(key: object) -> bytes:
    public = key.public_key()  # type: ignore[attr-defined]
    found: bytes = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return found
