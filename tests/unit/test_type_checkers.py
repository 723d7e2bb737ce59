"""What a type checker says of programs that use the package, whose names are loaded lazily."""

from __future__ import annotations

from pathlib import Path

import pytest


def test_a_type_checker_knows_every_public_name_and_no_other(tmp_path: Path) -> None:
    # It is no requirement of the tests with the lowest versions.
    api = pytest.importorskip("mypy.api")
    program = (
        "import pki; [getattr(pki, name) for name in pki.__all__]; pki.Workload; pki.Workloadd"
    )
    output, _, _ = api.run(
        [
            "--config-file=",
            f"--cache-dir={tmp_path}",
            # What the rest of the package says of itself is checked by make lint.
            "--follow-imports=silent",
            "--ignore-missing-imports",
            "-c",
            program,
        ]
    )
    assert 'no attribute "Workloadd"' in output
    assert output.count(": error:") == 1
