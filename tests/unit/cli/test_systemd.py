"""The systemd units that the wheel holds: they verify, and their command lines do what they say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.files import load_credential
from tests.command import NOBODY, chown_all, run_as

UNITS = Path("pki/cli/systemd").absolute()
MAIN = "from pki.cli.entry import main; main()"
RENEW, CRL = "handfast@.service", "handfast-crl.service"


def settings(unit: str) -> dict[tuple[str, str], list[str]]:
    """Return a unit's settings by section and key."""
    found: dict[tuple[str, str], list[str]] = {}
    section = ""
    for line in (UNITS / unit).read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault((section, key), []).append(value)
    return found


def start(unit: str, state: Path, instance: str) -> subprocess.CompletedProcess[str]:
    """Run a unit's command line as systemd does: its environment, user, rights and folder."""
    unit_settings = settings(unit)
    environment = dict(item.split("=", 1) for item in unit_settings["Service", "Environment"])
    assert environment == {"HANDFAST_DIR": "/var/lib/handfast"}
    environment["HANDFAST_DIR"] = str(state)
    (line,) = unit_settings["Service", "ExecStart"]
    program, *arguments = [
        word.replace("${HANDFAST_DIR}", str(state)).replace("%i", instance) for word in line.split()
    ]
    assert program == "handfast"
    command = [sys.executable, "-c", MAIN, *arguments]
    assert unit_settings["Service", "User"] == ["root"]
    if os.geteuid() == 0:
        (rights,) = unit_settings["Service", "CapabilityBoundingSet"]
        kept = ",".join(f"+{item.removeprefix('CAP_').lower()}" for item in rights.split())
        setpriv = ["setpriv", f"--bounding-set=-all,{kept}", "--inh-caps=-all", "--no-new-privs"]
        command = [*setpriv, *command]
    # Nothing of this test's own environment, and a working directory without a "certs".
    return subprocess.run(
        command,
        env={"PATH": os.environ["PATH"], **environment},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def make_state(folder: Path) -> Path:
    """Make a CA, and a credential that is due."""
    state = folder / "state"
    now = datetime.now(UTC)
    with Authority.create(state / "ca", "shop.internal", clock=lambda: now - timedelta(hours=1)):
        pass
    with Authority.open(state / "ca", clock=lambda: now - timedelta(minutes=45)) as authority:
        authority.issue("orders", lifetime=timedelta(hours=1)).save(state / "orders")
    return state


def test_the_renewal_unit_renews_what_is_due_and_nothing_else(tmp_path: Path) -> None:
    state = make_state(tmp_path)
    first = load_credential(state / "orders").credential.leaf
    done = start(RENEW, state, "orders")
    assert (done.returncode, done.stderr) == (0, "")
    second = load_credential(state / "orders").credential.leaf
    assert second != first
    done = start(RENEW, state, "orders")
    assert (done.returncode, done.stderr) == (0, "")
    assert load_credential(state / "orders").credential.leaf == second


def test_the_renewal_unit_fails_if_it_can_not_tell(tmp_path: Path) -> None:
    state = make_state(tmp_path)
    shutil.rmtree(state / "ca")
    done = start(RENEW, state, "orders")
    assert done.returncode == 1
    assert "there is no CA" in done.stderr
    assert ("Service", "ExecCondition") not in settings(RENEW)


def test_the_service_of_another_user_reads_what_the_units_write(shared_folder: Path) -> None:
    state = make_state(shared_folder)
    chown_all(NOBODY, state / "orders")
    (state / "orders").chmod(0o750)
    for unit in (RENEW, CRL):
        done = start(unit, state, "orders")
        assert (done.returncode, done.stderr) == (0, "")
    owners = {(path.stat().st_uid, path.stat().st_gid) for path in (state / "orders").iterdir()}
    assert owners == {(NOBODY, NOBODY)}
    done = run_as(NOBODY, shared_folder, "verify", "state/orders", "--as", "server")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_crl_unit_signs_and_distributes(tmp_path: Path) -> None:
    state = make_state(tmp_path)
    (state / "orders" / "crl.pem").unlink()
    done = start(CRL, state, "")
    assert (done.returncode, done.stderr) == (0, "")
    assert (state / "orders" / "crl.pem").exists()


@pytest.mark.parametrize("timer", ["handfast@.timer", "handfast-crl.timer"])
def test_each_timer_is_enabled_by_itself_and_has_its_service(timer: str) -> None:
    assert settings(timer)["Install", "WantedBy"] == ["timers.target"]
    assert settings(timer)["Timer", "Persistent"] == ["true"]
    service = settings(timer.replace(".timer", ".service"))
    assert service["Service", "Type"] == ["oneshot"]
    # Where everything else is read-only, the state folder is not.
    assert service["Service", "ReadWritePaths"] == ["/var/lib/handfast"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_finds_nothing_to_complain_about(tmp_path: Path) -> None:
    names = []
    program = tmp_path / "handfast"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for path in UNITS.glob("handfast*.*"):
        name = path.name.replace("@.", "@orders.")
        text = path.read_text().replace("ExecStart=handfast", f"ExecStart={program}")
        (tmp_path / name).write_text(text)
        names.append(f"./{name}")
    assert len(names) == 4
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *names],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_folder_of_the_units_is_printed_and_the_quick_start_names_them() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pki.cli.systemd"], capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()) == UNITS
    page = Path("docs/quickstart.md").read_text()
    assert '"$(python -m pki.cli.systemd)"' in page
    for timer in ("handfast@orders.timer", "handfast-crl.timer"):
        assert timer in page
