"""The command line: what it does, what it says, and how it fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from pki.authority import Authority
from pki.cli.app import run
from pki.clock import system_clock
from pki.files import load_credential
from pki.keys import generate_key, private_key_to_pem
from pki.version import __version__
from tests.support import Hierarchy, request_for

Capture = pytest.CaptureFixture[str]
POLICY = Path(__file__).resolve().parents[3] / "services" / "policy.toml"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "certs"


@pytest.fixture
def ca(state: Path) -> Path:
    assert run(["ca", "init", "--trust-domain", "shop.internal", "--permit-dns", "localhost"]) == 0
    return state / "ca"


def json_of(capsys: Capture, *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    code = run([*arguments, "--json"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["schema"] == 1
    return {**found, "code": code}


def said(capsys: Capture, *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = run(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_first_steps_say_what_they_did_and_what_comes_next(capsys: Capture) -> None:
    code, out, _ = said(capsys, "ca", "init", "--trust-domain", "shop.internal")
    assert code == 0
    assert "Next: handfast issue NAME" in out
    assert "Take the root's key away" in out
    code, out, _ = said(capsys, "issue", "orders")
    assert code == 0
    assert "orders.shop.internal" in out
    assert "certs/orders" in out
    code, out, _ = said(capsys, "verify", "certs/orders", "--as", "server", "--name", "orders")
    assert code == 0
    assert "Accepted as a server" in out


def test_json_has_one_schema_for_every_command(ca: Path, capsys: Capture) -> None:
    issued = json_of(capsys, "issue", "prod/orders", "--ttl", "30m", "--dns", "localhost")
    assert issued["dns"] == ["orders.prod.shop.internal", "localhost"]
    assert issued["files"] == ["bundle.pem", "chain.pem", "crl.pem", "key.pem"]
    folder = str(issued["directory"])
    listed = json_of(capsys, "list")
    assert [item["serial"] for item in listed["certificates"]] == [issued["serial"]]
    assert json_of(capsys, "list", "--expiring", "10m")["certificates"] == []
    assert len(json_of(capsys, "list", "--expiring", "1h")["certificates"]) == 1
    assert len(json_of(capsys, "list", "--issuers")["issuers"]) == 2
    verified = json_of(capsys, "verify", folder, "--as", "client")
    assert verified["result"] == "SUCCESS"
    kinds = [item["kind"] for item in json_of(capsys, "inspect", folder)["objects"]]
    assert kinds[:3] == ["private key (not shown)", "certificate", "CA certificate"]
    check = json_of(capsys, "renew", folder, "--check")
    assert (check["code"], check["due"]) == (1, False)
    assert json_of(capsys, "renew", folder)["renewed"] is False
    renewed = json_of(capsys, "renew", folder, "--force")
    assert renewed["renewed"] is True
    assert renewed["serial"] != issued["serial"]
    revoked = json_of(capsys, "revoke", folder, "--reason", "key-compromise")
    assert [item["serial"] for item in revoked["revoked"]] == [issued["serial"], renewed["serial"]]
    assert revoked["updated"] == [folder]
    assert json_of(capsys, "crl", "--force")["signed"] == 1
    rotated = json_of(capsys, "ca", "rotate")
    assert rotated["status"] == "active"
    assert json_of(capsys, "ca", "distrust", rotated["issuing_ca"])["needs_rotation"] is True
    assert json_of(capsys, "version")["version"] == __version__
    assert json_of(capsys, "policy", "check", str(POLICY))["roles"] == 8


def test_a_revoked_credential_is_refused_with_one_line(ca: Path, capsys: Capture) -> None:
    run(["issue", "orders"])
    assert said(capsys, "verify", "certs/orders", "--as", "server")[0] == 0
    code, out, _ = said(capsys, "revoke", "certs/orders")
    assert code == 0
    assert "brought to 1 credential directory here" in out
    code, out, err = said(capsys, "verify", "certs/orders", "--as", "server")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "revoked" in err
    assert said(capsys, "renew", "certs/orders", "--force")[0] == 1


def test_tables_are_for_people(ca: Path, capsys: Capture) -> None:
    run(["issue", "orders"])
    assert "spiffe://shop.internal/orders" in said(capsys, "list")[1]
    assert "issuing" in said(capsys, "list", "--issuers")[1]
    out = said(capsys, "inspect", "certs/orders")[1]
    assert "private key (not shown)" in out
    secret = (Path("certs/orders/key.pem").read_text().splitlines())[1]
    assert secret not in out


def test_every_kind_of_object_is_inspected(ca: Path, capsys: Capture, tmp_path: Path) -> None:
    h = Hierarchy()
    key = generate_key()
    request = request_for(key, [x509.DNSName("a.test")])
    der = serialization.Encoding.DER
    files = {
        "leaf.der": h.leaf().public_bytes(der),
        "list.der": h.crls().crls[next(iter(h.crls().crls))].der,
        "request.der": request.public_bytes(der),
        "request.pem": request.public_bytes(serialization.Encoding.PEM),
        "secret.pem": private_key_to_pem(key, b"open"),
    }
    for file, data in files.items():
        (tmp_path / file).write_bytes(data)
        code, out, _ = said(capsys, "inspect", file)
        assert code == 0, file
        assert file in out
    (tmp_path / "odd.pem").write_bytes(b"-----BEGIN ODD-----\nAAAA\n-----END ODD-----\n")
    (tmp_path / "odd.der").write_bytes(b"\x30\x03\x02\x01\x05")
    (tmp_path / "empty").write_bytes(b"")
    for file in ("odd.pem", "odd.der", "empty", "none"):
        code, _, err = said(capsys, "inspect", file)
        assert code == 1
        assert err.count("\n") == 1


def test_a_certificate_with_hostile_names_is_shown_escaped(tmp_path: Path, capsys: Capture) -> None:
    h = Hierarchy()
    from tests.support import name, sign_unchecked  # noqa: PLC0415

    leaf = sign_unchecked(h, subject=name("or\x1b[31mders\n"))
    (tmp_path / "leaf.pem").write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    code, out, _ = said(capsys, "inspect", "leaf.pem")
    assert code == 0
    assert "\x1b" not in out
    assert "refused" in out


def test_a_request_is_answered_without_a_key(ca: Path, capsys: Capture, tmp_path: Path) -> None:
    key = generate_key()
    (tmp_path / "web.csr").write_bytes(request_for(key).public_bytes(serialization.Encoding.PEM))
    code, out, _ = said(capsys, "issue", "web", "--csr", "web.csr", "--out", "answer")
    assert code == 0
    assert "key.pem" not in out
    assert said(capsys, "verify", "answer/chain.pem", "--as", "server", "--name", "web")[0] == 0
    assert said(capsys, "issue", "web", "--csr", "none.csr")[0] == 1


@pytest.mark.parametrize(
    ("layout", "key"), [("kubernetes", "tls.key"), ("spiffe-helper", "svid_key.pem")]
)
def test_other_layouts_are_written_and_renewed(
    ca: Path, capsys: Capture, layout: str, key: str
) -> None:
    assert said(capsys, "issue", "orders", "--layout", layout, "--key-type", "ecdsa-p384")[0] == 0
    assert Path("certs/orders", key).exists()
    assert said(capsys, "renew", "certs/orders", "--force")[0] == 0
    renewed = load_credential(Path("certs/orders")).credential
    assert renewed.key.key_size == 384  # type: ignore[union-attr]


def test_renewal_keeps_the_kind_of_key(ca: Path, capsys: Capture) -> None:
    for kind, bits in (("rsa-3072", 3072), ("ecdsa-p256", 256)):
        run(["issue", f"w{bits}", "--key-type", kind])
        assert said(capsys, "renew", f"certs/w{bits}", "--force", "--ttl", "2h")[0] == 0
        key = load_credential(Path(f"certs/w{bits}")).credential.key
        assert key.key_size == bits  # type: ignore[union-attr]


def test_a_renewal_that_was_cut_off_goes_on_with_its_key(ca: Path, capsys: Capture) -> None:
    run(["issue", "orders"])
    key = generate_key()
    Path("certs/orders/key.pem.next").write_bytes(private_key_to_pem(key))
    Path("certs/orders/key.pem.next").chmod(0o600)
    with Authority.open(ca) as authority:
        old = load_credential(Path("certs/orders")).credential.leaf
        already = authority.renew(old, key=key)
    renewed = json_of(capsys, "renew", "certs/orders", "--force")
    assert renewed["serial"] == f"{already.leaf.serial_number:x}"
    assert not Path("certs/orders/key.pem.next").exists()
    assert said(capsys, "verify", "certs/orders", "--as", "client")[0] == 0


def test_check_says_yes_when_lists_or_time_ask_for_it(ca: Path, capsys: Capture) -> None:
    run(["issue", "orders"])
    run(["issue", "payments"])
    assert said(capsys, "renew", "certs/orders", "--check")[0] == 1
    with Authority.open(ca) as authority:
        authority.revoke(load_credential(Path("certs/payments")).credential.leaf.serial_number)
    code, out, _ = said(capsys, "renew", "certs/orders", "--check")
    assert code == 0
    assert "lists are not the newest" in out
    assert said(capsys, "renew", "certs/orders")[0] == 0
    assert said(capsys, "renew", "certs/orders", "--check")[0] == 1
    with Authority.open(ca, clock=system_clock) as authority:
        authority.issue("late").save("certs/late")
    Path("certs/late/crl.pem").unlink()
    assert said(capsys, "renew", "certs/late", "--check")[0] == 0


def test_check_that_could_not_tell_says_neither_yes_nor_no(ca: Path, capsys: Capture) -> None:
    code, _, err = said(capsys, "renew", "certs/nobody", "--check")
    assert code == 3
    assert "could not tell" in err
    with Authority.create("other/ca", "shop.internal") as other:
        other.issue("orders").save("stranger")
    assert said(capsys, "renew", "stranger", "--check")[0] == 3
    assert said(capsys, "renew", "stranger")[0] == 1


def test_verify_takes_roots_and_lists_from_where_it_is_told(ca: Path, capsys: Capture) -> None:
    run(["issue", "orders"])
    run(["issue", "proxy", "--profile", "server", "--dns", "localhost"])
    chain = "certs/orders/chain.pem"
    assert said(capsys, "verify", chain, "--as", "server")[0] == 0
    assert (
        said(capsys, "verify", "certs/proxy", "--as", "server", "--name", "elsewhere.test")[0] == 1
    )
    assert (
        said(capsys, "verify", "certs/proxy", "--as", "server", "--name", "proxy.shop.internal")[0]
        == 0
    )
    assert said(capsys, "verify", "certs/proxy", "--as", "client")[0] == 1
    assert said(capsys, "verify", chain, "--as", "server", "--name", "10.0.0.1")[0] == 1
    assert (
        said(capsys, "verify", chain, "--as", "server", "--name", "spiffe://shop.internal/orders")[
            0
        ]
        == 0
    )
    with Authority.create("other/ca", "shop.internal"):
        pass
    other = ["--bundle", "other/ca/bundle.pem", "--crl", "other/ca/crl.pem"]
    for target in (chain, "certs/orders"):
        assert said(capsys, "verify", target, "--as", "server", *other)[0] == 1
    assert said(capsys, "verify", "nowhere.pem", "--as", "server")[0] == 3


def test_a_malformed_certificate_is_refused_and_not_unknown(
    tmp_path: Path, ca: Path, capsys: Capture
) -> None:
    (tmp_path / "x.pem").write_bytes(
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"
    )
    assert said(capsys, "verify", "x.pem", "--as", "server")[0] == 1


def test_policy_explain_answers_yes_no_or_could_not_tell(capsys: Capture) -> None:
    ask = ["policy", "explain", "--policy", str(POLICY), "--peer"]
    code, out, _ = said(capsys, *ask, "gateway", "--method", "/shop.v1.Orders/PlaceOrder")
    assert code == 0
    assert "lets gateway call" in out
    full = "spiffe://shop.internal/audit"
    code, out, _ = said(capsys, *ask, full, "--method", "/shop.v1.Orders/PlaceOrder")
    assert code == 1
    assert "METHOD_NOT_GRANTED" in out
    assert said(capsys, *ask, "a//b", "--method", "/a.B/C")[0] == 2
    assert said(capsys, "policy", "explain", "--peer", "a", "--method", "/a.B/C")[0] == 3


def test_a_policy_that_is_not_enforced_is_shown_by_every_command_that_reads_it(
    tmp_path: Path, capsys: Capture
) -> None:
    tried = tmp_path / "tried.toml"
    tried.write_text('enforce = "audit"\n' + POLICY.read_text())
    code, out, _ = said(capsys, "policy", "check", str(tried))
    assert code == 0
    assert "NOT ENFORCED for every method" in out
    assert json_of(capsys, "policy", "check", str(tried))["enforce"] == "audit"
    assert "NOT ENFORCED" not in said(capsys, "policy", "check", str(POLICY))[1]
    ask = ["policy", "explain", "--policy", str(tried), "--peer", "audit"]
    ask += ["--method", "/shop.v1.Orders/PlaceOrder"]
    code, out, _ = said(capsys, *ask)
    assert code == 1
    assert "this is not enforced" in out
    found = json_of(capsys, *ask)
    assert (found["allowed"], found["audited"]) == (False, True)


def test_a_bad_policy_costs_one_line_with_its_place(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "bad.toml").write_text('trust_domain = "shop.internal"\nx = 1\n[roles]\n')
    code, _, err = said(capsys, "policy", "check", "bad.toml")
    assert code == 1
    assert "bad.toml:2:" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["nope"],
        ["issue"],
        ["issue", "orders", "--ttl", "soon"],
        ["issue", "orders", "--dns", "*.x"],
        ["issue", "orders", "--ip", "x"],
        ["issue", "orders", "--layout", "x"],
        ["issue", "orders", "--profile", "x"],
        ["issue", "orders", "--key-type", "x"],
        ["revoke", "1", "--reason", "x"],
        ["verify", "x", "--as", "peer"],
        ["ca", "rotate", "--prepare", "--activate"],
        ["ca", "init", "--trust-domain", "a.test", "--permit-ip", "10.0.0.1/8"],
        ["ca", "init"],
        ["list", "--expiring", "x"],
    ],
)
def test_wrong_usage_costs_one_line_and_exit_code_2(
    ca: Path, capsys: Capture, arguments: list[str]
) -> None:
    code, out, err = said(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("handfast: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["issue", "handfast/x"],
        ["issue", "../x"],
        ["issue", "a\nb"],
        ["issue", "orders", "--dns", "payments.shop.internal"],
        ["issue", "orders", "--ttl", "0s"],
        ["issue", "payments", "--out", "certs/orders"],
        ["issue", "orders", "--layout", "kubernetes"],
        ["revoke", "abc"],
        ["renew", "certs/none"],
        ["ca", "init", "--trust-domain", "shop.internal"],
        ["ca", "distrust", "zz"],
        ["list", "--dir", "elsewhere"],
    ],
)
def test_what_is_refused_costs_one_line_and_exit_code_1(
    ca: Path, capsys: Capture, arguments: list[str]
) -> None:
    run(["issue", "orders"])
    code, _, err = said(capsys, *arguments)
    assert code == 1
    assert err.startswith("handfast: ")
    assert err.count("\n") == 1


def test_a_rotation_in_two_steps(ca: Path, capsys: Capture) -> None:
    run(["issue", "orders"])
    code, out, _ = said(capsys, "ca", "rotate", "--prepare")
    assert code == 0
    assert "handfast ca rotate --activate" in out
    assert said(capsys, "ca", "rotate")[0] == 1
    assert said(capsys, "ca", "rotate", "--activate")[0] == 0
    code, out, _ = said(
        capsys, "ca", "distrust", json_of(capsys, "list", "--issuers")["issuers"][1]["key_id"]
    )
    assert code == 0
    assert "issue new certificates for all that it signed" in out


@pytest.mark.parametrize(("ttl", "shown"), [("48h", "48h"), ("30d", "30d"), ("86401s", "86401s")])
def test_a_lifetime_that_can_not_be_had_is_an_error_with_the_limit(
    ca: Path, capsys: Capture, ttl: str, shown: str
) -> None:
    code, out, err = said(capsys, "issue", "web", "--ttl", ttl)
    assert (code, out) == (1, "")
    assert f"lifetime {shown} is longer than 24h" in err
    assert not Path("certs/web").exists()
    assert said(capsys, "issue", "web")[0] == 0
    code, out, err = said(capsys, "renew", "certs/web", "--force", "--ttl", ttl)
    assert (code, out) == (1, "")
    assert "24h" in err


def test_the_cas_keys_may_have_a_passphrase(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "passphrase"
    monkeypatch.setenv("HANDFAST_CA_PASSPHRASE_FILE", str(secret))
    assert said(capsys, "ca", "init", "--trust-domain", "shop.internal")[0] == 1
    secret.write_text("\n")
    assert said(capsys, "ca", "init", "--trust-domain", "shop.internal")[0] == 1
    secret.write_text("open sesame\n")
    assert said(capsys, "ca", "init", "--trust-domain", "shop.internal")[0] == 0
    assert said(capsys, "issue", "orders")[0] == 0
    secret.write_text("wrong\n")
    assert said(capsys, "issue", "orders")[0] == 1


def test_help_and_no_arguments_show_the_way(capsys: Capture) -> None:
    code, out, _ = said(capsys, "--help")
    assert code == 0
    assert "handfast ca init --trust-domain shop.internal" in out
    assert said(capsys)[0] == 2
    for command in ("issue", "renew", "revoke", "crl", "list", "inspect", "verify"):
        assert "Example: handfast" in said(capsys, command, "--help")[1]
    assert "Example: handfast" in said(capsys, "ca", "init", "--help")[1]


def test_the_installed_command_works_in_a_pipe_that_closes(ca: Path, state: Path) -> None:
    handfast = Path(sys.executable).with_name("handfast")
    for number in range(3):
        run(["issue", f"w{number}"])
    with subprocess.Popen(
        [handfast, "list", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
    done = subprocess.run(
        [handfast, "version"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HANDFAST_DIR": "x"},
    )
    assert done.stdout == f"handfast {__version__}\n"


def test_shell_completion_is_offered() -> None:
    handfast = Path(sys.executable).with_name("handfast")
    done = subprocess.run(
        [handfast],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "_HANDFAST_COMPLETE": "complete_bash",
            "COMP_WORDS": "handfast re",
            "COMP_CWORD": "1",
        },
    )
    assert set(done.stdout.split()) == {"registration", "renew", "revoke"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["inspect"], 1),
        (["watch"], 1),
        (["verify", "--as", "server"], 3),
        (["doctor", "localhost:1", "--credential"], 3),
        (["doctor", "localhost:1", "--policy"], 3),
        (["policy", "lint", "--proto"], 3),
        (["policy", "test"], 3),
    ],
    ids=lambda item: " ".join(item) if isinstance(item, list) else str(item),
)
def test_a_path_that_no_system_takes_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], expected: int
) -> None:
    code, _, error = said(capsys, *arguments, "a" * 5000)
    assert code == expected
    assert error.startswith("handfast: ")
    assert error.count("\n") == 1
