"""Opens keys and PKCS#12 stores in a process of their own, which is ended if it takes too long.

A hostile file can demand any effort: hashing rounds, memory, numbers to be tested for primes. And a
library that works on it can't be interrupted. The process returns only public halves and
certificates; no secret leaves it.
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
    """What to open."""

    KEY = "key"
    """A private key in DER: PKCS#8, encrypted or not, or its older forms."""
    OPENSSH = "openssh"
    """A private key in PEM in OpenSSH's format."""
    STORE = "store"
    """A PKCS#12 store."""


class OpeningResult(StrEnum):
    """The result of opening a key or a store."""

    OPENED = "opened"
    NEEDS_PASSWORD = "needs password"  # noqa: S105 - an outcome, no password
    UNSUPPORTED = "unsupported"
    REFUSED = "refused"
    """Damaged, or the password does not open it."""
    TOO_LONG = "too long"
    """Opening it needs more time or memory than is allowed."""
    TOO_MANY = "too many"
    """It was not opened, because so many others of the same file were."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The public part of what was opened: SubjectPublicKeyInfo and certificates, in DER."""

    outcome: OpeningResult
    key: bytes | None = None
    certificates: tuple[bytes, ...] = field(default=())


def open_in_subprocess(
    kind: Kind, data: bytes, password: bytes | None, *, seconds: float = SECONDS
) -> Opened:
    """Open a key or a store in a process of its own.

    Args:
        kind: what to open.
        data: its bytes.
        password: the password; None for none.
        seconds: the time after which the process is ended.
    """
    request = {
        "kind": kind.value,
        "data": base64.b64encode(data).decode(),
        "password": base64.b64encode(password).decode() if password is not None else None,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-c", "from pki.inspection.opening import main; main()"],
            input=json.dumps(request).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Opened(OpeningResult.TOO_LONG)
    if done.returncode:
        # Ended by a limit on memory or processor time.
        return Opened(OpeningResult.TOO_LONG)
    response = json.loads(done.stdout)
    return Opened(
        OpeningResult(response["outcome"]),
        base64.b64decode(response["key"]) if response["key"] is not None else None,
        tuple(base64.b64decode(item) for item in response["certificates"]),
    )


def main() -> None:
    """Open the object on standard input, and write its public part to standard output."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_BYTES, _MAX_BYTES))
    request = json.load(sys.stdin.buffer)
    password = base64.b64decode(request["password"]) if request["password"] is not None else None
    try:
        opened = _open(Kind(request["kind"]), base64.b64decode(request["data"]), password)
    except MemoryError:
        opened = Opened(OpeningResult.TOO_LONG)
    json.dump(
        {
            "outcome": opened.outcome.value,
            "key": base64.b64encode(opened.key).decode() if opened.key is not None else None,
            "certificates": [base64.b64encode(item).decode() for item in opened.certificates],
        },
        sys.stdout,
    )
    sys.stdout.flush()
    os._exit(0)


def _open(kind: Kind, data: bytes, password: bytes | None) -> Opened:
    try:
        if kind is Kind.STORE:
            return _open_store(data, password)
        load = load_der_private_key if kind is Kind.KEY else load_ssh_private_key
        return Opened(OpeningResult.OPENED, _public_der(load(data, password)))
    except TypeError:
        # The library raises it when a password is needed, and when one was given needlessly.
        return Opened(OpeningResult.NEEDS_PASSWORD if password is None else OpeningResult.REFUSED)
    except UnsupportedAlgorithm:
        return Opened(OpeningResult.UNSUPPORTED)
    except _FAILS:
        return Opened(OpeningResult.REFUSED)


def _open_store(data: bytes, password: bytes | None) -> Opened:
    # A store without a password is made without one, or with an empty one.
    for candidate in [password] if password is not None else [None, b""]:
        try:
            opened = pkcs12.load_pkcs12(data, candidate)
        except _FAILS:
            continue
        certificates = [
            *([opened.cert] if opened.cert is not None else []),
            *opened.additional_certs,
        ]
        return Opened(
            OpeningResult.OPENED,
            _public_der(opened.key) if opened.key is not None else None,
            tuple(item.certificate.public_bytes(Encoding.DER) for item in certificates),
        )
    return Opened(OpeningResult.NEEDS_PASSWORD if password is None else OpeningResult.REFUSED)


def _public_der(key: object) -> bytes:
    public = key.public_key()  # type: ignore[attr-defined]
    opened: bytes = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return opened
