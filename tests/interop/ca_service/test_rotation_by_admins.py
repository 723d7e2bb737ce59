"""Issuing CAs and roots are replaced over the network, and the roots' keys never come there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pki._proto.handfast.ca.v1 import rotation_pb2
from pki.authority import Authority
from pki.ca_client import CaIdentity
from pki.cli.app import run
from pki.errors import WrongStepError
from pki.proofs import EnrollmentToken
from tests.ca_service import POLICY, Served, served_ca
from tests.command import Capture, run_command, run_json
from tests.interop.asking import refused
from tests.interop.ca_service.rotating_admin import (
    OPS,
    Admin,
    Roots,
    admin,
    details,
    entries,
    following_admin,
)
from tests.interop.fleet import fleet
from tests.interop.shop import POLICY as SHOP_POLICY
from tests.interop.shop import eventually, get_stock


@pytest.fixture
def roots(ca: Served, tmp_path: Path) -> Roots:
    return Roots(ca, tmp_path / "roots")


def sleeper(ca: Served, folder: Path) -> str:
    """Enroll a workload that hears nothing afterwards; return its certificate's number."""
    token = EnrollmentToken.parse(ca.token("sleeper"))
    with CaIdentity(folder / "sleeper", token=token) as it:
        return f"{it.credential.leaf.serial_number:x}"


def revoked_for(identity: CaIdentity) -> set[int]:
    """Return what a follower knows to be revoked."""
    crls = identity.credential.crls
    assert crls is not None
    return {serial for crl in crls.crls.values() for serial in crl.revoked}


