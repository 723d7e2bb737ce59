"""The PKCS#11 modules of this process, and their sessions with tokens.

The rules:

1. All calls into a module are made under one lock: the library initializes modules for one thread,
   and lets other threads run meanwhile.
2. Each token has one session, which is logged in once.
3. A wrong PIN is never sent again, by this process or by the next one, because a few of them lock
   the token: a token that says that its last PIN was wrong gets only a PIN that a person types.
4. If a session died, or the token or its key is not there, the module is initialized again, once,
   and asked again: only then some modules notice that a token went or came.
5. A child that was forked uses nothing that its parent opened: it initializes the module again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pki.authority.signers.errors import (
    KeyAbsentError,
    LockedPinError,
    MechanismMissingError,
    SignerError,
    TokenAbsentError,
    WrongPinError,
)
from pki.authority.signers.library import failures, pkcs11
from pki.authority.signers.pkcs11_uri import Pkcs11Uri
from pki.authority.signers.token_access import TokenAccess
from pki.errors import quote_untrusted

_Result = TypeVar("_Result")

_LOST = (
    failures.SessionHandleInvalid,
    failures.SessionClosed,
    failures.ObjectHandleInvalid,
    failures.KeyHandleInvalid,
    failures.UserNotLoggedIn,
    failures.DeviceRemoved,
    failures.DeviceError,
    failures.TokenNotPresent,
    failures.TokenNotRecognised,
    failures.GeneralError,
    failures.FunctionFailed,
)
_PIN_FLAGS = pkcs11.TokenFlag


class TokenModule:
    """One module, its lock, and its open sessions."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._library = _load(path)
        self._sessions: dict[Pkcs11Uri, pkcs11.Session] = {}
        self._wrong_pins: set[tuple[bytes, str]] = set()
        self._is_stale = False
        self._was_used = False

    def run(
        self,
        uri: Pkcs11Uri,
        access: TokenAccess,
        action: Callable[[pkcs11.Session], _Result],
    ) -> _Result:
        """Run an action with the session of a token; once more if the session or token was gone.

        Raises:
            SignerError: if the token or the key can't be used; its class tells why.
        """
        with self._lock:
            is_fresh = self._is_stale or not self._was_used
            self._was_used = True
            try:
                return self._run_once(uri, access, action)
            except (TokenAbsentError, KeyAbsentError):
                self._is_stale = True
                if is_fresh:
                    raise
            try:
                return self._run_once(uri, access, action)
            except TokenAbsentError:
                self._is_stale = True
                raise

    def forget(self) -> None:
        """Forget all that a parent process opened; called in a child that was forked."""
        self._lock = threading.RLock()
        self._is_stale = True

    @staticmethod
    def _key_of(uri: Pkcs11Uri) -> Pkcs11Uri:
        return Pkcs11Uri(uri.token, uri.serial, uri.manufacturer, uri.model)

    def _run_once(
        self,
        uri: Pkcs11Uri,
        access: TokenAccess,
        action: Callable[[pkcs11.Session], _Result],
    ) -> _Result:
        try:
            if self._is_stale:
                self._initialize_again()
            return action(self._session(uri, access))
        except _LOST as error:
            raise _absent(uri, error) from error
        except (failures.MechanismInvalid, failures.FunctionNotSupported) as error:
            raise MechanismMissingError(
                f"the token at {uri.token_only()} can't do this: {type(error).__name__}",
                remedy="Choose another type of key, or another token",
            ) from error
        except (failures.NoSuchKey, failures.MultipleObjectsReturned) as error:
            raise KeyAbsentError(
                f"the token holds no such key as {uri}, or several: {type(error).__name__}",
                remedy="Name it by its id, as the token's own tool shows it",
            ) from error
        except failures.PKCS11Error as error:
            raise SignerError(
                f"the token at {uri.token_only()} refused: {type(error).__name__}"
            ) from error

    def _initialize_again(self) -> None:
        self._sessions.clear()
        try:
            self._library.reinitialize()
        except failures.PKCS11Error:
            # It was not initialized any more, which is what it was asked for.
            self._library.initialize()
        self._is_stale = False

    def _session(self, uri: Pkcs11Uri, access: TokenAccess) -> pkcs11.Session:
        session = self._sessions.get(self._key_of(uri))
        if session is None:
            session = self._open(uri, access)
            self._sessions[self._key_of(uri)] = session
        return session

    def _open(self, uri: Pkcs11Uri, access: TokenAccess) -> pkcs11.Session:
        token = self._find_token(uri)
        label = token.label
        if token.flags & _PIN_FLAGS.USER_PIN_LOCKED:
            raise _locked(label)
        if token.flags & _PIN_FLAGS.USER_PIN_FINAL_TRY:
            raise WrongPinError(
                f"one more wrong PIN locks the token {quote_untrusted(label)}, so none is tried",
                remedy="Check the PIN, and log in once with the token's own tool",
            )
        had_wrong_pin = bool(token.flags & _PIN_FLAGS.USER_PIN_COUNT_LOW)
        if (
            had_wrong_pin
            and access.ask is None
            and any(serial == token.serial for serial, _ in self._wrong_pins)
        ):
            raise _wrong_pin(label)
        pin = access.read_pin(uri, label, only_typed=had_wrong_pin)
        if (token.serial, pin) in self._wrong_pins:
            raise _wrong_pin(label)
        try:
            return token.open(rw=True, user_pin=pin)
        except failures.UserAlreadyLoggedIn:
            # By another URI that names this token: a login holds for the whole process.
            return token.open(rw=True)
        except (failures.PinIncorrect, failures.PinInvalid, failures.PinLenRange):
            self._wrong_pins.add((token.serial, pin))
            raise _wrong_pin(label) from None
        except failures.PinLocked:
            raise _locked(label) from None
        except failures.PinExpired:
            raise WrongPinError(
                f"the PIN of the token {quote_untrusted(label)} has expired",
                remedy="Set a new one with the token's own tool",
            ) from None

    def _find_token(self, uri: Pkcs11Uri) -> pkcs11.Token:
        tokens: Iterator[pkcs11.Token] = self._library.get_tokens(token_label=uri.token)
        found = [
            token
            for token in tokens
            if uri.serial in {None, token.serial.decode(errors="replace").strip()}
            and uri.manufacturer in {None, token.manufacturer_id}
            and uri.model in {None, token.model}
        ]
        if len(found) == 1:
            return found[0]
        if found:
            raise TokenAbsentError(
                f"{len(found)} tokens fit {uri.token_only()}",
                remedy="Add serial=NUMBER to the URI",
            )
        raise _absent(uri, None)


