"""The life of a workload: where its credential comes from, and how it is kept fresh and closed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Self, TypeVar

from pki.clock import Clock, system_clock
from pki.credentials.fork_guard import ForkGuard
from pki.credentials.loader import check_own_credential
from pki.credentials.policy_file import PolicyFile
from pki.credentials.provider import READ_GRACE, RECHECK_SECONDS, CredentialProvider
from pki.credentials.source import DirectorySource, PemSource, Source
from pki.credentials.threads import on_event_loop
from pki.errors import InputError
from pki.files import KeyMode, detect_layout
from pki.files.layouts import layout_named
from pki.identity import SpiffeId
from pki.rpc.server.health_report import HealthReport, HealthServicer
from pki.x509 import Credential, RevocationMode

PathLike = str | os.PathLike[str]
_Setting = TypeVar("_Setting", bound=StrEnum)
_RELOAD_SECONDS = 5.0


class WorkloadLifecycle:
    """A workload's credential and policy while they are followed; the base of ``Workload``.

    Args:
        source: the source of the credential.
        policy: the policy file for servers and channels that have none of their own.
        clock: returns the time.
        read_grace: how long the last good revocation lists and policy stay in force while they
            can't be read.

    Raises:
        PkiError: if the credential or the policy can't be used.
    """

    def __init__(
        self, source: Source, policy: PathLike | None, clock: Clock, read_grace: timedelta
    ) -> None:
        self._clock = clock
        self._fork_guard = ForkGuard("Workload")
        self._provider = CredentialProvider(source, clock, read_grace)
        self.spiffe_id = check_own_credential(self._provider.snapshot.credential, clock())
        own = (self.spiffe_id.trust_domain,)
        self._policy = None if policy is None else self._provider.policy_file(Path(policy), own)
        self._health_lock = threading.RLock()
        self._health_reports: list[HealthReport] = []
        self._closing: list[Callable[[], None]] = []
        self._set_up()
        self._provider.start()

    def _set_up(self) -> None:
        """Make the factories of servers and channels, before the provider starts."""

    @classmethod
    def from_directory(
        cls,
        directory: PathLike,
        *,
        policy: PathLike | None = None,
        layout: str | None = None,
        key_mode: KeyMode | str = KeyMode.STRICT,
        revocation: RevocationMode | str = RevocationMode.REQUIRED,
        passphrase: bytes | None = None,
        read_grace: timedelta = READ_GRACE,
        clock: Clock = system_clock,
    ) -> Self:
        """Read a workload's identity from a directory, and follow what changes there.

        Args:
            directory: holds ``key.pem``, ``chain.pem``, ``bundle.pem`` and ``crl.pem``, or the
                files of another layout.
            policy: the policy file for servers and channels made from this workload.
            layout: the name of the layout; None detects it by the file names.
            key_mode: ``strict`` refuses a key file that others may read, ``warn`` accepts it.
            revocation: ``required`` needs a revocation list of every issuer; ``when-present``
            accepts certificates of an issuer without one; ``short-lived`` does so for leaves of
            at most 24 hours.
            passphrase: for an encrypted key.
            read_grace: how long revocation lists and policy stay in force while they can't be read,
                e.g. because no descriptor is left; then every call is refused. A key or chain that
                can't be read stays in force until the certificate expires.
            clock: returns the time.

        Raises:
            PkiError: if the credential or the policy can't be used: then nothing starts.
        """
        folder = Path(directory).absolute()
        source = DirectorySource(
            folder,
            # Detect the layout only once: the revocation lists are read by it even while the key
            # file is missing.
            layout_named(layout) if layout else detect_layout(folder),
            parse_setting(KeyMode, key_mode, "key_mode"),
            parse_setting(RevocationMode, revocation, "revocation"),
            passphrase,
        )
        return cls(source, policy, clock, read_grace)

    @classmethod
    def from_pem(
        cls,
        *,
        key: bytes,
        chain: bytes,
        bundle: bytes,
        crls: bytes | None = None,
        policy: PathLike | None = None,
        revocation: RevocationMode | str = RevocationMode.REQUIRED,
        passphrase: bytes | None = None,
        read_grace: timedelta = READ_GRACE,
        clock: Clock = system_clock,
    ) -> Self:
        """Use a credential as PEM in memory; it stays the same until the process ends.

        To replace it later, make a :class:`~pki.PemSource` and use :meth:`from_source`.

        Args:
            key: the private key, PEM.
            chain: the leaf, then the issuing CAs, PEM.
            bundle: the roots to trust, PEM.
            crls: the revocation lists, one for each issuer, PEM.
            policy: as :meth:`from_directory`.
            revocation: as :meth:`from_directory`.
            passphrase: for an encrypted key.
            read_grace: as :meth:`from_directory`; for the policy alone.
            clock: returns the time.

        Raises:
            PkiError: if the credential or the policy can't be used: then nothing starts.
        """
        source = PemSource(
            key=key,
            chain=chain,
            bundle=bundle,
            crls=crls,
            revocation=parse_setting(RevocationMode, revocation, "revocation"),
            passphrase=passphrase,
        )
        return cls(source, policy, clock, read_grace)

    @classmethod
    def from_source(
        cls,
        source: Source,
        *,
        policy: PathLike | None = None,
        read_grace: timedelta = READ_GRACE,
        clock: Clock = system_clock,
    ) -> Self:
        """Follow a source of your own: it only fetches, and the workload decides what to accept.

        Args:
            source: fetches the credential.
            policy: as :meth:`from_directory`.
            read_grace: as :meth:`from_directory`; for the policy, and for a source that is local.
            clock: returns the time.

        Raises:
            PkiError: if the credential or the policy can't be used: then nothing starts.
        """
        return cls(source, policy, clock, read_grace)

    @classmethod
    def from_ca(
        cls,
        directory: PathLike,
        *,
        token: str | None = None,
        recovery: bool = True,
        policy: PathLike | None = None,
        read_grace: timedelta = READ_GRACE,
        clock: Clock = system_clock,
    ) -> Self:
        """Obtain an identity from the CA, and keep it fresh: renewed, recovered, revoked in time.

        The directory holds the identity between two starts. Only the first start needs a token. A
        later one uses it only if the identity was revoked, or has ended and does not come back by
        itself. The first start waits for the CA, so on an event loop write
        ``await asyncio.to_thread(Workload.from_ca, ...)``.

        Args:
            directory: for the identity; made if it is missing. One workload has one directory.
            token: an enrollment token (``handfast token create``).
            recovery: whether the workload may come back by itself after it slept for longer than
                its certificate lives. That needs a second key in the directory.
            policy: as :meth:`from_directory`.
            read_grace: as :meth:`from_directory`; for the policy alone.
            clock: returns the time.

        Raises:
            PkiError: if there is no identity and none could be obtained, or the policy can't be
                used: then nothing starts.
        """
        # Loaded here: a workload without a CA does not pay for it.
        from pki.ca_client import CaIdentity, CaSource  # noqa: PLC0415
        from pki.proofs import EnrollmentToken  # noqa: PLC0415

        identity = CaIdentity(
            Path(directory),
            token=None if token is None else EnrollmentToken.parse(token),
            with_recovery=recovery,
            clock=clock,
        )
        try:
            workload = cls(CaSource(identity), policy, clock, read_grace)
        except BaseException:
            identity.close()
            raise
        workload._closing.append(identity.close)
        return workload

    @property
    def credential(self) -> Credential:
        """The credential in force.

        Raises:
            StateError: once the workload is closed.
        """
        self._check_usable()
        return self._provider.snapshot.credential

    def report_health(self, servicer: HealthServicer, *services: str) -> None:
        """Keep the status of a ``grpc.health.v1`` servicer true from now on.

        ``SERVING`` while calls can succeed, and ``NOT_SERVING`` within a second once they can't:
        the workload's own certificate expired or revoked, revocation lists stale or unreadable, no
        policy in force, the workload closed. :attr:`problems` names these, and others that can
        wait.

        Args:
            servicer: ``grpc_health.v1.health.HealthServicer()``, or the one of its ``aio`` module;
                then call this on the event loop that it runs on.
            services: the names to set; none stands for the whole server.

        Raises:
            StateError: once the workload is closed.
        """
        report = HealthReport(servicer, services or ("",), lambda: self._provider.can_serve)
        with self._health_lock:
            self._check_usable()
            report.start()
            self._health_reports.append(report)

    def reload(self, seconds: float = _RELOAD_SECONDS) -> bool:
        """Read the credential and the policies now, instead of at the next check.

        Args:
            seconds: how long to wait until everything was read and the results were applied. On an
                event loop this returns False at once: ``await asyncio.to_thread(me.reload)`` waits.

        Returns:
            Whether every file was read, and the results applied, in time. True also if what was
            read was refused: check :attr:`problems`.

        Raises:
            StateError: once the workload is closed.
        """
        self._check_usable()
        return self._provider.reload(seconds)

    def close(self) -> None:
        """Stop following changes: from now on its servers and channels refuse every call.

        Nothing can be made from it any more: every method that makes something raises
        ``StateError``. Close the servers and channels before. Closing again, or closing in a forked
        child, does nothing.
        """
        if self._fork_guard.in_same_process:
            self._provider.close()
            with self._health_lock:
                reports = list(self._health_reports)
            for report in reports:
                report.close(0 if on_event_loop() else RECHECK_SECONDS)
            while self._closing:
                self._closing.pop()()

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the workload."""
        self.close()

    async def __aenter__(self) -> Self:
        """Return self."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the workload."""
        self.close()

    def _check_usable(self) -> None:
        self._fork_guard.check()
        self._provider.check_open()

    def _policy_or_own(
        self, path: PathLike | None, peer: str | SpiffeId | None = None
    ) -> PolicyFile | None:
        """Return the policy at a path, or without one the workload's own.

        Raises:
            PolicyError: if it is written neither for the workload's trust domain nor for the peer's
                that a channel is for.
        """
        self._check_usable()
        if path is None:
            return self._policy
        permitted = [self.spiffe_id.trust_domain]
        if peer is not None:
            permitted.append(SpiffeId.parse_name(str(peer), permitted[0]).trust_domain)
        return self._provider.policy_file(Path(path), tuple(dict.fromkeys(permitted)))


def parse_setting(kind: type[_Setting], value: str, name: str) -> _Setting:
    """Return the member of an enumeration that a setting names.

    Raises:
        InputError: if the text is not a member of the enumeration.
    """
    try:
        return kind(value)
    except ValueError:
        raise InputError(
            f"{name} {value!r} is unknown", remedy=f"Use one of {', '.join(kind)}"
        ) from None