def test_an_admin_replaces_the_root_by_commands_while_workloads_call_each_other(
    ca: Served,
    roots: Roots,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("server", "caller", "ops"):
        ca.register(name, lifetime=timedelta(seconds=10))
    policy = tmp_path / "policy.toml"
    policy.write_text(SHOP_POLICY)
    failures: list[Exception] = []
    calls = 0
    ending = threading.Event()
    with (
        following_admin(ca, tmp_path) as ops,
        fleet(ca, tmp_path, policy) as (server, caller, channel),
    ):

        def sign_and_import(*more: str) -> tuple[int, str, str]:
            where = ("--keys", roots.folder, "--out", tmp_path / "answer.json")
            signed = run(["ca", "root", "sign", "root-request.json", *map(str, where)])
            assert signed == 0
            return ops.command(capsys, "ca", "root", "import", "answer.json", *more)

        def soon(*arguments: str) -> bool:
            def is_done() -> bool:
                code, _, err = ops.command(capsys, *arguments)
                assert code in {0, 1}
                assert code == 0 or "would strand" in err
                return code == 0

            return eventually(is_done, 60)

        def call() -> None:
            nonlocal calls
            while not ending.wait(0.005):
                try:
                    get_stock(channel)
                    calls += 1
                except Exception as error:
                    failures.append(error)

        load = threading.Thread(target=call)
        load.start()
        try:
            new = ("new", "--trust-domain", "shop.internal", "--keys", str(roots.folder))
            assert run(["ca", "root", *new]) == 0
            (certificate,) = roots.folder.glob("root-*[0-9a-f].pem")
            found = ops.json(capsys, "ca", "root", "prepare", "--root", certificate)
            assert (found["code"], found["status"]) == (0, "requested")
            assert found["request"] == "root-request.json"
            assert (
                ops.json(capsys, "ca", "rotate", "status")["pending"]["request"]
                == (found["digest"])
            )
            # Exported once more, it is the same.
            first = Path("root-request.json").read_bytes()
            again = ops.json(capsys, "ca", "root", "request", "--out", tmp_path / "again.json")
            assert again["digest"] == found["digest"]
            assert Path("again.json").read_bytes() == first
            code, out, err = sign_and_import()
            assert (code, err) == (0, "")
            assert "reaches everybody who follows the CA within a second" in out
            for one in (server, caller):
                assert eventually(lambda one=one: len(one.credential.bundle.all_roots()) == 2, 5)  # type: ignore[misc]
            assert soon("ca", "root", "activate")
            assert ops.json(capsys, "ca", "root", "withdraw")["status"] == "requested"
            assert eventually(lambda: sign_and_import()[0] == 0, 60)
            for one in (server, caller):
                assert eventually(lambda one=one: len(one.credential.bundle.all_roots()) == 1, 5)  # type: ignore[misc]
            assert get_stock(channel) > 0
        finally:
            ending.set()
            load.join()
        assert ops.json(capsys, "ca", "rotate", "status")["bundle"] == 3
    assert failures == []
    assert calls > 500
    print(f"{calls} calls, none failed")
    assert not list(ca.authority.path.glob("root*.key.pem"))
    taken = [item for _, item in ca.authority.audit_entries() if item.action in {"withdraw"}]
    assert [item.actor.name for item in taken] == [OPS]
    assert ca.authority.verify_audit_log().findings == ()


EACH_CALL: dict[str, Callable[[Admin], Any]] = {
    "GetRotationStatus": lambda it: it.status(),
    "GetRootRequest": lambda it: it.get_request(),
    "PrepareIssuer": lambda it: it.prepare_issuer(),
    "ActivateIssuer": lambda it: it.activate_issuer(),
    "Distrust": lambda it: it.distrust("a"),
    "PrepareRoot": lambda it: it.prepare_root(b"x"),
    "ImportAnswers": lambda it: it.import_answers(b"x", force=True),
    "ActivateRoot": lambda it: it.activate_root(force=True),
    "WithdrawRoot": lambda it: it.withdraw_root(force=True),
    "RenewRootLists": lambda it: it.renew_root_lists(),
    "AcknowledgeRestoredLog": lambda it: it.acknowledge_restored_log(),
}


def test_a_registrar_and_a_plain_workload_are_refused_each_call(
    ca: Served, roots: Roots, tmp_path: Path
) -> None:
    methods = rotation_pb2.DESCRIPTOR.services_by_name["Rotation"].methods_by_name
    assert set(EACH_CALL) == set(methods)
    before = ca.authority.issuers(), ca.authority.bundles()
    for name, why in (("ci", "METHOD_NOT_GRANTED"), ("orders", "NO_ROLE")):
        with admin(ca, tmp_path, name) as it:
            found = {refused(lambda ask=ask, it=it: ask(it)) for ask in EACH_CALL.values()}
            assert found <= {why, "NO_ROLE"}, found
    assert (ca.authority.issuers(), ca.authority.bundles()) == before


def test_a_policy_that_grants_it_to_a_registrar_makes_no_admin(tmp_path: Path) -> None:
    wider = POLICY.replace(
        '  "/handfast.ca.v1.Authority/CreateToken",',
        '  "/handfast.ca.v1.Authority/CreateToken",\n  "/handfast.ca.v1.Rotation/*",',
    )
    with served_ca(tmp_path, policy=wider) as ca, admin(ca, tmp_path, "ci") as it:
        for ask in EACH_CALL.values():
            assert refused(lambda ask=ask: ask(it)) == "NAME_NOT_PERMITTED"
        assert ca.authority.pending_request() is None
        told = [item for item in entries(ca, "refuse") if item.actor.name.endswith("/ci")]
        assert len(told) == len(EACH_CALL)


def test_a_step_that_would_strand_is_refused_with_names_and_forced_names_and_records_each(
    ca: Served, roots: Roots, tmp_path: Path, capsys: Capture
) -> None:
    with following_admin(ca, tmp_path) as ops:
        serial = sleeper(ca, tmp_path)
        ops.import_answers(roots.sign(ops.prepare_root(roots.new_root())))
        holder = f"spiffe://shop.internal/sleeper (certificate {serial})"
        # As soon as the admin's own identity has reported, the sleeper alone hinders.
        assert eventually(lambda: [step.hindered for step in ops.status().steps] == [0, 1, 1, 0])
        said = details(ops.activate_root)
        assert "would strand 1 holder of" in said
        assert holder in said
        # The command on the folder says the same.
        _, _, err = ops.command(capsys, "ca", "root", "activate")
        with Authority.open(ca.authority.path) as folder, pytest.raises(WrongStepError) as caught:
            folder.activate_root()
        assert str(caught.value) == said
        assert said in err
        (hinders,) = [item for item in ops.status().holders if item.hinders]
        assert (hinders.serial, list(hinders.hinders)) == (serial, ["distribute", "activate"])
        activated = ops.activate_root(force=True)
        assert list(activated.stranded) == [holder]
        (stranded,) = entries(ca, "strand")
        assert (stranded.actor.name, stranded.serial) == (OPS, serial)
        assert [text for _, kind, text in ca.authority.events() if kind == "stranded"] != []
        forced = [item for item in entries(ca, "activate") if "root" in item.details]
        assert forced[-1].details["forced"] == 1
        withdrawn = ops.withdraw_root()
        assert withdrawn.number_of_holders >= 1
        answer = roots.sign(withdrawn.request)
        assert holder in details(lambda: ops.import_answers(answer))
        assert holder in ops.import_answers(answer, force=True).stranded
    refusals = [item for item in entries(ca, "refuse") if item.actor.name == OPS]
    assert {item.details["asked"] for item in refusals} >= {"activate", "root-answer"}


def test_a_leaked_issuing_ca_is_distrusted_by_one_command_without_the_roots_key(
    ca: Served, roots: Roots, tmp_path: Path, capsys: Capture
) -> None:
    with following_admin(ca, tmp_path) as ops:
        ops.import_answers(roots.sign(ops.prepare_issuer()))
        leaked, prepared = ca.authority.issuers()[1:]
        with CaIdentity(tmp_path / "orders", token=EnrollmentToken.parse(ca.token("orders"))) as it:
            assert it.credential.chain[1] == leaked.certificate
            found = ops.json(capsys, "ca", "distrust", leaked.key_id[:8])
            assert found["code"] == 0
            assert (found["status"], found["activated"]) == ("distrusted", prepared.key_id)
            assert not found["needs_rotation"]
            serial = leaked.certificate.serial_number
            assert eventually(lambda: serial in revoked_for(it), 2)
        (entry,) = entries(ca, "distrust")
        assert entry.actor.name == OPS
        with CaIdentity(tmp_path / "new", token=EnrollmentToken.parse(ca.token("new"))) as it:
            assert it.credential.chain[1] == prepared.certificate


def test_an_issuing_ca_is_replaced_by_commands_over_the_network(
    ca: Served, roots: Roots, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with following_admin(ca, tmp_path) as ops:
        code, _, err = ops.command(capsys, "ca", "rotate")
        assert (code, "is not on the CA's machine" in err) == (1, True)
        assert ca.authority.pending_request() is None
        assert ops.command(capsys, "ca", "rotate", "--key", "file")[0] == 2
        assert ops.command(capsys, "ca", "rotate", "--activate", "--force")[0] == 2
        assert ops.command(capsys, "ca", "root", "prepare")[0] == 2
        assert run(["ca", "rotate", "--ca", ca.address]) == 2
        found = ops.json(capsys, "ca", "rotate", "--prepare", "--out", "request.json")
        assert found["status"] == "requested"
        request = ca.authority.pending_request()
        assert request is not None
        assert request.issuing is not None
        status = ops.json(capsys, "ca", "rotate", "status")
        assert status["pending"]["serial"] == f"{request.issuing.serial:x}"
        Path("answer.json").write_bytes(roots.sign(Path("request.json").read_bytes()))
        assert ops.json(capsys, "ca", "root", "import", "answer.json")["purpose"] == "issuing-ca"
        found = ops.json(capsys, "ca", "rotate", "--activate")
        assert (found["status"], found["key_place"]) == ("active", "file")
        assert (found["updated"], found["failed"]) == ([], [])
        # With the root's key on the CA's machine, it is one step.
        key = ca.authority.path / "root.key.pem"
        key.write_bytes((roots.folder / "root.key.pem").read_bytes())
        key.chmod(0o600)
        again = ops.json(capsys, "ca", "rotate")
        assert again["status"] == "active"
        assert again["issuing_ca"] not in {found["issuing_ca"], request.issuing.key_id}
        assert ops.json(capsys, "ca", "root", "crl")["status"] == "signed"
        own = ca.service.parts.own_credential
        assert eventually(lambda: own().chain[1] == ca.authority.issuers()[-1].certificate)
    crls = entries(ca, "root-crls")
    assert [item.actor.name for item in crls] == [OPS]


def test_the_status_is_that_of_the_folder_and_comes_in_pages(
    ca: Served, roots: Roots, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with admin(ca, tmp_path) as ops:
        for name in ("orders", "payments"):
            ca.authority.issue(name)
        ops.import_answers(roots.sign(ops.prepare_root(roots.new_root())))
        ops.renew_root_lists()
        seen = []
        token = ""
        while True:
            page = ops.status(page_size=1, page_token=token)
            assert len(page.holders) == 1
            seen += [item.spiffe_id for item in page.holders]
            token = page.next_page_token
            if not token:
                break
        assert seen == [f"spiffe://shop.internal/{name}" for name in ("ops", "orders", "payments")]
        remote = ops.json(capsys, "ca", "rotate", "status")
        monkeypatch.setattr("pki.cli.service.rotation.over_network._PAGE", 2)
        assert ops.json(capsys, "ca", "rotate", "status") == remote
        _, shown, _ = ops.command(capsys, "ca", "rotate", "status")
        # The CA's folder has the same to say, in the same words.
        here = ("ca", "rotate", "status", "--dir", tmp_path)
        assert run_json(capsys, *here) == remote
        assert run_command(capsys, *here)[1] == shown
        assert "3 certificates hinder the next step" in shown
        assert "0 of 3 holders of certificates" in shown