_modules: dict[Path, TokenModule] = {}
_modules_lock = threading.Lock()


def open_module(path: Path) -> TokenModule:
    """Return the module at a path, which is loaded once.

    Raises:
        SignerError: if it can't be loaded.
    """
    with _modules_lock:
        if path not in _modules:
            _modules[path] = TokenModule(path)
        return _modules[path]


def _forget_parent() -> None:
    global _modules_lock  # noqa: PLW0603 - a thread of the parent may have held it
    _modules_lock = threading.Lock()
    for module in _modules.values():
        module.forget()


os.register_at_fork(after_in_child=_forget_parent)


def _load(path: Path) -> Any:  # the library exports no type for it
    try:
        return pkcs11.lib(str(path))
    except (failures.PKCS11Error, OSError) as error:
        raise SignerError(
            f"the PKCS#11 module {quote_untrusted(path)} can't be used: {quote_untrusted(error)}",
            remedy="Name the shared library of the token's maker, and check its own configuration",
        ) from error


def _absent(uri: Pkcs11Uri, cause: Exception | None) -> TokenAbsentError:
    why = f" ({type(cause).__name__})" if cause is not None else ""
    return TokenAbsentError(
        f"the token at {uri.token_only()} is not there{why}",
        remedy="Plug it in, or check that its module and the module's configuration are the right "
        "ones",
    )


def _wrong_pin(label: str) -> WrongPinError:
    return WrongPinError(
        f"the token {quote_untrusted(label)} refused the PIN; it is not sent again",
        remedy="Check the PIN before you try again: a few wrong ones lock the token",
    )


def _locked(label: str) -> LockedPinError:
    return LockedPinError(
        f"the PIN of the token {quote_untrusted(label)} is locked",
        remedy="Let its security officer set a new one with the token's own tool",
    )
