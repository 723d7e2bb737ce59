"""Follows a credential and its policies, and brings each change to servers that run.

One thread looks, a few times a second and whenever a file changes. Another judges again whoever is
connected: a source that takes seconds to answer holds up no revocation that is known already, and
no end of a certificate. What is in force is one value that is replaced whole, so nobody sees half
of a change.
"""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import grpc

from pki.clock import Clock
from pki.keys import private_key_to_pem
from pki.rpc.channel_aio import AioChannel
from pki.rpc.channel_sync import SyncChannel
from pki.rpc.counting import Counts, Outcome, Reloads
from pki.rpc.gate import Gate
from pki.rpc.intake import Intake, half_life_passed
from pki.rpc.policy_file import PolicyFile, log
from pki.rpc.port import Port
from pki.rpc.seen import OnDisk, Seen
from pki.rpc.source import Source
from pki.rpc.ticker import Ticker
from pki.rpc.watcher import Watcher
from pki.x509 import ChainVerifier, Credential
from pki.x509.readers import to_pem

_SWEEP_SECONDS = 0.25
_TICKS_BETWEEN_LOOKS = 20
_TICKS_BETWEEN_RETRIES = 4
_MOST_TOLD = 100


@dataclass(frozen=True, slots=True)
class Live:
    """A credential in force, with what follows from it."""

    credential: Credential
    verifier: ChainVerifier
    server_configuration: grpc.ServerCertificateConfiguration


