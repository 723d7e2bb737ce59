"""Keeps what other libraries write out of a report: the doctor itself says what they found."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator

# gRPC's core reads it once, while it is loaded.
_VERBOSITY = "GRPC_VERBOSITY"
# cryptography warns of what RFC 5280 forbids, such as a negative serial; the doctor says it too.
_WARN = r"(cryptography|OpenSSL|pki)(\.|$)"


@contextlib.contextmanager
def silenced_libraries() -> Iterator[None]:
    """Silence gRPC's core and the warnings of libraries, unless the user has set how loud they are.

    Nothing may have loaded gRPC before.
    """
    if _VERBOSITY not in os.environ:
        os.environ[_VERBOSITY] = "NONE"
        try:
            import grpc  # noqa: F401, PLC0415 - reads the variable
        finally:
            del os.environ[_VERBOSITY]
    with warnings.catch_warnings():
        if "PYTHONWARNINGS" not in os.environ:
            warnings.filterwarnings("ignore", module=_WARN)
        yield
