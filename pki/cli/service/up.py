"""``handfast up``: a running CA, an agent, two workloads and two calls, in one command."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives import hashes

from pki.authority import Authority
from pki.authority.enrollment import create_registration, create_token
from pki.authority.registrations import Registration
from pki.ca_client.calls import enroll
from pki.ca_client.storage.identity_store import IdentityStore
from pki.cli.options import DEFAULT_DIR, DirOption, ca_directory, dir_option
from pki.cli.output import quote_path
from pki.cli.service.ca_policy import CA_POLICY, add_admin
from pki.cli.service.first_calls import (
    METHOD,
    OTHER_METHOD,
    call,
    greeter,
    policy_text,
    watch_calls,
)
from pki.cli.service.operator import operator
from pki.cli.state.ledger_place import LEDGER_VARIABLE
from pki.clock import system_clock
from pki.errors import StateError, printable, quote_untrusted
from pki.files import write_durably
from pki.files.open_folder import PUBLIC
from pki.identity import SpiffeId
from pki.proofs import EnrollmentToken

_DOMAIN = "demo.internal"
_PORTS = (8443, 8444)
_START_SECONDS = 30.0
_STOP_SECONDS = 15.0
# Not the script: it may not be on the path, and a module that is run has no main of its own.
_RUN = "from pki.cli.entry import main; main()"
_WORKLOADS = ("greeter", "caller", "ops")


def up(
    once: Annotated[
        bool, typer.Option("--once", help="End after the two calls, instead of serving on.")
    ] = False,
    directory: DirOption = DEFAULT_DIR,
) -> None:
    """Try handfast in an empty folder: a CA that serves, an agent, two workloads, two calls."""
    begun = time.monotonic()
    if ca_directory(directory).exists():
        raise StateError(
            f"there is a CA in {quote_path(ca_directory(directory))} already",
            remedy="Serve it: handfast ca serve; or try this in an empty folder",
        )
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    with ExitStack() as stack:
        _make_ca(directory)
        ports = tuple(_free_port(port) for port in _PORTS)
        for wanted, port in zip(_PORTS, ports, strict=True):
            if port != wanted:
                _say(f"Port {wanted} of 127.0.0.1 is in use by another process: this CA has {port}")
        options = ["--listen", f"127.0.0.1:{ports[0]}", "--enroll-listen", f"127.0.0.1:{ports[1]}"]
        stack.enter_context(_running(["ca", "serve", *options], directory, "Serving"))
        for name in _WORKLOADS:
            _enroll(name, directory, f"127.0.0.1:{ports[1]}")
        kept = [str(directory / name) for name in _WORKLOADS]
        stack.enter_context(_running(["agent", *kept], directory, "Keeping"))
        policy = directory / "policy.toml"
        write_durably(policy, policy_text(_DOMAIN).encode(), mode=PUBLIC)
        address = stack.enter_context(greeter(directory / "greeter", policy))
        _say("", "Two calls over mutual TLS, from spiffe://demo.internal/caller:")
        for method in (METHOD, OTHER_METHOD):
            is_allowed, answer = call(directory / "caller", policy, address, method)
            _say_call(method, is_allowed, answer)
        _say("", f"All of it took {time.monotonic() - begun:.1f} s. Next:")
        _say(*_next_steps(directory, None if once else ports[0]))
        if not once:
            _say("", "The CA, the agent and the greeter run until Ctrl-C.")
            _say(f"The caller calls {METHOD} once a second: what changes is shown here.")
            watch_calls(directory / "caller", policy, address, ending, _say_call)
            _say("Ending")


def _make_ca(directory: Path) -> None:
    _show(f"handfast ca init --trust-domain {_DOMAIN}", directory)
    with Authority.create(ca_directory(directory), _DOMAIN) as authority:
        for name in _WORKLOADS:
            spiffe_id = SpiffeId.of_path(authority.trust_domain, name)
            create_registration(authority.context, operator(), Registration(spiffe_id))
            _show(f"handfast registration create {name}", directory)
        _show("handfast ca admin ops", directory)
        add_admin(
            ca_directory(directory) / CA_POLICY, SpiffeId.of_path(authority.trust_domain, "ops")
        )


def _enroll(name: str, directory: Path, address: str) -> None:
    _show(f"handfast token create {name} | handfast enroll - --out {directory / name}", directory)
    with Authority.open(ca_directory(directory), read_only=True) as authority:
        spiffe_id = SpiffeId.of_path(authority.trust_domain, name)
        made = create_token(authority.context, operator(), spiffe_id)
        root = authority.trust()[0].all_roots()[0]
        token = EnrollmentToken(
            address, authority.trust_domain, root.fingerprint(hashes.SHA256()), made.credential
        )
    store = IdentityStore(directory / name)
    received = enroll(token, store.keys(with_recovery=True), now=system_clock())
    store.save(received, new_recovery_key=True)


@contextmanager
def _running(arguments: Sequence[str], directory: Path, ready: str) -> Iterator[None]:
    """Run a command of handfast beside this one, from when it says that it is ready."""
    _show("handfast " + " ".join(arguments) + " &", directory)
    log = directory / ("agent.log" if arguments[0] == "agent" else "ca.log")
    # Its own CA, whatever the environment says of another one.
    environment = {
        **{name: value for name, value in os.environ.items() if name != LEDGER_VARIABLE},
        "HANDFAST_DIR": str(directory),
        "PYTHONUNBUFFERED": "1",
    }
    with (
        log.open("w") as written,
        subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-c", _RUN, *arguments],
            stdout=written,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
            # Ctrl-C in the terminal is for this process, which ends the others in order.
            start_new_session=True,
        ) as process,
    ):
        try:
            end = time.monotonic() + _START_SECONDS
            while ready not in log.read_text():
                if process.poll() is not None or time.monotonic() > end:
                    raise StateError(
                        f"handfast {' '.join(arguments)} did not start: "
                        f"{quote_untrusted(log.read_text()[-500:])}",
                        remedy=f"See {quote_path(log)}",
                    )
                time.sleep(0.05)
            yield
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _free_port(wanted: int) -> int:
    """Return a port of the loopback that nobody listens on: the wanted one if it is free."""
    for number in (wanted, 0):
        with socket.socket() as trying:
            try:
                trying.bind(("127.0.0.1", number))
            except OSError:
                continue
            port: int = trying.getsockname()[1]
            return port
    raise StateError("no port of 127.0.0.1 is free")


def _next_steps(directory: Path, port: int | None) -> list[str]:
    """Return what to try next.

    Args:
        directory: the state folder.
        port: of the CA for mutual TLS; None if nobody serves any more.
    """
    steps = [
        f"  handfast inspect {quote_path(directory / 'caller')}    what a workload holds",
        f"  handfast policy explain --policy {quote_path(directory / 'policy.toml')} "
        f"--peer caller --method {OTHER_METHOD}",
    ]
    if port is not None:
        option, mine = dir_option(directory), quote_path(directory / "mine")
        admin = f"--ca 127.0.0.1:{port} --credential {quote_path(directory / 'ops')}"
        steps += [
            f"  handfast revoke caller {admin}    and the greeter refuses it within a second",
            f"  handfast registration create mine{option}",
            f"  handfast token create mine{option} | handfast enroll - --out {mine}",
        ]
    return [*steps, "  handfast docs quickstart"]


def _say_call(method: str, is_allowed: bool, answer: str) -> None:
    _say(f"  {method}  {'allowed' if is_allowed else 'refused'}  {answer}")


def _show(command: str, directory: Path) -> None:
    _say(f"$ {command}{dir_option(directory)}" if "&" not in command else f"$ {command}")


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(printable(line) + "\n")
    sys.stdout.flush()
