"""What went wrong with a CA that was asked over the network: one line, with the remedy there."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from pki.ca_client.rpc_errors import of_rpc_error
from pki.cli.output import quote_path
from pki.error_info import read_metadata
from pki.errors import CaRefusedError, CaUnreachableError, CredentialError, quote_untrusted
from pki.fault import Fault
from pki.files import find_layout
from pki.rpc.status import reason_of

_RUNNING = "See that it runs (handfast ca serve), and that --ca is right"


@contextmanager
def errors_of(address: str, credential: Path) -> Iterator[None]:
    """Let errors say which CA was asked, with which credential, and what to do.

    Args:
        address: of the CA.
        credential: the directory of the credential to ask with.
    """
    log, muted = logging.getLogger("handfast.rpc"), logging.NullHandler()
    # The error says the same: without a handler, Python prints the warning of the channel too.
    log.addHandler(muted)
    try:
        yield
    except CredentialError as error:
        if not credential.exists() or find_layout(credential) is None:
            raise CredentialError(
                f"{quote_untrusted(credential)} holds no credential to ask the CA with",
                remedy=f"Enroll it: handfast enroll TOKEN --out {quote_path(credential)}",
            ) from error
        raise
    except (CaRefusedError, CaUnreachableError) as error:
        cause = error.__cause__
        if not isinstance(cause, grpc.RpcError):
            raise
        raise _named(cause, address, credential) from error
    finally:
        log.removeHandler(muted)


def _named(
    cause: grpc.RpcError, address: str, credential: Path
) -> CaRefusedError | CaUnreachableError:
    """Return the error for a call's, with address, credential and remedy."""
    error, reason = of_rpc_error(cause), reason_of(cause)
    info = read_metadata(getattr(cause, "trailing_metadata", lambda: ())() or ())
    where, own = quote_untrusted(address)[1:-1], quote_path(credential)
    fresh = f"handfast agent {own}"
    match reason:
        case "SERVER_UNVERIFIED":
            why = _details(cause).rpartition(f"{info.get('peer')}: ")[2]
            doctor = f"; or ask: handfast doctor {where} --credential {own} --name handfast/ca"
            is_absent = info.get("result") == "PEER_CONNECTION_CLOSED"
            return CaUnreachableError(
                f"no CA answers at {where}: {why[:1].lower()}{why[1:]}",
                remedy=_RUNNING + ("" if is_absent else doctor),
            )
        case "SERVER_CERTIFICATE_REJECTED":
            return _rejected(error, info, _details(cause), where, fresh)
        case "CREDENTIAL_ENDED" | "CERTIFICATE_EXPIRED":
            return CaRefusedError(
                f"the certificate in {own} has expired",
                reason=reason,
                remedy=f"Bring it back: {fresh}",
            )
        case "CERTIFICATE_REVOKED":
            return CaRefusedError(
                f"the CA at {where} refused: the certificate in {own} was revoked",
                reason=reason,
                remedy="Ask with another one, or with a new one: handfast enroll TOKEN --out DIR",
            )
        case "NO_ROLE" | "METHOD_NOT_GRANTED":
            error.remedy = "On the CA's machine, handfast ca admin NAME makes an admin"
        case None if isinstance(error, CaRefusedError) and not error.remedy:
            pass
        case None:
            error.message = f"{where}: {error.message}"
        case _:
            pass
    return error


def _rejected(
    error: CaRefusedError | CaUnreachableError,
    info: dict[str, str],
    details: str,
    where: str,
    fresh: str,
) -> CaRefusedError | CaUnreachableError:
    """Return the error for a server whose certificate was not accepted here."""
    if info.get("result") == Fault.NAME_MISMATCH.handshake_result:
        return CaRefusedError(
            f"the server at {where} is not the CA: its certificate names another workload",
            remedy="Name the CA's port for mutual TLS with --ca: 8443 by default",
        )
    remedy = f"Keep this credential fresh: {fresh}" if "revocation lists" in details else ""
    kind = type(error) if isinstance(error, CaRefusedError) else CaUnreachableError
    return kind(f"the CA at {where}: {details}", remedy=remedy or error.remedy)


def _details(cause: grpc.RpcError) -> str:
    return str(getattr(cause, "details", lambda: "")() or "the call failed")
