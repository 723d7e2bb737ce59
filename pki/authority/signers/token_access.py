"""How this process reaches its tokens: the module, and who knows a token's PIN."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pki.authority.signers.errors import SignerError, WrongPinError
from pki.authority.signers.pkcs11_uri import Pkcs11Uri
from pki.errors import quote_untrusted
from pki.files.passphrase import read_trusted_line

_NO_MODULE = (
    "Name its shared library: HANDFAST_PKCS11_MODULE=/usr/lib/softhsm/libsofthsm2.so or "
    "--pkcs11-module (in a program: TokenAccess(module=...))"
)


@dataclass(frozen=True, slots=True)
class TokenAccess:
    """The PKCS#11 module of this process, and the PINs of its tokens.

    A file in the CA's folder never names the module: whoever can write there could have code run.

    Args:
        module: the absolute path of the module's shared library.
        pin: the PIN of each token whose URI names no ``pin-source``.
        ask: asks a person for the PIN of the token with a label; None if nobody can be asked.
    """

    module: Path | None = None
    pin: str | None = field(default=None, repr=False)
    ask: Callable[[str], str] | None = field(default=None, repr=False)

    def module_path(self, uri: Pkcs11Uri) -> Path:
        """Return the module's path.

        Raises:
            SignerError: if none is named, or it is no absolute path.
        """
        path = uri.module or self.module
        if path is None:
            raise SignerError(
                f"the key at {uri} needs a PKCS#11 module, and none is named", remedy=_NO_MODULE
            )
        if not path.is_absolute():
            raise SignerError(
                f"the PKCS#11 module {quote_untrusted(path)} is no absolute path",
                remedy=_NO_MODULE,
            )
        return path

    def read_pin(self, uri: Pkcs11Uri, label: str, *, only_typed: bool = False) -> str:
        """Return a token's PIN: from its ``pin-source``, as given, or from a person.

        Args:
            uri: of the token.
            label: the token's label, for whoever is asked.
            only_typed: take it from a person alone.

        Raises:
            WrongPinError: if nobody knows it.
            PkiError: if the file can't be read.
        """
        if not only_typed and uri.pin_source is not None:
            line = read_trusted_line(uri.pin_source, what="PIN file", named_by="pin-source")
            try:
                return line.decode()
            except UnicodeDecodeError:
                raise WrongPinError(
                    f"the first line of {quote_untrusted(uri.pin_source)} is not UTF-8"
                ) from None
        if not only_typed and self.pin is not None:
            return self.pin
        if self.ask is not None:
            typed = self.ask(label)
            if not typed:
                # Sent, it would count as a wrong one.
                raise WrongPinError(f"no PIN was typed for the token {quote_untrusted(label)}")
            return typed
        if only_typed:
            raise WrongPinError(
                f"a wrong PIN was given to the token {quote_untrusted(label)} since the last right "
                "one: the configured PIN is not tried, because a few wrong ones lock the token",
                remedy="Check the PIN. Then run a command at a terminal, which asks for it, or log "
                "in once with the token's own tool",
            )
        raise WrongPinError(
            f"no PIN is known for the token {quote_untrusted(label)}",
            remedy="Put it into a file that only this user can read, and name that: "
            "HANDFAST_PKCS11_PIN_FILE=FILE, or pin-source in the key's URI",
        )
