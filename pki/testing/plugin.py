"""Fixtures for pytest: a throw-away CA, credentials, servers and channels with a policy.

pytest finds them by itself once ``handfast[test]`` is installed. Everything is real: certificates,
handshakes, the policy. Nothing is left when a test ends. ``docs/testing.md`` shows how to use them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    import grpc

    import pki
    from pki.identity import TrustDomain

_TRUST_DOMAIN = "test.internal"


class StartServer(Protocol):
    """Starts a synchronous server for a workload; ``add`` adds the servicers to it."""

    def __call__(self, name: str, add: Callable[[grpc.Server], object], **arguments: Any) -> str:
        """Return the address, ``127.0.0.1:PORT``; ``arguments`` are those of ``sync_server``."""


class OpenChannel(Protocol):
    """Opens a synchronous channel from a workload to a server with a name."""

    def __call__(self, name: str, target: str, *, peer: str, **arguments: Any) -> grpc.Channel:
        """Return the channel; ``arguments`` are those of ``sync_channel``."""


@pytest.fixture
def handfast_policy() -> str | Path | None:
    """Return the policy: the path of a file, or its text. Servers need it: define your own."""
    return None


@pytest.fixture
def handfast_policy_file(handfast_policy: str | Path | None, tmp_path: Path) -> Path | None:
    """Return the path of the file that holds the policy; None if there is no policy."""
    if handfast_policy is None or isinstance(handfast_policy, Path):
        return handfast_policy
    if "\n" not in handfast_policy:
        raise pytest.UsageError(
            f"handfast_policy returns {handfast_policy!r}, which is no policy: for the path of a "
            "file, return pathlib.Path(...)"
        )
    file = tmp_path / "handfast" / "policy.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(handfast_policy, encoding="utf-8")
    return file


@pytest.fixture
def handfast_ca(handfast_policy_file: Path | None) -> Iterator[pki.Authority]:
    """Return a throw-away CA: for the trust domain of the policy, else for ``test.internal``."""
    from pki import Authority  # noqa: PLC0415 - loaded by tests that use it
    from pki.authz import read_policy  # noqa: PLC0415

    domain: TrustDomain | str = _TRUST_DOMAIN
    if handfast_policy_file is not None:
        data = handfast_policy_file.read_bytes()
        domain = read_policy(data, source=str(handfast_policy_file)).trust_domain
    with Authority.ephemeral(domain) as ca:
        yield ca


@pytest.fixture
def handfast_directory(handfast_ca: pki.Authority, tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that returns the credential directory of a name, e.g. ``orders``."""

    def directory(name: str) -> Path:
        folder = tmp_path / "handfast" / "certs" / name
        if not (folder / "key.pem").exists():
            handfast_ca.issue(name).save(folder)
        return folder

    return directory


@pytest.fixture
def handfast_workload(
    handfast_directory: Callable[[str], Path], handfast_policy_file: Path | None
) -> Iterator[Callable[..., pki.Workload]]:
    """Return a function that returns the workload of a name, for a server or channel of any kind.

    Its further arguments are those of ``Workload.from_directory``. It is closed after the test.
    """
    from pki import Workload  # noqa: PLC0415 - loaded by tests that use it

    with ExitStack() as workloads:

        def workload(name: str, **arguments: Any) -> pki.Workload:
            arguments.setdefault("policy", handfast_policy_file)
            made = Workload.from_directory(handfast_directory(name), **arguments)
            return workloads.enter_context(made)

        yield workload


@pytest.fixture
def handfast_server(
    handfast_workload: Callable[..., pki.Workload], handfast_policy_file: Path | None
) -> Iterator[StartServer]:
    """Return a function that starts a synchronous server, and returns its address."""
    with ExitStack() as servers:

        def start(name: str, add: Callable[[grpc.Server], object], **arguments: Any) -> str:
            if handfast_policy_file is None and "policy" not in arguments:
                raise pytest.UsageError(
                    "a server needs a policy: define a fixture handfast_policy that returns the "
                    "policy's path or its text"
                )
            server = handfast_workload(name).sync_server(**arguments)
            add(server)
            port = server.add_secure_port("127.0.0.1:0")
            server.start()
            servers.callback(lambda: server.stop(grace=None).wait())
            return f"127.0.0.1:{port}"

        yield start


@pytest.fixture
def handfast_channel(handfast_workload: Callable[..., pki.Workload]) -> Iterator[OpenChannel]:
    """Return a function that opens a synchronous channel to a server."""
    with ExitStack() as channels:

        def open_channel(name: str, target: str, *, peer: str, **arguments: Any) -> grpc.Channel:
            channel = handfast_workload(name).sync_channel(target, peer=peer, **arguments)
            return channels.enter_context(channel)

        yield open_channel
