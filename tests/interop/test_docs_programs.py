"""Every program that README and docs print is run here, as it is printed."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry

import pki
from tests.interop.shop import Shop, eventually, free_port

pytestmark = pytest.mark.documents

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
HANDFAST = Path(sys.executable).with_name("handfast")
# The pages with Python, and how many blocks of each are run by a test, here or where it says.
BLOCKS = {
    "README.md": 4,
    "docs/audit.md": 1,  # unit/cli/audit/test_audit_commands.py
    "docs/ca-service.md": 1,  # interop/ca_service/test_fleet.py
    "docs/decision-log.md": 1,  # unit/access/test_decision_log_docs.py
    "docs/fork.md": 1,  # fault/test_fork.py
    "docs/hsm.md": 1,  # interop/test_token_ca.py
    "docs/kubernetes.md": 1,
    "docs/metrics.md": 1,
    "docs/plaintext-to-mtls.md": 1,
    "docs/policy.md": 1,
    "docs/quickstart.md": 3,
    "docs/runtime.md": 2,  # the first: test_runtime_docs.py
    "docs/testing.md": 3,
    "docs/tracing.md": 2,
}


def blocks(page: str, language: str = "python") -> list[str]:
    """The blocks of a page in a language, in their order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.fixture
def home(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Path, int]:
    """A copy of an example, on a free port; and that port."""
    made = tmp_path / "example"
    shutil.copytree(EXAMPLES / request.param, made)
    port = free_port()
    for program in made.rglob("*.py"):
        program.write_text(on_port(on_port(program.read_text(), 50051, port), 8443, port))
    return made, port


def on_port(program: str, printed: int, port: int) -> str:
    return program.replace(f"localhost:{printed}", f"localhost:{port}")


def run(home: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        cwd=home,
        env=environment(home),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(home), "HANDFAST_DIR": ""}


def issue(home: Path, *names: str) -> None:
    for command in (
        ["ca", "init", "--trust-domain", "shop.internal"],
        *(["issue", n] for n in names),
    ):
        done = run(home, HANDFAST, *command)
        assert done.returncode == 0, done.stderr


@contextmanager
def started(home: Path, program: str, port: int) -> Iterator[None]:
    """Run a server of an example until the block ends."""
    process = subprocess.Popen(
        [sys.executable, program],
        cwd=home,
        env=environment(home),
        stderr=subprocess.PIPE,
        text=True,
    )

    def answers() -> bool:
        assert process.poll() is None, process.communicate()[1]
        try:
            socket.create_connection(("localhost", port), timeout=1).close()
        except OSError:
            return False
        return True

    try:
        assert eventually(answers, 30)
        yield
    finally:
        process.kill()
        process.communicate()


def test_each_block_of_python_is_known_here() -> None:
    pages = ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
    assert {page: count for page in pages if (count := len(blocks(page)))} == BLOCKS


@pytest.mark.parametrize(("page", "at"), [("README.md", 1), ("docs/quickstart.md", 0)])
def test_the_programs_of_the_pages_are_those_of_the_examples(page: str, at: int) -> None:
    folder = EXAMPLES / "payments"
    assert blocks(page)[at] == (folder / "server.py").read_text()
    assert blocks(page)[at + 1] == (folder / "client.py").read_text()
    assert (folder / "policy.toml").read_text() in blocks(page, "toml")
    # The first block of the README is the heart of the server.
    first = "\n".join(blocks("README.md")[0].splitlines()[:1])
    assert first.split(" as ")[0] in blocks(page)[at]


@pytest.mark.parametrize("home", ["payments"], indirect=True)
def test_the_quick_start_is_as_it_is_printed(home: tuple[Path, int]) -> None:
    folder, port = home
    commands = [
        line.removeprefix("$ handfast ")
        for line in "".join(blocks("docs/quickstart.md", "console")).splitlines()
        if line.startswith(("$ handfast ca init", "$ handfast issue", "$ handfast verify"))
    ]
    assert len(commands) == 4
    for command in commands:
        done = run(folder, HANDFAST, *command.split())
        assert done.returncode == 0, done.stderr
    with started(folder, "server.py", port):
        done = run(folder, sys.executable, "client.py")
    assert done.returncode == 0, done.stderr
    for page in ("README.md", "docs/quickstart.md"):
        assert f"$ python client.py\n{done.stdout}" in (ROOT / page).read_text()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("home", "names", "output"),
    [
        ("helloworld", ["greeter", "visitor"], "Hello, world!\n"),
        (
            "route_guide",
            ["guide", "hiker"],
            "Lighthouse\n['Lighthouse', 'Old mill']\n3 points, 1 feature\n['first']\n",
        ),
    ],
    indirect=["home"],
)
def test_an_example_says_the_same_before_and_after(
    home: tuple[Path, int], names: list[str], output: str, when: str
) -> None:
    folder, port = home
    server, client = (
        path.relative_to(folder).as_posix()
        for end in ("server", "client")
        for path in (folder / when).glob(f"*_{end}.py")
    )
    if when == "after":
        issue(folder, *names)
    with started(folder, server, port):
        done = run(folder, sys.executable, client)
    assert (done.returncode, done.stdout) == (0, output), done.stderr


