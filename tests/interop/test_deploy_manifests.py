"""The manifests of docs/deploy/kubernetes: their command lines, in the order of the kubelet."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.command import NOBODY, run_as
from tests.deployed import DEPLOY, ROOT, Machine
from tests.interop.shop import eventually
from tests.served_process import SECONDS

pytestmark = pytest.mark.documents

yaml = pytest.importorskip("yaml", reason="PyYAML comes with the development tools")
Container = dict[str, Any]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path, "ca.handfast.svc")


@pytest.fixture
def pod_of_payments(tmp_path: Path) -> Machine:
    made = Machine(tmp_path, "ca.handfast.svc")
    # The image of the service in the example; the reference service of that name fits.
    made.install_program(
        "payments", 'import runpy; runpy.run_module("services.payments", run_name="__main__")'
    )
    for volume in ("var/lib/handfast", "var/lib/payments", "var/run/token", "etc/payments"):
        (tmp_path / volume).mkdir(parents=True)
    return made


def pod(name: str) -> dict[str, Container]:
    """Return the containers of a manifest's pod, by name."""
    text = (DEPLOY / "kubernetes" / f"{name}.yaml").read_text()
    (spec,) = [
        item["spec"]["template"]["spec"]
        for item in yaml.safe_load_all(text)
        if item["kind"] == "StatefulSet"
    ]
    return {item["name"]: item for item in (*spec["initContainers"], *spec["containers"])}


def command(machine: Machine, container: Container) -> list[str]:
    """Return what a container runs: its command, or its arguments for the image's entry point."""
    words = container.get("command") or [entry_point(container), *container["args"]]
    return [machine.here(word) for word in words]


def entry_point(container: Container) -> str:
    return str(container["image"].rpartition("/")[2].partition(":")[0])


def environment(machine: Machine, container: Container) -> dict[str, str]:
    given = {item["name"]: machine.here(item["value"]) for item in container.get("env", ())}
    return machine.environment(**given)


def probe(machine: Machine, container: Container, kind: str) -> list[str]:
    return [machine.here(word) for word in container[kind]["exec"]["command"]]


def test_a_ca_and_a_workload_with_its_agent_start_probe_and_end(
    machine: Machine, pod_of_payments: Machine
) -> None:
    ca, payments = pod("ca"), pod("payments")
    assert list(ca) == ["init", "ca"]
    assert list(payments) == ["enroll", "agent", "payments"]
    own = environment(machine, ca["init"])
    for _ in range(2):
        # The second start of the pod finds the CA of the first.
        done = machine.run(command(machine, ca["init"]), own)
        assert done.returncode == 0, done.stderr
    startup = probe(machine, ca["ca"], "startupProbe")
    assert probe(machine, ca["ca"], "readinessProbe") == startup
    assert machine.run(startup, own).returncode == 3, "nothing serves yet"
    with machine.running(command(machine, ca["ca"]), environment(machine, ca["ca"])) as serving:
        assert eventually(lambda: machine.run(startup, own).returncode == 0, SECONDS)
        # As the comments of payments.yaml say, in the CA's pod.
        for line in ("registration create payments", "token create payments"):
            done = machine.run(["handfast", *line.split()], own)
            assert done.returncode == 0, done.stderr
        Path(pod_of_payments.here("/var/run/token/token")).write_text(done.stdout)
        policy = (ROOT / "services" / "policy.toml").read_text()
        Path(pod_of_payments.here("/etc/payments/policy.toml")).write_text(policy)
        service = environment(pod_of_payments, payments["payments"])
        for _ in range(2):
            done = pod_of_payments.run(command(pod_of_payments, payments["enroll"]), service)
            assert done.returncode == 0, done.stderr
        with (
            pod_of_payments.running(command(pod_of_payments, payments["agent"]), service) as agent,
            pod_of_payments.running(
                command(pod_of_payments, payments["payments"]), service
            ) as main,
        ):
            ready = probe(pod_of_payments, payments["payments"], "readinessProbe")
            assert agent.stdout is not None
            assert agent.stdout.readline().startswith("Keeping 1 of 1")
            # The service's image has the core alone.
            core = {**service, "PATH": f"{pod_of_payments.core_only()}:{os.environ['PATH']}"}
            assert eventually(lambda: pod_of_payments.run(ready, core).returncode == 0, SECONDS)
            for process in (main, agent):
                process.send_signal(signal.SIGTERM)
                assert process.wait(SECONDS) == 0
            assert pod_of_payments.run(ready, core).returncode == 3
        serving.send_signal(signal.SIGTERM)
        assert serving.wait(SECONDS) == 0


def test_a_volume_that_the_kubelet_prepared_is_accepted(shared_folder: Path) -> None:
    # With fsGroup, the root of the volume belongs to root and the group, which may write.
    volume = shared_folder / "volume"
    volume.mkdir()
    os.chown(volume, 0, NOBODY)
    volume.chmod(0o2775)
    assert sys.platform == "linux"
    init = pod("ca")["init"]["command"][-1]
    *_, arguments = init.partition("exec handfast ")
    state = ("--dir", str(volume / "state"))
    done = run_as(NOBODY, shared_folder, *arguments.split(), *state)
    assert (done.returncode, done.stderr) == (0, "")
    for line in ("issue orders", "verify {0}/orders --as server"):
        words = line.format(volume / "state").split()
        more = () if words[0] == "verify" else state
        done = run_as(NOBODY, shared_folder, *words, *more)
        assert (done.returncode, done.stderr) == (0, "")
