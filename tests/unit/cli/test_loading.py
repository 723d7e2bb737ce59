"""What is loaded before it is needed; each of these makes a start much slower than it need be."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SLOW_TO_LOAD = ("sqlalchemy", "rich.table", "pki.diagnosis")
VERSION = "from pki.cli.app import run; assert run(['version']) == 0"
WORKLOAD = "import pki; pki.Workload"


def loaded_by(program: str) -> set[str]:
    """Return the modules that a process of its own has loaded after a program."""
    program += "; import json, sys; print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return set(json.loads(done.stderr))


@pytest.mark.parametrize("program", [VERSION, WORKLOAD], ids=["version", "Workload"])
@pytest.mark.parametrize("module", SLOW_TO_LOAD)
def test_a_start_loads_nothing_that_it_does_not_need(program: str, module: str) -> None:
    assert module not in loaded_by(program)


@pytest.mark.parametrize(
    ("module", "unneeded"),
    [
        ("verify", "sqlalchemy"),
        ("doctor.command", "sqlalchemy"),
        ("watch.command", "sqlalchemy"),
        ("issue.command", "grpc"),
        ("issue.command", "pki.authority.inventory"),
        ("issue.command", "pki.authority.backups.making"),
        ("issue.command", "pki.authority.audit.verification"),
        ("policy.check", "grpc"),
        ("inspect", "pki.diagnosis"),
        ("explain", "cryptography"),
    ],
)
def test_a_command_loads_nothing_that_others_need(module: str, unneeded: str) -> None:
    assert unneeded not in loaded_by(f"import pki.cli.{module}")


def test_version_loads_no_module_of_another_command() -> None:
    commands = {name for name in loaded_by(VERSION) if name.startswith("pki.")}
    assert commands == {
        "pki.cli",
        "pki.cli.app",
        "pki.cli.exit_codes",
        "pki.cli.lazy_group",
        "pki.cli.output",
        "pki.cli.version",
        "pki.errors",
        "pki.fault",
        "pki.version",
    }


@pytest.mark.parametrize("argument", ["version", "--version"])
def test_the_version_is_told_without_the_parser_of_options(argument: str) -> None:
    program = f"import sys; sys.argv = ['handfast', {argument!r}]; from pki.cli.entry import _run"
    assert not {"typer", "pki.cli.app"} & loaded_by(f"{program}; assert _run() == 0")


# One thread loads the package and stops in the midst of it; another one asks for a module of it.
TWO_THREADS = """
import importlib, sys, threading, time
inside, errors = threading.Event(), []

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "pki.authority.authority":
            inside.set()
            time.sleep(0.5)

def load(name):
    try:
        importlib.import_module(name)
    except BaseException as error:
        errors.append(f"{name}: {error!r}")
    inside.set()

sys.meta_path.insert(0, Slow())
first = threading.Thread(target=load, args=("pki.authority.ledger.tables",))
first.start()
inside.wait()
second = threading.Thread(target=load, args=("pki.authority.crls",))
second.start()
first.join(), second.join()
assert not errors, errors
"""


def test_two_threads_load_modules_of_one_package_at_once() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TWO_THREADS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
