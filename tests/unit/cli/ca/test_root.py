"""``handfast ca root`` and ``ca rotate status``: a root is replaced by commands and two files."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.cli.app import run
from pki.clock import system_clock
from pki.x509 import TrustBundle
from tests.command import Capture, make_state, run_command, run_json

ROOTS = Path("roots")
REQUEST = "certs/root-request.json"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the state folder of a CA whose root's key lies elsewhere."""
    monkeypatch.chdir(tmp_path)
    make_state(Path("certs"), "orders")
    ROOTS.mkdir(mode=0o700)
    shutil.move("certs/ca/root.key.pem", ROOTS)
    return tmp_path / "certs"


def new_root(capsys: Capture) -> str:
    found = run_json(
        capsys, "ca", "root", "new", "--trust-domain", "shop.internal", "--keys", "roots"
    )
    assert Path(str(found["key"])).stat().st_mode & 0o777 == 0o600
    return str(found["certificate"])


def sign_and_import(capsys: Capture, *more: str) -> dict[str, object]:
    code, out, err = run_command(
        capsys, "ca", "root", "sign", REQUEST, "--keys", "roots", "--out", "answer.json"
    )
    assert (code, err) == (0, "")
    assert "handfast ca root import" in out
    return run_json(capsys, "ca", "root", "import", "answer.json", *more)


def roots_in(folder: str) -> int:
    return len(TrustBundle.read(Path(folder, "bundle.pem").read_bytes()).all_roots())


