"""What the roots signed comes back over the network: again, damaged, foreign, too late, at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from pki.authority import Authority
from pki.authority.rotation.answers import RootAnswer
from pki.errors import StateError
from tests.ca_service import Served, served_ca
from tests.interop.asking import reason, refused
from tests.interop.ca_service.rotating_admin import OPS, Roots, admin, details, entries


@pytest.fixture
def roots(ca: Served, tmp_path: Path) -> Roots:
    return Roots(ca, tmp_path / "roots")


def test_whoever_lost_an_answer_asks_again(ca: Served, roots: Roots, tmp_path: Path) -> None:
    with admin(ca, tmp_path) as ops:
        request = ops.prepare_issuer()
        assert ops.prepare_issuer() == request == ops.get_request()
        assert ops.prepare_issuer(lifetime={"seconds": 200 * 86400}) != request
        request = ops.prepare_issuer()
        answer = roots.sign(request)
        first = ops.import_answers(answer)
        count = len(list(ca.authority.audit_entries()))
        assert ops.import_answers(answer) == first
        assert refused(ops.get_request) == "NOT_FOUND"
        assert "is prepared already" in details(ops.prepare_issuer)
        prepared = ca.authority.issuers()[-1].key_id
        active = ops.activate_issuer()
        assert (active.key_id, active.status) == (prepared, "active")
        assert ops.activate_issuer(prepared) == active
        assert "no issuing CA is prepared" in details(ops.activate_issuer)
        # Two refusals and an activation: what was asked again is no new decision. The CA has
        # another certificate.
        taken = [item for _, item in ca.authority.audit_entries()][count:]
        assert [item.action for item in taken if item.actor.name == OPS] == [
            "refuse",
            "activate",
            "refuse",
        ]
        new = roots.new_root()
        request = ops.prepare_root(new)
        assert ops.prepare_root(new) == request
        ops.import_answers(roots.sign(request))
        root = ca.authority.issuers()[-2].key_id
        ops.activate_root(force=True)
        again = ops.activate_root(root, force=True)
        assert (again.root, list(again.stranded)) == (root, [])
        old = ca.authority.issuers()[0].key_id
        request = ops.withdraw_root(old, force=True).request
        assert ops.withdraw_root(old, force=True).request == request
        lists = ops.renew_root_lists()
        assert ops.renew_root_lists() == lists
    with admin(ca, tmp_path / "later") as ops:
        # The certificate of before hangs on this one, and is no admin's any more.
        before = ca.authority.issuers()[1].key_id
        assert ops.distrust(before) == ops.distrust(before)
        assert len(entries(ca, "distrust")) == 1


def test_answers_that_are_none_are_refused_and_change_nothing(
    ca: Served, roots: Roots, tmp_path: Path
) -> None:
    with admin(ca, tmp_path) as ops:
        assert "no request is pending" in details(
            lambda: ops.import_answers(RootAnswer("0" * 64).encode())
        )
        request = ops.prepare_issuer()
        answer = roots.sign(request)
        before = ca.authority.issuers()
        for bad in (b"", b"x", b"{}", request, answer[:-1], answer + b"x", b"\xff" * 1000):
            assert refused(lambda bad=bad: ops.import_answers(bad)) == "REQUEST_INVALID"
            # Beside a good one it is refused too.
            assert refused(lambda bad=bad: ops.import_answers(answer, bad)) == "REQUEST_INVALID"
        assert refused(ops.import_answers) == "REQUEST_INVALID"
        assert refused(lambda: ops.import_answers(*[answer] * 17)) == "REQUEST_INVALID"
        assert refused(lambda: ops.import_answers(bytes(3 * 1024 * 1024 + 1))) == "REQUEST_INVALID"
        # gRPC cuts this one off before anything reads it.
        assert refused(lambda: ops.import_answers(bytes(10_000_000))) == "RESOURCE_EXHAUSTED"
        for root in (b"", b"x", bytes(2_000_000), request):
            assert refused(lambda root=root: ops.prepare_root(root)) == "REQUEST_INVALID"
        assert refused(lambda: ops.prepare_issuer(key_type="dsa")) == "REQUEST_INVALID"
        assert refused(lambda: ops.prepare_issuer(lifetime={"seconds": 60})) == "REQUEST_INVALID"
        assert refused(lambda: ops.prepare_issuer(lifetime={"seconds": -1})) == "REQUEST_INVALID"
        for key_id in ("zz", "\0", "x" * 100_000):
            assert refused(lambda key_id=key_id: ops.distrust(key_id)) == "REQUEST_INVALID"
        assert refused(lambda: ops.status(page_token="-1")) == "REQUEST_INVALID"
        assert ca.authority.issuers() == before
        ops.import_answers(answer)
    assert ca.authority.verify_audit_log().findings == ()


def test_the_answer_of_another_cas_root_is_refused(
    ca: Served, roots: Roots, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    Authority.create(tmp_path / "other" / "ca", "shop.internal").close()
    with served_ca(tmp_path / "other") as other, admin(ca, tmp_path) as ops:
        other_roots = Roots(other, tmp_path / "other-roots")
        with admin(other, tmp_path / "other") as other_ops:
            foreign = other_roots.sign(other_ops.prepare_issuer())
            other_root = other_roots.new_root()
        request = ops.prepare_issuer()
        assert refused(lambda: ops.import_answers(foreign)) == "REQUEST_INVALID"
        # Its root has the same trust domain: it is only prepared, and signed by nobody here.
        prepared = ops.prepare_root(other_root)
        with pytest.raises(StateError, match="none of the keys"):
            other_roots.sign(request)
        assert prepared == ops.get_request()
        half = other_roots.sign(prepared)
        assert refused(lambda: ops.import_answers(half)) in {"REQUEST_INVALID", "WRONG_STEP"}
        assert len(ca.authority.issuers()) == 2


def test_an_answer_is_refused_after_the_ca_has_changed(
    ca: Served, roots: Roots, tmp_path: Path
) -> None:
    with admin(ca, tmp_path) as ops:
        ops.import_answers(roots.sign(ops.prepare_issuer()))
        answer = roots.sign(ops.renew_root_lists())
        # An emergency meanwhile, by a command on the folder.
        leaked = ca.authority.issuers()[2]
        with Authority.open(ca.authority.path) as folder:
            folder.distrust(leaked.key_id)
        assert "has revoked another issuing CA" in details(lambda: ops.import_answers(answer))
        assert not ops.status().HasField("pending")
        assert refused(ops.get_request) == "NOT_FOUND"
        serial = leaked.certificate.serial_number
        assert any(serial in crl.revoked for crl in ca.authority.trust()[1].crls.values())


def test_of_two_admins_at_once_one_takes_the_step(ca: Served, roots: Roots, tmp_path: Path) -> None:
    with admin(ca, tmp_path) as first, ThreadPoolExecutor(4) as pool:
        answer = roots.sign(first.prepare_issuer())
        results = list(pool.map(lambda _: first.import_answers(answer), range(4)))
        assert {item.digest for item in results} == {results[0].digest}
        assert len(ca.authority.issuers()) == 3

        def step(_: int) -> str:
            try:
                first.activate_issuer()
            except grpc.RpcError as error:
                return reason(error)
            return "done"

        assert sorted(pool.map(step, range(4))) == ["WRONG_STEP"] * 3 + ["done"]
        # Of two roots that are prepared, the later request waits; the other's answer is too late.
        one, two = roots.new_root(), roots.new_root()
        requests = list(pool.map(first.prepare_root, (one, two)))
        waiting = first.get_request()
        (late,) = [item for item in requests if item != waiting]
        assert refused(lambda: first.import_answers(roots.sign(late))) == "REQUEST_INVALID"
        assert len(list(ca.authority.path.glob("issuing-*.key.pem"))) == 3