class Following:
    """What is in force, kept fresh.

    Args:
        source: gives the credential.
        clock: gives the time.

    Raises:
        PkiError: if the credential can't be used.
    """

    def __init__(self, source: Source, clock: Clock) -> None:
        self._source = source
        self._intake = Intake(source)
        self._clock = clock
        self._lock = threading.RLock()
        # The watching thread and whoever asks for a reload look one after the other.
        self._looking = threading.RLock()
        self._sweeping = threading.Lock()
        self._closed = False
        self._policies: dict[Path, PolicyFile] = {}
        self._gates: list[Gate] = []
        self._ports: list[Port] = []
        self._channels: weakref.WeakSet[AioChannel | SyncChannel] = weakref.WeakSet()
        self.counts = Counts()
        self._reloads = Reloads(clock())
        self._policy_reloads: dict[Path, Reloads] = {}
        self._ticks = 0
        self._took_in = True
        self._told: set[str] = set()
        self._live = self._made_live(self._intake.first(clock()), None)
        self._watcher = Watcher(self._folders, self.look)
        self._sweeper = Ticker(_SWEEP_SECONDS, self._sweep, "handfast-sweep")
        source.subscribe(lambda: self.look(changed=True))

    def start(self) -> None:
        """Begin to follow."""
        self._watcher.start()
        self._sweeper.start()

    @property
    def live(self) -> Live:
        """What is in force now."""
        return self._live

    @property
    def problems(self) -> tuple[str, ...]:
        """What makes the policies unready; empty if all is well."""
        return tuple(item.problem for item in self._policies.values() if item.problem)

    def seen(self) -> Seen:
        """Give what is to be seen of it now."""
        with self._lock:
            live, channels, gates = self._live, list(self._channels), list(self._gates)
            policies = [(item, self._policy_reloads[path]) for path, item in self._policies.items()]
        return Seen(
            live.credential,
            self._intake.on_disk or OnDisk.of(live.credential),
            self._reloads,
            tuple(policies),
            problems=len(self.problems),
            streams=sum(len(gate.streams) for gate in gates),
            connections=Counter(state for item in channels for state in item.connections.states()),
            counts=self.counts,
        )

    def add_gate(self, gate: Gate) -> None:
        """Judge this gate's running streams after each change."""
        with self._lock:
            self._gates.append(gate)

    def add_channel(self, channel: AioChannel | SyncChannel) -> None:
        """Have this channel follow the credential, for as long as somebody holds it."""
        with self._lock:
            self._channels.add(channel)

    def new_port(self) -> Port:
        """Make a port that is given each new configuration."""
        with self._lock:
            port = Port(self._live.server_configuration)
            self._ports.append(port)
        return port

    def close(self) -> None:
        """Stop following, and let nothing through from now on: nobody would notice what changes."""
        self._closed = True
        self._watcher.stop()
        self._sweeper.stop()
        # Whoever looks at this moment has its say first, and nobody after it.
        with self._looking:
            for channel in list(self._channels):
                _try(channel.stop_following)
            for item in self._policies.values():
                item.withdraw()
            for gate in self._gates:
                _try(gate.tick)
                _try(gate.close)
            for port in self._ports:
                _try(port.close)

    def policy_file(self, path: Path) -> PolicyFile:
        """Give a policy file that is followed from now on.

        Raises:
            PolicyError: if it is missing or bad.
        """
        found = path.absolute()
        with self._lock:
            known = self._policies.get(found)
            if known is not None:
                return known
            made = self._policies[found] = PolicyFile(found)
            self._policy_reloads[found] = Reloads(self._clock())
            self._watcher.folders_changed()
            # The grace for stale lists stands in the policy.
            self._live = self._made_live(self._live.credential, self._live)
            return made

    def _made_live(self, credential: Credential, before: Live | None) -> Live:
        graces = [
            policy.revocation_grace
            for item in self._policies.values()
            if (policy := item.policy()) is not None
        ]
        verifier = ChainVerifier(
            credential.bundle,
            credential.lists,
            mode=self._source.revocation,
            grace=min(graces, default=timedelta(0)),
        )
        if (
            before is not None
            and before.credential.chain == credential.chain
            and before.credential.bundle.roots == credential.bundle.roots
        ):
            # The same object for as long as it is the same, so that ports see a change alone.
            return Live(credential, verifier, before.server_configuration)
        configuration = grpc.ssl_server_certificate_configuration(
            [(private_key_to_pem(credential.key), to_pem(credential.chain))],
            credential.bundle.to_pem(),
        )
        return Live(credential, verifier, configuration)

    def _folders(self) -> list[Path]:
        with self._lock:
            return [*self._source.folders(), *(path.parent for path in self._policies)]

    def look(self, changed: bool) -> None:
        """Take in what changed, and judge again whoever is connected."""
        with self._looking:
            if not self._closed:
                self._look(changed)

    def _look(self, changed: bool) -> None:
        now = self._clock()
        self._ticks += 1
        # Watches lose events now and then (network file systems): look anyway, every few seconds,
        # and sooner where the last look found nothing that is good.
        between = _TICKS_BETWEEN_LOOKS if self._took_in else _TICKS_BETWEEN_RETRIES
        if changed or self._ticks % between == 0:
            self._took_in = self._take_in()
        for path, item in list(self._policies.items()):
            due = changed or item.problem or self._ticks % _TICKS_BETWEEN_LOOKS == 0
            if not due:
                continue
            is_new = item.reload(now)
            if is_new:
                with self._lock:
                    self._live = self._made_live(self._live.credential, self._live)
            self._policy_reloads[path].note(Outcome.of(item.problem, is_new=is_new), now)
        if changed:
            self._sweep()
        with self._lock:
            # A server may open a port at this moment: it must not be lost.
            self._ports = [port for port in self._ports if not port.is_closed]
            ports = list(self._ports)
        for port in ports:
            _try(port.release)
            _try(partial(port.offer, self._live.server_configuration))

    def _sweep(self) -> None:
        """Judge again whoever is connected, and whoever we are connected to."""
        with self._sweeping:
            with self._lock:
                gates, channels = list(self._gates), list(self._channels)
            for gate in gates:
                _try(gate.tick)
            for channel in channels:
                _try(channel.follow)

    def _take_in(self) -> bool:
        """Take in what the source holds; tell whether all of it was good."""
        now, current = self._clock(), self._live.credential
        found, refused = self._intake.next(current, now)
        if refused:
            self._tell_once(f"credential refused, the one in use is kept: {refused}")
        is_new = (
            found.chain != current.chain
            or found.bundle.roots != current.bundle.roots
            or found.lists != current.lists
        )
        self._reloads.note(Outcome.of(refused, is_new=is_new), now)
        if is_new:
            with self._lock:
                self._live = self._made_live(found, self._live)
            self._told.clear()
            log.info("credential reloaded, serial %x in use", found.leaf.serial_number)
        end = half_life_passed(found.lists, now) if found.lists else None
        if end is not None:
            self._tell_once(
                f"revocation lists are past half of their life and end at {end}: bring fresh ones"
            )
        return not refused

    def _tell_once(self, words: str) -> None:
        """Warn of something that stays so, until the credential or its lists change."""
        if words not in self._told:
            if len(self._told) >= _MOST_TOLD:
                self._told.clear()
            self._told.add(words)
            log.error("%s", words)


def _try(step: Callable[[], None]) -> None:
    """Do one thing of many: that it fails must not keep the others from being done."""
    try:
        step()
    except Exception:
        log.exception("following a change failed")
