"""``handfast policy graph``: a picture of who may call whom."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pki.authz.analysis.graph import build_graph, to_mermaid
from pki.authz.analysis.svg import to_svg
from pki.cli.output import JsonOption, complain, tell
from pki.cli.policy.reading import DEFAULT_POLICY, could_not_tell, not_enforced, read_policy_file
from pki.files import write_durably


class Format(StrEnum):
    """How a graph is written."""

    SVG = "svg"
    MERMAID = "mermaid"


def graph(
    file: Annotated[Path, typer.Argument(help="The policy file.")] = DEFAULT_POLICY,
    form: Annotated[
        Format | None, typer.Option("--format", help="By --out's name, else Mermaid.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where to; nothing prints it.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Draw who may call whom, as SVG or Mermaid: exit 0 drawn, 3 no policy to draw."""
    with could_not_tell():
        policy = read_policy_file(file)
    drawn = build_graph(policy)
    if form is None:
        form = Format.SVG if out is not None and out.suffix == ".svg" else Format.MERMAID
    text = to_svg(drawn) if form is Format.SVG else to_mermaid(drawn)
    if out is None and not as_json:
        sys.stdout.write(text)
        for line in not_enforced(policy):
            complain(line)
        return
    if out is not None:
        write_durably(out, text.encode(), mode=0o644)
    tell(
        "policy graph",
        {
            "file": file,
            "out": out,
            "roles": [{"role": role, "names": list(names)} for role, names in drawn.roles],
            "services": [{"service": name, "served_by": role} for name, role in drawn.services],
            "edges": [
                {
                    "role": edge.role,
                    "service": edge.service,
                    "methods": list(edge.methods),
                    "audited": edge.audited,
                }
                for edge in drawn.edges
            ],
        },
        [
            f"{out}: {len(drawn.roles)} roles, {len(drawn.services)} services, "
            f"{len(drawn.edges)} lines",
            *not_enforced(policy),
        ],
        as_json=as_json,
    )
