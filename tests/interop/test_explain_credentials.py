"""``explain`` knows what gRPC, Python's ssl and openssl write of files that they can't use."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from pki.failures import recognise
from tests.interop.seeds import Scene, pem, scene_in

GRPC = """
import sys, grpc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
side, *names = sys.argv[1:]
key, chain, roots = (Path(name).read_bytes() for name in names)
try:
    if side == "client":
        credentials = grpc.ssl_channel_credentials(roots, key, chain)
        with grpc.secure_channel("127.0.0.1:1", credentials) as channel:
            channel.unary_unary("/a.B/C")(b"", timeout=1)
    else:
        credentials = grpc.ssl_server_credentials([(key, chain)], roots, True)
        grpc.server(ThreadPoolExecutor(1)).add_secure_port("127.0.0.1:0", credentials)
except (grpc.RpcError, RuntimeError):
    pass
"""


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with scene_in(tmp_path) as made:
        yield made


@pytest.fixture
def files(scene: Scene) -> dict[str, Path]:
    made, other = scene.ca.leaf(), scene.ca.leaf()
    encrypted = made.key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open sesame")
    )
    contents = {
        "key": made.key_pem,
        "chain": made.chain_pem,
        "roots": pem([scene.ca.root]),
        "another key": other.key_pem,
        "encrypted": encrypted,
        "nothing": b"nothing of the kind\n",
    }
    paths = {}
    for name, data in contents.items():
        paths[name] = scene.home / f"{name.replace(' ', '-')}.pem"
        paths[name].write_bytes(data)
    return paths


def slugs(text: str) -> list[str]:
    return [item.failure.slug for item in recognise(text)]


@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize(
    ("wrong", "expected", "never"),
    [
        ({"key": "nothing"}, "not-pem", "no-trust-anchors"),
        ({"key": "another key"}, "key-mismatch", "no-trust-anchors"),
        ({"key": "encrypted"}, "wrong-password", "no-trust-anchors"),
        ({"chain": "nothing"}, "not-pem", "key-mismatch"),
        ({"roots": "nothing"}, "no-trust-anchors", "key-mismatch"),
    ],
)
def test_what_grpc_writes_of_a_credential_that_it_can_not_use(
    files: dict[str, Path], side: str, wrong: dict[str, str], expected: str, never: str
) -> None:
    chosen = {**files, **{name: files[instead] for name, instead in wrong.items()}}
    done = subprocess.run(
        [sys.executable, "-c", GRPC, side, chosen["key"], chosen["chain"], chosen["roots"]],
        capture_output=True,
        timeout=60,
        check=True,
        env={**os.environ, "GRPC_VERBOSITY": "error"},
    )
    matches = recognise(done.stderr.decode())
    assert expected in [item.failure.slug for item in matches], done.stderr
    assert never not in [item.failure.slug for item in matches], done.stderr
    assert not any(item.sure for item in matches)


@pytest.mark.parametrize(
    ("chain", "key", "expected"),
    [
        ("chain", "another key", "key-mismatch"),
        ("chain", "nothing", "not-pem"),
        ("nothing", "key", "not-pem"),
        ("none", "key", "file-missing"),
    ],
)
def test_what_pythons_ssl_writes_of_files_that_it_can_not_use(
    files: dict[str, Path], chain: str, key: str, expected: str
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files["none"] = files["chain"].with_name("none.pem")
    with pytest.raises(OSError) as caught:  # noqa: PT011 - an SSLError or a FileNotFoundError
        context.load_cert_chain(files[chain], files[key])
    text = f"{type(caught.value).__name__}: {caught.value}"
    assert slugs(text)[0] == expected, text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["pkey", "-in", "encrypted", "-passin", "pass:wrong"], "wrong-password"),
        (["x509", "-in", "key"], "not-pem"),
        (["x509", "-in", "none"], "file-missing"),
        (["verify", "-CAfile", "none", "chain"], "file-missing"),
    ],
)
def test_what_openssl_writes_of_files_that_it_can_not_use(
    files: dict[str, Path], arguments: list[str], expected: str
) -> None:
    files["none"] = files["chain"].with_name("none.pem")
    command = ["openssl", *(str(files.get(item, item)) for item in arguments)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    text = done.stderr.decode()
    assert done.returncode
    assert slugs(text)[0] == expected, text
