"""Fetch a small document over HTTPS, limited in time and size.

The rules:

1. The URL comes from the configuration, or from the issuer that it names; never from a token.
2. TLS 1.2 or newer; the certificate is that of the URL's host, under the configured roots or the
   system's. No proxy is used.
3. One answer of status 200. A redirect is refused: it could lead anywhere.
4. The whole of it, finding the address included, has one deadline: a server that sends a byte from
   time to time does not hold the caller up.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from http.client import HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path

from pki.attestation.https_url import HttpsUrl
from pki.errors import PkiError, StateError, quote_untrusted
from pki.files.access import distrust_reason, trusted_owners
from pki.files.atomic import read_with_status
from pki.version import __version__

_MAX_BUNDLE_BYTES = 4 * 1024 * 1024
_OK = 200


class IssuerUnreachableError(StateError):
    """An issuer's document can't be fetched, or is none that can be used."""


def fetch(url: HttpsUrl, *, ca_bundle: Path | None, max_bytes: int, seconds: float) -> bytes:
    """Fetch a document.

    Args:
        url: where it is.
        ca_bundle: the roots for the server's certificate (PEM); None is the system's.
        max_bytes: the most that it may hold.
        seconds: how long it may take in all.

    Raises:
        IssuerUnreachableError: if it can't be fetched under the rules above.
        PkiError: if the bundle can't be read, or another user can change it.
    """
    exchange = _Exchange(url, _tls_context(ca_bundle), max_bytes, seconds)
    # A thread of its own, because nothing else bounds the search for an address.
    thread = threading.Thread(target=exchange.run, name="handfast-oidc", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        exchange.abort()
        raise IssuerUnreachableError(
            f"{quote_untrusted(url.text)} did not answer within {seconds:g} s"
        )
    return exchange.result()


class _Exchange:
    """One request and its answer."""

    def __init__(
        self, url: HttpsUrl, context: ssl.SSLContext, max_bytes: int, seconds: float
    ) -> None:
        self._url = url
        self._max_bytes = max_bytes
        self._connection = HTTPSConnection(url.host, url.port, timeout=seconds, context=context)
        self._body = b""
        self._error: PkiError | None = None

    def run(self) -> None:
        """Make the request; keep the answer or the error."""
        try:
            self._connection.request(
                "GET",
                self._url.path or "/",
                headers={
                    "Accept": "application/json",
                    "Accept-Encoding": "identity",
                    "Connection": "close",
                    "User-Agent": f"handfast/{__version__}",
                },
            )
            # The answer holds the connection open, and is closed by itself.
            with self._connection.getresponse() as response:
                self._body = self._read(response)
        except PkiError as error:
            self._error = error
        except (OSError, HTTPException, ValueError) as error:
            self._error = IssuerUnreachableError(
                f"{quote_untrusted(self._url.text)} can't be fetched: {quote_untrusted(error)}"
            )
        finally:
            self._connection.close()

    def abort(self) -> None:
        """Let the thread end whose answer nobody waits for any more."""
        plain = self._connection.sock
        if plain is not None:
            with contextlib.suppress(OSError):
                plain.shutdown(socket.SHUT_RDWR)

    def result(self) -> bytes:
        """Return the document, or raise the error."""
        if self._error is not None:
            raise self._error
        return self._body

    def _read(self, response: HTTPResponse) -> bytes:
        name = quote_untrusted(self._url.text)
        if response.status != _OK:
            what = "a redirect, which is not followed" if 300 <= response.status < 400 else "no 200"
            raise IssuerUnreachableError(f"{name} answered {response.status}: {what}")
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            raise IssuerUnreachableError(f"{name} is encoded as {quote_untrusted(encoding)}")
        body = response.read(self._max_bytes + 1)
        if len(body) > self._max_bytes:
            raise IssuerUnreachableError(f"{name} holds more than {self._max_bytes} bytes")
        # http.client returns what there is when a server says that it sends more than it does.
        if response.length:
            raise IssuerUnreachableError(f"{name} was cut off after {len(body)} bytes")
        return body


def _tls_context(ca_bundle: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=_read_bundle(ca_bundle) if ca_bundle else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _read_bundle(path: Path) -> str:
    try:
        data, status = read_with_status(path, max_bytes=_MAX_BUNDLE_BYTES)
        why = distrust_reason(status, trusted_owners(path.parent.stat()))
        text = data.decode("ascii")
    except FileNotFoundError:
        raise StateError(f"ca_bundle {quote_untrusted(path)} is not there") from None
    except (OSError, UnicodeDecodeError) as error:
        raise StateError(f"ca_bundle {quote_untrusted(path)}: {quote_untrusted(error)}") from None
    if why:
        raise StateError(
            f"ca_bundle {quote_untrusted(path)} {why}",
            remedy="Give it to this user or to root, writable for them alone",
        )
    if "BEGIN CERTIFICATE" not in text:
        raise StateError(f"ca_bundle {quote_untrusted(path)} holds no certificate")
    return text
