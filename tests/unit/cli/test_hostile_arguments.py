"""Hostile arguments, files and keys: each costs one line, and none takes for ever."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from pki.cli import app
from pki.cli.app import run
from pki.inspection.opening import Kind, OpeningResult, open_in_subprocess
from pki.keys import generate_key, private_key_to_pem

Capture = pytest.CaptureFixture[str]
POLICY = Path(__file__).resolve().parents[3] / "services" / "policy.toml"
COMMAND = [sys.executable, "-c", "from pki.cli.entry import main; main()"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


def said(capsys: Capture, *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = run(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["doctor", "payments..internal:8443"], 3),
        (["doctor", ".internal:8443"], 3),
        (["issue", "orders\udcff"], 2),
        (["inspect", "orders\udcff"], 2),
        (["verify", "a\0b", "--as", "server"], 2),
        (["policy", "graph", str(POLICY), "--out", "/"], 2),
        (["policy", "graph", str(POLICY), "--out", ""], 2),
        (["policy", "graph", str(POLICY), "--out", "pipe"], 2),
        (["policy", "graph", "pipe"], 3),
        (["policy", "lint", str(POLICY), "--proto", "pipe"], 3),
        (["policy", "lint", str(POLICY), "--descriptor-set", "pipe"], 3),
        (["policy", "test", "pipe", "--policy", str(POLICY)], 3),
        (["policy", "diff", str(POLICY), str(POLICY), "--calls", "pipe"], 3),
        (["policy", "diff", str(POLICY), str(POLICY), "--calls", "/dev/zero"], 3),
        (["inspect", "pipe"], 1),
        (["inspect", "/dev/zero"], 1),
        (["inspect", str(POLICY), "--password-file", "pipe"], 1),
        (["inspect", str(POLICY), "--password-file", "/dev/zero"], 1),
        (["verify", "pipe", "--as", "server"], 3),
    ],
)
def test_hostile_arguments_cost_one_line(capsys: Capture, arguments: list[str], code: int) -> None:
    found, _, err = said(capsys, *arguments)
    assert "Traceback" not in err
    assert "should not happen" not in err
    assert len(err.splitlines()) == 1, err
    assert found in {code, 1, 3}
    assert found != 0


@pytest.mark.parametrize("passphrase", ["pipe", "/dev/zero", "/", "nowhere"])
def test_a_passphrase_file_that_is_none_costs_one_line(
    capsys: Capture, passphrase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANDFAST_CA_PASSPHRASE_FILE", passphrase)
    code, _, err = said(capsys, "ca", "init", "--trust-domain", "shop.internal")
    assert (code, len(err.splitlines())) == (1, 1)
    assert not (Path("certs") / "ca").exists()


def test_whatever_is_left_costs_one_line_and_says_that_it_is_our_fault(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fall(*_: object, **__: object) -> None:
        raise RuntimeError("x\nTraceback")

    monkeypatch.setattr(app, "app", fall)
    code, _, err = said(capsys, "version")
    assert (code, len(err.splitlines())) == (1, 1)
    assert "should not happen: RuntimeError" in err


def test_an_interrupt_while_the_command_loads_costs_one_line() -> None:
    script = (
        "import builtins, os, signal\n"
        "real = builtins.__import__\n"
        "def slow(name, *rest):\n"
        "    if name == 'pki.cli.app': os.kill(os.getpid(), signal.SIGINT)\n"
        "    return real(name, *rest)\n"
        "builtins.__import__ = slow\n"
        "from pki.cli.entry import main; main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "handfast: interrupted\n")


# What a file asks for


def tlv(tag: int, body: bytes) -> bytes:
    size = len(body)
    if size < 128:
        return bytes([tag, size]) + body
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(length)]) + length + body


def key_of_large_factors(bits: int) -> bytes:
    """Make an RSA key whose first factor is a Mersenne prime: to see that it is one takes long."""
    p, q = 2**bits - 1, 2 ** (bits - 1) + 1
    numbers = [0, p * q, 65537, 65537, p, q, 1, 1, 1]
    return tlv(
        0x30, b"".join(tlv(2, item.to_bytes(item.bit_length() // 8 + 1)) for item in numbers)
    )


def test_opening_that_takes_too_long_is_ended() -> None:
    found = open_in_subprocess(Kind.KEY, key_of_large_factors(44497), None, seconds=3)
    assert found.outcome is OpeningResult.TOO_LONG


def test_an_interrupt_ends_an_inspection_that_would_not_end(tmp_path: Path) -> None:
    pem = base64.encodebytes(key_of_large_factors(44497))
    (tmp_path / "key.pem").write_bytes(
        b"-----BEGIN RSA PRIVATE KEY-----\n" + pem + b"-----END RSA PRIVATE KEY-----\n"
    )
    process = subprocess.Popen(
        [*COMMAND, "inspect", "key.pem"], stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while process.poll() is None and not children.read_text().strip():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (1, "handfast: interrupted\n")


# inspect


def request(key: object, common_name: str) -> bytes:
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attribute = x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name, _validate=False)
    subject = x509.Name([attribute])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return made.sign(key, algorithm).public_bytes(serialization.Encoding.PEM)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "common_name"),
    [
        (ed25519.Ed25519PrivateKey.generate(), "orders"),
        (ec.generate_private_key(ec.SECP521R1()), "orders"),
        (rsa.generate_private_key(65537, 1024), "orders"),
        (generate_key(), "o" * 65),
        (generate_key(), "o" * 5000),
    ],
)
def test_a_request_that_handfast_refuses_is_shown_with_the_reason(
    capsys: Capture, tmp_path: Path, key: object, common_name: str
) -> None:
    (tmp_path / "request.csr").write_bytes(request(key, common_name))
    (tmp_path / "key.pem").write_bytes(private_key_to_pem(generate_key()))
    code, out, err = said(capsys, "inspect", "request.csr", "key.pem")
    assert (code, err) == (0, "")
    assert "handfast refuses it" in out
    assert "private key (not shown)" in out


def test_a_target_that_can_not_be_shown_does_not_hide_the_others(
    capsys: Capture, tmp_path: Path
) -> None:
    (tmp_path / "key.pem").write_bytes(private_key_to_pem(generate_key()))
    code, out, err = said(capsys, "inspect", "nowhere.pem", "key.pem", "pipe")
    assert code == 1
    assert "private key (not shown)" in out
    assert len(err.splitlines()) == 2


def test_no_warning_of_a_library_reaches_the_user(tmp_path: Path) -> None:
    for size in (65, 5000):
        (tmp_path / "request.csr").write_bytes(request(generate_key(), "o" * size))
        done = subprocess.run(
            [*COMMAND, "inspect", "request.csr"], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
