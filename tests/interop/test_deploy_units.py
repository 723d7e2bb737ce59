"""The units of docs/deploy/systemd: their command lines, run as systemd runs them."""

from __future__ import annotations

import shlex
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from string import Template

import pytest

from tests.deployed import DEPLOY, Machine, NotifySocket
from tests.served_process import SECONDS

pytestmark = pytest.mark.documents

CA, AGENT = "handfast-ca.service", "handfast-agent@.service"
Settings = dict[str, list[str]]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path, "ca.shop.internal")


def settings(unit: str, instance: str = "") -> Settings:
    """Return the settings of a unit's service, by key."""
    found: Settings = {}
    for line in (DEPLOY / "systemd" / unit).read_text().splitlines():
        if line and not line.startswith(("#", "[")):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value.replace("%i", instance))
    return found


def environment_of(machine: Machine, unit: Settings, **more: str) -> dict[str, str]:
    given = dict(machine.here(item).split("=", 1) for item in unit.get("Environment", ()))
    return machine.environment(**given, **more)


def command(machine: Machine, unit: Settings, key: str, environment: dict[str, str]) -> list[str]:
    """Return a command of a unit, with its variables."""
    (line,) = unit[key]
    return [Template(word).substitute(environment) for word in shlex.split(machine.here(line))]


@contextmanager
def started(machine: Machine, unit: Settings, name: str) -> Iterator[dict[str, str]]:
    """Start a unit until the block ends: it says when it is ready, reloads, and ends in order."""
    notify = NotifySocket(name)
    environment = environment_of(machine, unit, NOTIFY_SOCKET=notify.address)
    with machine.running(command(machine, unit, "ExecStart", environment), environment) as process:
        try:
            assert notify.hear() == "READY=1"
            yield environment
            if "ExecReload" in unit:
                main = {**environment, "MAINPID": str(process.pid)}
                assert machine.run(command(machine, unit, "ExecReload", main), main).returncode == 0
            assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            assert notify.hear() == "STOPPING=1"
            assert process.wait(SECONDS) == 0
        finally:
            notify.close()


def test_the_units_serve_a_ca_and_keep_an_identity_fresh(machine: Machine) -> None:
    ca, agent = settings(CA), settings(AGENT, "payments")
    assert ca["Type"] == agent["Type"] == ["notify"]
    environment = environment_of(machine, ca)
    # As docs/deploy/README.md says.
    for line in (
        "handfast ca init --trust-domain shop.internal",
        "handfast registration create payments",
    ):
        assert machine.run(line.split(), environment).returncode == 0
    with started(machine, ca, "ca") as serving:
        check = machine.run(command(machine, ca, "ExecStartPost", serving), serving)
        assert check.returncode == 0, check.stderr
        metrics = machine.here("http://127.0.0.1:9464/metrics")
        with urllib.request.urlopen(metrics, timeout=SECONDS) as page:
            assert b"handfast_ca_followers" in page.read()
        token = machine.run(["handfast", "token", "create", "payments"], serving).stdout.strip()
        identity = machine.here("/var/lib/payments/identity")
        enroll = machine.run(["handfast", "enroll", token, "--out", identity], serving)
        assert enroll.returncode == 0, enroll.stderr
        with started(machine, agent, "agent"):
            pass
    # What says that nothing serves must fail the start.
    check = machine.run(command(machine, ca, "ExecStartPost", environment), environment)
    assert check.returncode == 3


@pytest.mark.parametrize("unit", [CA, AGENT])
def test_a_unit_has_its_own_user_and_writes_only_where_it_must(unit: str) -> None:
    found = settings(unit, "payments")
    (user,) = found["User"]
    assert user in {"handfast-ca", "payments"}
    users = (DEPLOY / "systemd" / "handfast.conf").read_text()
    assert f"\nu {user} " in users
    assert found["CapabilityBoundingSet"] == [""], "none"
    assert found["ProtectSystem"] == ["strict"]
    assert "ReadWritePaths" not in found
    (state,) = found["StateDirectory"]
    written = f"/var/lib/{state}"
    for words in (*found["ExecStart"], *found.get("Environment", ())):
        for path in (word for word in words.replace("=", " ").split() if word.startswith("/")):
            assert path.startswith(written), path
