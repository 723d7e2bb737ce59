"""``handfast policy graph``: a picture of who may call whom."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

import typer

from pki.authz.analysis.graph import build_graph, to_mermaid
from pki.authz.analysis.svg import to_svg
from pki.cli.output import JsonOption, print_error, print_result
from pki.cli.policy.policy_file import (
    DEFAULT_POLICY,
    enforcement_warnings,
    errors_as_could_not_tell,
    read_policy_file,
)
from pki.errors import quote_untrusted
from pki.files import write_durably


class Format(StrEnum):
    """The format of a graph."""

    SVG = "svg"
    MERMAID = "mermaid"


_BY_SUFFIX = MappingProxyType(
    {
        ".svg": Format.SVG,
        **dict.fromkeys((".mmd", ".mermaid", ".md", ".txt"), Format.MERMAID),
    }
)


def graph(
    file: Annotated[Path, typer.Argument(help="The policy file.")] = DEFAULT_POLICY,
    form: Annotated[
        Format | None,
        typer.Option("--format", help="The format; by the name of --out, or else Mermaid."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The file to write; by default the graph is printed.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Draw who may call whom, as SVG or Mermaid: exit 0 drawn, 3 no policy to draw."""
    form = form or _format_of(out)
    with errors_as_could_not_tell():
        policy = read_policy_file(file)
    drawn = build_graph(policy)
    text = to_svg(drawn) if form is Format.SVG else to_mermaid(drawn)
    if out is None and not as_json:
        sys.stdout.write(text)
        for line in enforcement_warnings(policy):
            print_error(line)
        return
    if out is not None:
        write_durably(out, text.encode(), mode=0o644)
    print_result(
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
            *enforcement_warnings(policy),
        ],
        as_json=as_json,
    )


def _format_of(out: Path | None) -> Format:
    """Return the format that a file's name means; Mermaid if the graph is printed."""
    if out is None:
        return Format.MERMAID
    form = _BY_SUFFIX.get(out.suffix.lower())
    if form is None:
        raise typer.BadParameter(
            f"{quote_untrusted(out)} means no format that can be drawn: end it with one of "
            f"{', '.join(_BY_SUFFIX)}, or give --format",
            param_hint="'--out'",
        )
    return form
