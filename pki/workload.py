"""``Workload``: the one handle on a live credential."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pki.access.snapshot import WorkloadSnapshot
from pki.clock import Clock, system_clock
from pki.credentials.loader import check_own
from pki.credentials.provider import READ_GRACE, CredentialProvider
from pki.credentials.source import DirectorySource, PemSource, Source
from pki.files import KeyMode, detect_layout
from pki.files.layouts import layout_named
from pki.rpc.bound import PathLike, parse_setting
from pki.rpc.client.factory import Calling
from pki.rpc.server.factory import Serving
from pki.rpc.server.health_report import HealthServicer
from pki.x509 import Credential, RevocationMode

if TYPE_CHECKING:
    from pki.access.prometheus import WorkloadCollector

_RELOAD_SECONDS = 5.0


class Workload(Serving, Calling):
    """A workload's identity, kept fresh while it runs.

    Make one with :meth:`from_directory`, use it in a ``with`` or ``async with`` block. Servers and
    channels made from it follow its credential, trust, lists and policy while they run.
    """

    def __init__(
        self, source: Source, policy: PathLike | None, clock: Clock, read_grace: timedelta
    ) -> None:
        following = CredentialProvider(source, clock, read_grace)
        spiffe_id = check_own(following.live.credential, clock())
        super().__init__(following, spiffe_id, policy, clock)
        following.start()

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
    ) -> Workload:
        """Take a workload's identity from a directory, and follow what changes there.

        Args:
            directory: where ``key.pem``, ``chain.pem``, ``bundle.pem`` and ``crl.pem`` lie, or the
                files of another layout.
            policy: the policy file for servers and channels made from this workload.
            layout: the layout's name; None tells it by the file names.
            key_mode: ``strict`` refuses a key file that others may read, ``warn`` takes it.
            revocation: ``required``, ``when-present`` or ``short-lived``.
            passphrase: for an encrypted key.
            read_grace: how long credential, lists and policy in force count while they can't be
                read again, e.g. for want of descriptors; then every call is refused.
            clock: gives the time.

        Raises:
            PkiError: if the credential or the policy can't be used: then nothing starts.
        """
        folder = Path(directory).absolute()
        source = DirectorySource(
            folder,
            # Told once: lists are read by it also while the key is away.
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
    ) -> Workload:
        """Take a workload's identity from PEM in memory; it stays so until the process ends.

        To bring the next one, make a :class:`~pki.PemSource` and give it to
        :meth:`from_source`.

        Args:
            key: the private key, PEM.
            chain: the leaf, then the issuing CAs, PEM.
            bundle: the roots to believe, PEM.
            crls: the revocation lists, one for each issuer, PEM.
            policy: as :meth:`from_directory`.
            revocation: as :meth:`from_directory`.
            passphrase: for an encrypted key.
            read_grace: as :meth:`from_directory`; for the policy alone.
            clock: gives the time.

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
    ) -> Workload:
        """Take a workload's identity from a source of your own, and follow it.

        Args:
            source: fetches the credential; what is accepted of it is decided here.
            policy: as :meth:`from_directory`.
            read_grace: as :meth:`from_directory`; for the policy, and for a source that is local.
            clock: gives the time.

        Raises:
            PkiError: if the credential or the policy can't be used: then nothing starts.
        """
        return cls(source, policy, clock, read_grace)

    @property
    def credential(self) -> Credential:
        """The credential in force.

        Raises:
            StateError: once the workload is closed.
        """
        self._check_usable()
        return self._following.live.credential

    @property
    def problems(self) -> tuple[str, ...]:
        """What makes calls fail, or will if nothing is done; empty if all is well.

        Own certificate ended or revoked, lists stale, files that can't be read, a policy that is
        refused, a port that can't be given its new certificate. It may be asked after
        :meth:`close` too, and says so.
        """
        self._here.check()
        return self._following.problems

    def report_health(self, servicer: HealthServicer, *services: str) -> None:
        """Keep the answer of a ``grpc.health.v1`` servicer true from now on.

        ``SERVING`` while calls can succeed, ``NOT_SERVING`` within a second once they can't: own
        certificate ended or revoked, revocation lists stale or unreadable, no policy in force, the
        workload closed. :attr:`problems` names these, and what can wait besides.

        Args:
            servicer: ``grpc_health.v1.health.HealthServicer()``, or that of its ``aio``; then this
                is called on the event loop that it serves on.
            services: the names to answer for; none stands for the whole server.

        Raises:
            StateError: once the workload is closed.
        """
        self._check_usable()
        self._following.report_health(servicer, services or ("",))

    def collector(self, *others: Workload) -> WorkloadCollector:
        """Return what shows this workload's metrics to Prometheus: ``REGISTRY.register(...)``.

        Args:
            others: the other workloads of this process: a registry takes each metric once.

        Raises:
            InputError: if two of them have one SPIFFE ID.
        """
        # Here and not above: whoever wants no metrics does not pay for loading the library.
        from pki.access.prometheus import WorkloadCollector  # noqa: PLC0415

        return WorkloadCollector([(str(item.spiffe_id), item._seen) for item in (self, *others)])

    def _seen(self) -> WorkloadSnapshot | None:
        # After a fork its locks may be held for good.
        return self._following.seen() if self._here.still else None

    def reload(self, seconds: float = _RELOAD_SECONDS) -> bool:
        """Look at the credential and the policies now, instead of soon.

        Args:
            seconds: how long to wait until all of it was looked at. On an event loop this returns
                at once, and what changed counts soon: ``await asyncio.to_thread(me.reload)`` waits.

        Returns:
            Whether all was looked at before it returned.

        Raises:
            StateError: once the workload is closed.
        """
        self._check_usable()
        return self._following.reload(seconds)

    def close(self) -> None:
        """Stop following changes: from now on its servers refuse every call, its channels too.

        Nothing can be made of it any more: every factory raises ``StateError``. Whoever made
        servers and channels closes them, before this. To close it again does nothing.

        After a fork there is nothing to stop in the child, and nothing is done.
        """
        if self._here.still:
            self._following.close()

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    async def __aenter__(self) -> Self:
        """Return self."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()