@pytest.mark.parametrize("home", ["helloworld"], indirect=True)
def test_the_way_from_plaintext_to_mutual_tls_is_as_it_is_printed(home: tuple[Path, int]) -> None:
    folder, plain = home
    secure = free_port()
    (program,) = blocks("docs/plaintext-to-mtls.md")
    assert program == (EXAMPLES / "helloworld" / "during" / "greeter_server.py").read_text()
    (audited,) = blocks("docs/plaintext-to-mtls.md", "toml")
    enforced = (folder / "policy.toml").read_text()
    assert audited.replace('enforce = "audit"\n', "") == enforced
    issue(folder, "greeter", "visitor", "stranger")
    server, client = folder / "during" / "greeter_server.py", folder / "after" / "greeter_client.py"
    server.write_text(on_port(server.read_text(), 50052, secure))
    client.write_text(client.read_text().replace(f"localhost:{plain}", f"localhost:{secure}"))
    stranger = folder / "after" / "stranger.py"
    stranger.write_text(client.read_text().replace("certs/visitor", "certs/stranger"))

    def output_of(client: Path) -> tuple[int, str]:
        done = run(folder, sys.executable, client)
        return done.returncode, done.stdout

    (folder / "policy.toml").write_text(audited)
    hello = (0, "Hello, world!\n")
    with started(folder, "during/greeter_server.py", secure):
        assert output_of(folder / "before" / "greeter_client.py") == hello
        assert output_of(client) == hello
        # In audit, who has no role is let through, by a running server.
        assert output_of(stranger) == hello
        (folder / "policy.toml").write_text(enforced)
        assert eventually(lambda: output_of(stranger)[0] != 0, 30)
        assert output_of(client) == hello


@pytest.mark.parametrize("home", ["payments"], indirect=True)
def test_the_probed_server_of_kubernetes_is_as_it_is_printed(home: tuple[Path, int]) -> None:
    folder, port = home
    probes = free_port()
    (program,) = blocks("docs/kubernetes.md")
    (folder / "probed.py").write_text(on_port(on_port(program, 8443, port), 8081, probes))
    issue(folder, "orders", "payments")
    with (
        started(folder, "probed.py", probes),
        grpc.insecure_channel(f"localhost:{probes}") as channel,
    ):
        state = health_pb2_grpc.HealthStub(channel)
        answer = state.Check(health_pb2.HealthCheckRequest(), timeout=20)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert run(folder, sys.executable, "client.py").returncode == 0
        # Without a policy every call is refused, and the probe says so.
        (folder / "policy.toml").unlink()
        assert eventually(
            lambda: (
                state.Check(health_pb2.HealthCheckRequest(), timeout=20).status
                == health_pb2.HealthCheckResponse.NOT_SERVING
            ),
            30,
        )


def test_the_diffs_of_the_examples_page_are_those_of_the_files() -> None:
    page = "docs/examples/README.md"
    for block in blocks(page, "diff"):
        names = re.findall(r"^(?:---|\+\+\+) (\S+)$", block, re.MULTILINE)
        before, after = ((EXAMPLES / "helloworld" / name).read_text() for name in names)
        for line in block.splitlines()[2:]:
            assert line[0] == "+" or line[1:] in before.splitlines(), line
            assert line[0] == "-" or line[1:] in after.splitlines(), line
    assert len(blocks(page, "diff")) == 2


@pytest.mark.parametrize("home", ["payments"], indirect=True)
def test_the_page_on_testing_is_as_it_is_printed(home: tuple[Path, int]) -> None:
    folder, _ = home
    whole, on_a_loop, without_pytest = blocks("docs/testing.md")
    assert whole == (EXAMPLES / "payments" / "test_payments.py").read_text()
    (folder / "test_short.py").write_text(blocks("README.md")[3])
    (folder / "test_loop.py").write_text(on_a_loop)
    done = run(folder, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", ".")
    assert "4 passed" in done.stdout, done.stdout + done.stderr
    (folder / "program.py").write_text(without_pytest)
    done = run(folder, sys.executable, "program.py")
    assert (done.returncode, done.stdout) == (0, "spiffe://shop.internal/payments\n"), done.stderr
    assert not (folder / "certs").exists()


def test_the_ca_as_a_library_is_as_it_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue(tmp_path, "orders")
    monkeypatch.chdir(tmp_path)
    exec(blocks("docs/quickstart.md")[2], {})
    with pki.Authority.open("certs/ca") as ca:
        assert [item.revoked_at for item in ca.certificates()].count(None) == 1


def test_the_sources_of_the_runtime_page_are_as_they_are_printed(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shop.directory("orders")
    monkeypatch.chdir(shop.home)
    (shop.home / "certs").mkdir()
    shutil.copytree(folder, shop.home / "certs" / "orders")
    new = shop.ca.issue("orders")
    new.save(shop.home / "new")
    names: dict[str, Any] = {"pki": pki}
    for name in ("key", "chain", "bundle", "crl"):
        names[f"{name}s" if name == "crl" else name] = (folder / f"{name}.pem").read_bytes()
        names[f"new_{name}"] = (shop.home / "new" / f"{name}.pem").read_bytes()
    exec(blocks("docs/runtime.md")[1], names)
    with names["me"] as me:
        assert me.credential.leaf == new.leaf


def test_the_fragments_of_the_pages_run(shop: Shop) -> None:
    def scope(me: pki.Workload) -> dict[str, Any]:
        return {"me": me, "target": "localhost:1", "pki": pki}

    async def play() -> None:
        async with shop.workload("server") as me:
            for page in ("docs/policy.md", "docs/tracing.md"):
                for block in blocks(page):
                    text = block.replace('peer="payments"', 'peer="server"')
                    exec(text, scope(me))

    asyncio.run(play())
    port = free_port()
    registry = CollectorRegistry()
    with ExitStack() as stack:
        me = stack.enter_context(shop.workload("server"))
        text = blocks("docs/metrics.md")[0].replace("9464", f"{port}, '127.0.0.1', REGISTRY")
        text = text.replace(
            "from prometheus_client import REGISTRY, start", "from prometheus_client import start"
        )
        names = {"me": me, "REGISTRY": registry}
        exec(text.replace("start_http_server(9", "server = start_http_server(9"), names)
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            assert b"200" in client.recv(100)
