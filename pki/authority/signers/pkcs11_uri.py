"""PKCS#11 URIs (RFC 7512): which token, and which key in it.

The rules:

1. A token is named by its label, serial number, manufacturer and model. Slot numbers are refused,
   because they change when the token is plugged in again.
2. A key is named by its label (``object``) or its id. Neither of them means a new key.
3. The PIN may be in a file (``pin-source``), never in the URI (``pin-value``): a URI is in shell
   histories and in the list of processes.
4. What is unknown, malformed or said twice is refused. No error quotes what may be a PIN.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote, unquote_to_bytes

from pki.errors import InputError, quote_untrusted

_SCHEME = "pkcs11:"
_MAX_LENGTH = 2048
_EXAMPLE = "Write e.g. pkcs11:token=my-ca, or pkcs11:token=my-ca;object=issuing-1 for a key there"
_TOKEN_PARTS = ("token", "serial", "manufacturer", "model")
_PATH_PARTS = frozenset({*_TOKEN_PARTS, "object", "id", "type"})
_QUERY_PARTS = frozenset({"pin-source", "module-path"})
# RFC 7512 section 2.3: the characters that stand for themselves in each part.
_PATH_CHARACTERS = re.compile(r"(?:[A-Za-z0-9\-._~:\[\]@!$'()*+,=&]|%[0-9A-Fa-f]{2})*")
_QUERY_CHARACTERS = re.compile(r"(?:[A-Za-z0-9\-._~:\[\]@!$'()*+,=/?|]|%[0-9A-Fa-f]{2})*")
_REFUSED: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "pin-value": (
            "a PIN in a URI is in the list of processes and in the shell's history",
            "Change the PIN, if it was real. Put it into a file that only this user can read, and "
            "name that: ?pin-source=file:/path",
        ),
        "slot-id": ("slot numbers change", "Name the token: token=LABEL"),
        "slot-description": ("slots change", "Name the token: token=LABEL"),
        "module-name": ("it does not say where the module is", "Name its path: ?module-path=/path"),
    }
)


@dataclass(frozen=True, slots=True)
class Pkcs11Uri:
    """Which token, and which key in it.

    Args:
        token: the token's label.
        serial: its serial number.
        manufacturer: its manufacturer.
        model: its model.
        key_label: the key's label; None if the URI names none.
        key_id: the key's id; None if the URI names none.
        pin_source: the file whose first line is the PIN.
        module: the module's shared library.
    """

    token: str | None = None
    serial: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    key_label: str | None = None
    key_id: bytes | None = None
    pin_source: Path | None = None
    module: Path | None = None

    @classmethod
    def parse(cls, text: str) -> Pkcs11Uri:
        """Parse a URI.

        Raises:
            InputError: if it is malformed, names no token, or holds a PIN or an unknown part.
        """
        if len(text) > _MAX_LENGTH:
            raise InputError(f"PKCS#11 URI of {len(text)} characters: {_MAX_LENGTH} are the most")
        if not text.startswith(_SCHEME):
            raise InputError("the place of a key begins with pkcs11:", remedy=_EXAMPLE)
        path_text, _, query_text = text.removeprefix(_SCHEME).partition("?")
        path = _read_parts(path_text, ";", _PATH_PARTS, _PATH_CHARACTERS)
        query = _read_parts(query_text, "&", _QUERY_PARTS, _QUERY_CHARACTERS)
        if not any(name in path for name in _TOKEN_PARTS):
            raise InputError("the PKCS#11 URI names no token", remedy=_EXAMPLE)
        if path.get("type", b"private") != b"private":
            raise InputError(
                "the PKCS#11 URI asks for an object of type "
                f"{quote_untrusted(_text(path, 'type'))}",
                remedy="Leave type out, or write type=private",
            )
        return cls(
            token=_text(path, "token"),
            serial=_text(path, "serial"),
            manufacturer=_text(path, "manufacturer"),
            model=_text(path, "model"),
            key_label=_text(path, "object"),
            key_id=path.get("id"),
            pin_source=_path(query, "pin-source"),
            module=_path(query, "module-path"),
        )

    @property
    def names_key(self) -> bool:
        """Whether it names a key, and not only a token."""
        return self.key_label is not None or self.key_id is not None

    def token_only(self) -> Pkcs11Uri:
        """Return the URI of the token alone."""
        return replace(self, key_label=None, key_id=None)

    def names_token_of(self, other: Pkcs11Uri) -> bool:
        """Return whether both name their token by the same words."""
        return all(getattr(self, name) == getattr(other, name) for name in _TOKEN_PARTS)

    def of_key(self, key_id: bytes) -> Pkcs11Uri:
        """Return the URI of the key with an id in this token."""
        return replace(self, key_label=None, key_id=key_id)

    def __str__(self) -> str:
        """Return the URI without the module's path, which the machine's configuration names."""
        values = {name: getattr(self, name) for name in _TOKEN_PARTS} | {"object": self.key_label}
        parts = [
            f"{name}={quote(value, safe='')}" for name, value in values.items() if value is not None
        ]
        if self.key_id is not None:
            parts.append("id=" + "".join(f"%{octet:02X}" for octet in self.key_id))
        query = "" if self.pin_source is None else f"?pin-source={_file_uri(self.pin_source)}"
        return _SCHEME + ";".join(parts) + query


def _read_parts(
    text: str, separator: str, known: frozenset[str], characters: re.Pattern[str]
) -> dict[str, bytes]:
    parts: dict[str, bytes] = {}
    for part in text.split(separator) if text else ():
        name, equals, value = part.partition("=")
        if name in _REFUSED:
            why, remedy = _REFUSED[name]
            raise InputError(f"{name} in a PKCS#11 URI is refused: {why}", remedy=remedy)
        if name not in known or not equals:
            raise InputError(
                f"the PKCS#11 URI holds {quote_untrusted(name)}, which is not understood",
                remedy=f"Use {', '.join(sorted(known))}",
            )
        if name in parts:
            raise InputError(f"the PKCS#11 URI holds {name} twice")
        if not value or not characters.fullmatch(value):
            raise InputError(
                f"{name} in the PKCS#11 URI is empty, or holds a character that must be escaped",
                remedy="Write it as a percent sign and two hex digits (RFC 7512 section 2.3)",
            )
        parts[name] = unquote_to_bytes(value)
    return parts


def _text(parts: Mapping[str, bytes], name: str) -> str | None:
    if name not in parts:
        return None
    try:
        text = parts[name].decode()
    except UnicodeDecodeError:
        raise InputError(f"{name} in the PKCS#11 URI is not UTF-8") from None
    if not text.isprintable():
        raise InputError(f"{name} in the PKCS#11 URI holds a control character")
    return text


def _path(parts: Mapping[str, bytes], name: str) -> Path | None:
    text = _text(parts, name)
    if text is None:
        return None
    # Both forms of RFC 7512 section 2.4, and file://; not the form that runs a program.
    text = text.removeprefix("file:")
    if text.startswith("//"):
        text = text.removeprefix("//")
    if not text.startswith("/"):
        raise InputError(
            f"{name} in the PKCS#11 URI is no absolute path", remedy=f"Write {name}=/path"
        )
    return Path(text)


def _file_uri(path: Path) -> str:
    return "file:" + quote(str(path), safe="/")
