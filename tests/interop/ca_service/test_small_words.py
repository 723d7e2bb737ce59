"""What the long-running commands print when they end, and how numbers are written."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from pki.authority.enrollment import create_token
from pki.ca_client import CaIdentity
from pki.cli.service.rotation.over_network import NetworkDesk
from pki.errors import InputError, counted
from pki.proofs import EnrollmentToken
from tests.ca_service import OPERATOR, Served
from tests.command import Capture, make_state, run_command
from tests.served_process import running


def test_a_ca_that_is_told_to_end_reports_its_health_once(tmp_path: Path) -> None:
    make_state(tmp_path)
    listen = ("--listen", "127.0.0.1:0", "--enroll-listen", "127.0.0.1:0")
    with running(tmp_path, "ca", "serve", *listen) as process:
        process.line("Serving the CA")
        assert process.stop() == 0
    health = re.findall(r"(\w+) handfast.rpc: health: (\w+)", process.output)
    assert health.count(("INFO", "SERVING")) <= 1
    assert [item for item in health if item[1] == "NOT_SERVING"] == [("INFO", "NOT_SERVING")]


def test_an_agent_says_that_it_ends(ca: Served, tmp_path: Path) -> None:
    CaIdentity(tmp_path / "orders", token=EnrollmentToken.parse(ca.token("orders"))).close()
    with running(tmp_path, "agent", str(tmp_path / "orders")) as process:
        assert process.line("Keeping") == "Keeping 1 of 1 directory fresh"
        assert process.stop() == 0
    assert process.output.splitlines()[-1] == "Ending: nothing is kept fresh any more"


def test_the_lifetime_of_a_token_is_written_as_it_is_given(ca: Served) -> None:
    orders = ca.register("orders").spiffe_id
    with pytest.raises(InputError) as caught:
        create_token(ca.authority.context, OPERATOR, orders, timedelta(days=2))
    assert caught.value.message == "a token can't be good for 48h"


def test_over_the_network_nobody_is_told_to_renew_by_hand() -> None:
    desk = NetworkDesk(cast(Any, None), "ca.shop.internal:8443", None)
    assert desk.renewals() == "workloads renew by themselves, in the middle of their life"


def test_a_number_and_its_noun() -> None:
    assert [counted(number, "root") for number in (0, 1, 2)] == ["0 roots", "1 root", "2 roots"]
    assert counted(2, "entry", "entries") == "2 entries"


def test_a_new_ca_may_be_served(tmp_path: Path, capsys: Capture) -> None:
    state = ("--dir", tmp_path / "certs")
    code, out, _ = run_command(capsys, "ca", "init", "--trust-domain", "shop.internal", *state)
    assert code == 0
    assert "handfast ca serve --dir" in out