def test_a_root_is_replaced_by_commands_while_its_key_is_elsewhere(
    state: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = new_root(capsys)
    found = run_json(capsys, "ca", "root", "prepare", "--root", certificate)
    assert found["status"] == "requested"
    assert roots_in("certs/orders") == 1
    assert run_json(capsys, "ca", "rotate", "status")["pending"] is not None
    code, _, err = run_command(capsys, "ca", "root", "activate")
    assert (code, "handfast ca root import" in err) == (1, True)
    found = sign_and_import(capsys)
    assert (found["bundle"], found["updated"]) == (2, ["certs/orders"])
    assert roots_in("certs/orders") == 2
    status = run_json(capsys, "ca", "rotate", "status")
    assert [item["state"] for item in status["steps"]] == ["done", "done", "open", "waiting"]
    (held,) = status["certificates"]
    assert (held["spiffe_id"], held["bundle"]) == ("spiffe://shop.internal/orders", 2)
    assert held["reported_at"] is not None
    found = run_json(capsys, "ca", "root", "activate")
    assert found["stranded"] == []
    assert found["withdraw_free_at"] == held["not_after"]
    assert run(["renew", "certs/orders", "--force"]) == 0
    code, out, _ = run_command(capsys, "ca", "root", "withdraw")
    assert (code, "1 certificate hangs on the root still" in out) == (0, True)
    code, _, err = run_command(
        capsys, "ca", "root", "sign", REQUEST, "--keys", "roots", "--out", "answer.json"
    )
    code, _, err = run_command(capsys, "ca", "root", "import", "answer.json")
    assert (code, "would strand 1" in err) == (1, True)
    later = system_clock() + timedelta(minutes=61)
    with Authority.open(state / "ca", clock=lambda: later) as ca:
        ca.import_answers([Path("answer.json").read_bytes()])
    assert run(["crl"]) == 0
    assert roots_in("certs/orders") == 1
    assert run(["verify", "certs/orders", "--as", "server"]) == 0
    assert [item["status"] for item in run_json(capsys, "list", "--issuers")["issuers"]] == [
        "withdrawn",
        "withdrawn",
        "active",
        "active",
    ]


def test_with_the_keys_on_the_cas_machine_each_step_is_done_at_once(capsys: Capture) -> None:
    shutil.move("roots/root.key.pem", "certs/ca")
    found = run_json(capsys, "ca", "root", "prepare")
    assert (found["status"], found["bundle"]) == ("prepared", 2)
    assert run_json(capsys, "ca", "root", "distribute")["silent"] == []
    assert run(["ca", "root", "activate"]) == 0
    found = run_json(capsys, "ca", "root", "withdraw", "--force")
    assert found["status"] == "withdrawn"
    assert len(found["stranded"]) == 1
    (event,) = run_json(capsys, "ca", "status")["events"]
    assert event["kind"] == "stranded"
    assert "spiffe://shop.internal/orders" in event["detail"]


def test_a_directory_that_missed_a_whole_rotation_gets_trust_and_a_new_certificate(
    state: Path, capsys: Capture
) -> None:
    shutil.move("roots/root.key.pem", "certs/ca")
    assert run(["issue", "audit"]) == 0
    shutil.move("certs/orders", "elsewhere")
    shutil.move("certs/audit", "asleep")
    for step in (["prepare"], ["activate", "--force"], ["withdraw", "--force"]):
        assert run(["ca", "root", *step]) == 0
    shutil.move("elsewhere", "certs/orders")
    shutil.move("asleep", "certs/audit")
    Path("certs/audit/chain.pem").unlink()
    # The ledger knows the certificate, by its leaf or by its key, so each way leads back.
    assert set(run_json(capsys, "crl")["updated"]) == {"certs/orders", "certs/audit"}
    assert run(["verify", "certs/orders", "--as", "server"]) == 1
    assert run(["issue", "orders"]) == 0
    assert run(["renew", "certs/audit", "--force"]) == 0
    for name in ("orders", "audit"):
        assert run(["verify", f"certs/{name}", "--as", "server"]) == 0


def test_a_directory_that_was_asleep_through_a_rotation_is_overwritten_by_its_own_ca_alone(
    state: Path, capsys: Capture
) -> None:
    shutil.move("roots/root.key.pem", "certs/ca")
    shutil.copytree("certs/orders", "asleep")
    for step in (["prepare"], ["activate", "--force"], ["withdraw", "--force"]):
        assert run(["ca", "root", *step]) == 0
    assert run(["issue", "orders", "--out", "asleep"]) == 0
    assert run(["ca", "init", "--trust-domain", "shop.internal", "--dir", "another"]) == 0
    code, _, err = run_command(capsys, "issue", "orders", "--out", "asleep", "--dir", "another")
    assert (code, "another CA" in err) == (1, True)


def test_a_step_that_would_strand_a_workload_is_refused_and_names_it(capsys: Capture) -> None:
    """Its certificate was issued here and taken elsewhere, and nobody knows what it trusts."""
    shutil.move("roots/root.key.pem", "certs/ca")
    shutil.move("certs/orders", "elsewhere")
    assert run(["ca", "root", "prepare"]) == 0
    code, _, err = run_command(capsys, "ca", "root", "activate")
    assert code == 1
    assert "spiffe://shop.internal/orders" in err
    assert "Where the workload is gone: handfast revoke NAME" in err
    found = run_json(capsys, "ca", "root", "distribute")
    assert [item["spiffe_id"] for item in found["silent"]] == ["spiffe://shop.internal/orders"]
    assert found["free_at"] == found["silent"][0]["not_after"]
    code, out, _ = run_command(capsys, "ca", "rotate", "status")
    assert (code, "1 certificate hinders the next step" in out) == (0, True)
    assert "trust bundle 2 with 2 roots" in out
    # The row and the line below it count the same.
    assert out.count("silent") == 2
    assert "is with 0 of 1 holder of certificates" in out
    assert "1 is silent" in out
    found = run_json(capsys, "ca", "root", "activate", "--force")
    assert len(found["stranded"]) == 1


def test_a_renewal_elsewhere_brings_the_bundle_and_the_ca_knows_it(capsys: Capture) -> None:
    shutil.move("roots/root.key.pem", "certs/ca")
    shutil.move("certs/orders", "elsewhere")
    assert run(["ca", "root", "prepare"]) == 0
    assert run(["ca", "root", "activate"]) == 1
    # Not due, so only the trust bundle and the lists are brought up to date.
    assert run_json(capsys, "renew", "elsewhere")["renewed"] is False
    assert run(["ca", "root", "activate"]) == 0


def test_a_directory_that_did_not_get_the_bundle_does_not_count_as_reported(
    capsys: Capture,
) -> None:
    shutil.move("roots/root.key.pem", "certs/ca")
    bundle = Path("certs/orders/bundle.pem")
    bundle.unlink()
    bundle.mkdir()
    assert run_command(capsys, "ca", "root", "prepare")[0] == 5
    assert run_command(capsys, "ca", "root", "activate")[0] == 1
    bundle.rmdir()
    assert run_command(capsys, "ca", "root", "activate")[0] == 0


def test_a_new_issuing_ca_is_prepared_by_request(capsys: Capture) -> None:
    found = run_json(capsys, "ca", "rotate", "--prepare", "--out", "wish.json")
    assert (found["status"], found["request"]) == ("requested", "wish.json")
    code, out, _ = run_command(
        capsys, "ca", "root", "sign", "wish.json", "--keys", "roots", "--show"
    )
    assert (code, "may certify names of shop.internal" in out) == (0, True)
    shutil.move("wish.json", REQUEST)
    assert sign_and_import(capsys)["purpose"] == "issuing-ca"
    assert run_json(capsys, "ca", "rotate", "--activate")["status"] == "active"
    assert run(["renew", "certs/orders", "--force"]) == 0


def test_the_roots_crls_are_signed_by_request(capsys: Capture) -> None:
    assert run_json(capsys, "ca", "root", "crl")["status"] == "requested"
    assert sign_and_import(capsys)["purpose"] == "crls"
    shutil.move("roots/root.key.pem", "certs/ca")
    assert run_json(capsys, "ca", "root", "crl")["status"] == "signed"


def test_a_prepared_issuing_ca_is_not_activated_while_a_directory_lacks_its_list(
    capsys: Capture,
) -> None:
    shutil.move("roots/root.key.pem", "certs/ca")
    assert run(["ca", "rotate", "--prepare"]) == 0
    crl = Path("certs/orders/crl.pem")
    crl.unlink()
    crl.mkdir()
    code, _, err = run_command(capsys, "ca", "rotate", "--activate")
    assert (code, "The issuing CA is not activated" in err) == (5, True)
    issuers = run_json(capsys, "list", "--issuers")["issuers"]
    assert [item["status"] for item in issuers] == ["active", "active", "prepared"]
    assert run_command(capsys, "ca", "rotate", "--activate", "--force")[0] == 5
    issuers = run_json(capsys, "list", "--issuers")["issuers"]
    assert [item["status"] for item in issuers] == ["active", "superseded", "active"]


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (["sign", "nowhere.json", "--keys", "roots", "--out", "a"], 1, "is not there"),
        (["sign", "certs/orders/key.pem", "--keys", "roots", "--out", "a"], 1, "request"),
        (["sign", REQUEST, "--keys", "nowhere", "--out", "a"], 1, "can't be listed"),
        (["sign", REQUEST, "--keys", "certs/orders", "--out", "a"], 1, "holds no key of a root"),
        (["sign", REQUEST, "--keys", "other", "--out", "a"], 1, "none of the keys here"),
        (["sign", REQUEST, "--keys", "roots"], 2, "give either --show or --out"),
        (["sign", REQUEST, "--keys", "roots", "--show", "--out", "a"], 2, "give either"),
        (["import", "nowhere.json"], 1, "is not there"),
        (["import", REQUEST], 1, "ca root sign wrote"),
        (["prepare", "--root", "nowhere.pem"], 1, "handfast ca root new"),
        (["prepare", "--root", "certs/orders/chain.pem"], 1, "certificate"),
        (["prepare"], 1, "the root's key is not at"),
        (
            ["new", "--trust-domain", "shop.internal", "--keys", "x", "--lifetime", "365d"],
            1,
            "sixth",
        ),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(
    capsys: Capture, arguments: list[str], code: int, why: str
) -> None:
    assert run(["ca", "rotate", "--prepare"]) == 0
    other = ["ca", "root", "new", "--trust-domain", "shop.internal", "--keys", "other"]
    assert run(other) == 0
    found, _, err = run_command(capsys, "ca", "root", *arguments)
    assert (found, err.count("\n")) == (code, 1)
    assert why in err
    assert not Path("a").exists()


def test_a_key_that_others_may_read_signs_nothing(capsys: Capture) -> None:
    assert run(["ca", "rotate", "--prepare"]) == 0
    Path("roots/root.key.pem").chmod(0o644)
    code, _, err = run_command(
        capsys, "ca", "root", "sign", REQUEST, "--keys", "roots", "--out", "answer.json"
    )
    assert (code, "others may read" in err) == (1, True)
    assert not Path("answer.json").exists()


def test_a_request_that_was_changed_on_its_way_gives_an_answer_that_is_refused(
    capsys: Capture,
) -> None:
    assert run(["ca", "rotate", "--prepare"]) == 0
    request = json.loads(Path(REQUEST).read_bytes())
    request["issuing"]["dns"] = ["evil.test"]
    forged = json.dumps(request, sort_keys=True, separators=(",", ":"))
    Path(REQUEST).write_text(forged)
    code, out, _ = run_command(
        capsys, "ca", "root", "sign", REQUEST, "--keys", "roots", "--out", "answer.json"
    )
    # Whoever is beside the roots sees it, and the CA does not take it.
    assert (code, "evil.test" in out) == (0, True)
    code, _, err = run_command(capsys, "ca", "root", "import", "answer.json")
    assert (code, "the answer is to request" in err) == (1, True)


def test_options_before_status_are_refused_instead_of_ignored(capsys: Capture) -> None:
    code, _, err = run_command(capsys, "ca", "rotate", "--dir", "elsewhere", "status")
    assert code == 2
    assert "handfast ca rotate status --dir elsewhere" in err
    assert run_command(capsys, "ca", "rotate", "--force")[0] == 2
    assert run_command(capsys, "ca", "rotate", "--prepare", "--activate")[0] == 2


def test_status_says_when_each_step_is_due(capsys: Capture) -> None:
    code, out, _ = run_command(capsys, "ca", "status")
    assert code == 0
    assert out.count("is prepared from") == 2
    root, issuing = run_json(capsys, "ca", "status")["due"]
    assert (root["kind"], issuing["kind"], issuing["due_now"]) == ("root", "issuing", None)


def test_distrust_activates_the_prepared_issuing_ca_and_says_so(capsys: Capture) -> None:
    assert run(["ca", "rotate", "--prepare"]) == 0
    sign_and_import(capsys)
    issuers = run_json(capsys, "list", "--issuers")["issuers"]
    found = run_json(capsys, "ca", "distrust", issuers[1]["key_id"])
    assert (found["activated"], found["needs_rotation"]) == (issuers[2]["key_id"], False)
    assert run(["issue", "payments"]) == 0
    found = run_json(capsys, "ca", "distrust", issuers[2]["key_id"])
    assert (found["activated"], found["needs_rotation"]) == (None, True)


def test_status_shows_what_still_hangs_on_an_issuing_ca_that_signs_no_more(
    capsys: Capture,
) -> None:
    shutil.move("roots/root.key.pem", "certs/ca")
    assert run_json(capsys, "ca", "rotate", "status")["older_issuing_cas"] == []
    assert run(["ca", "rotate"]) == 0
    status = run_json(capsys, "ca", "rotate", "status")
    (older,) = status["older_issuing_cas"]
    (held,) = status["certificates"]
    assert (older["certificates"], older["last_ends"]) == (1, held["not_after"])
    code, out, _ = run_command(capsys, "ca", "rotate", "status")
    assert (code, f"1 certificate hangs on issuing CA {older['key_id']}" in out) == (0, True)


def test_a_request_that_another_one_replaces_is_told(capsys: Capture) -> None:
    first = run_json(capsys, "ca", "rotate", "--prepare")
    assert (first["status"], first["ended"]) == ("requested", None)
    # Whoever lost it asks again: that is the same one.
    assert run_json(capsys, "ca", "rotate", "--prepare")["ended"] is None
    code, out, _ = run_command(capsys, "ca", "root", "prepare", "--root", new_root(capsys))
    assert code == 0
    digest = str(first["digest"])[:16]
    assert f"The request that waited (issuing-ca {digest}) has ended" in out
    code, out, _ = run_command(capsys, "ca", "root", "crl")
    assert (code, "The request that waited (" in out) == (0, True)
    code, out, _ = run_command(capsys, "ca", "rotate", "--prepare")
    assert (code, "The request that waited (" in out) == (0, True)
