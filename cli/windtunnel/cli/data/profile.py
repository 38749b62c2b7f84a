"""``windtunnel profile DATA``: statistics of a file, a glob or a table, as JSON, as a page, or as a short text."""

import argparse
import json
import sys
from typing import TYPE_CHECKING

from windtunnel.cli.data import reading
from windtunnel.lifecycle.payload import JsonObject

if TYPE_CHECKING:
    from windtunnel.lifecycle.contract.problem import Problem
    from windtunnel.lifecycle.quality.readiness import Readiness

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DATA, the outputs, and how to read it."""
    parser.add_argument(
        "data", nargs="+", metavar="DATA", help="Parquet, CSV, JSON lines or Arrow: paths, globs or folders; or a table's name"
    )
    parser.add_argument("--json", action="store_true", help="print the statistics as one JSON object")
    parser.add_argument("--readiness", action="store_true", help="say whether it is ready to be learned from, why not, and what to do")
    parser.add_argument("--time", metavar="COLUMN", help="when a row happened, for --readiness; a problem's event_time if not given")
    parser.add_argument("--html", metavar="FILE", help="write the report, one page that needs no network")
    parser.add_argument("--state", metavar="FILE", help="write the mergeable statistics, which `windtunnel compare` can read")
    parser.add_argument("--label", metavar="COLUMN", help="say how strongly each column tells this one")
    parser.add_argument("--sensitive", action="append", default=[], metavar="COLUMN", help="look for columns that stand in for this one")
    parser.add_argument("--slice", action="append", default=[], metavar="COLUMN[,COLUMN]", help="statistics by the values of these, too")
    reading.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Profile it."""
    crossings = [entry.split(",") for entry in arguments.slice]
    problem = None
    if arguments.problem:
        from windtunnel.lifecycle.contract.problem import load

        problem = load(arguments.problem)
    found = reading.load(arguments.data, arguments, crossings, problem)
    described = reading.describe(found, label=arguments.label, sensitive=arguments.sensitive)
    readiness = _readiness(found, problem, arguments) if arguments.readiness else None
    if readiness is not None:
        described["readiness"] = readiness.to_dict()
    name = ", ".join(arguments.data)
    if arguments.json:
        print(json.dumps(described, indent=1, allow_nan=False, ensure_ascii=False))
    if arguments.html:
        from windtunnel.lifecycle.pages.eda import profile_page

        reading.write(arguments.html, profile_page(name, "", described).encode())
    if arguments.state:
        reading.write(arguments.state, found.profiled.to_bytes())
    if not (arguments.json or arguments.html or arguments.state) or (arguments.output_file and not arguments.json):
        if readiness is None:
            _print(described)
        else:
            print("\n".join([f"{described['rows']:,} rows, {len(described['columns'])} columns", *readiness.lines()]))
    for line in reading.told(found.reading):
        print(f"windtunnel profile: {line}", file=sys.stderr)
    if not described["rows"]:
        print(f"windtunnel profile: {name}: has columns but not a single row", file=sys.stderr)
    return 0 if described["rows"] else 1


def _readiness(found: reading.Loaded, problem: "Problem | None", arguments: argparse.Namespace) -> "Readiness":
    from windtunnel.lifecycle.contract.errors import ConfigurationError
    from windtunnel.lifecycle.quality.readiness import assess, subject_of

    for name in [name for name in (arguments.label, arguments.time) if name and name not in found.profiled.table.columns]:
        raise ConfigurationError(f"there is no column {name!r}", hint=f"there are: {', '.join(found.profiled.table.columns)}")
    groups = [*arguments.sensitive, *(name for entry in arguments.slice for name in entry.split(","))]
    subject = subject_of(found.profiled, problem, label=arguments.label or "", time=arguments.time or "", groups=groups)
    return assess(subject)


def _print(described: JsonObject) -> None:
    print(f"{described['rows']:,} rows")
    heads = ("column", "dtype", "null", "distinct", "min", "mean", "median", "max")
    rows = [
        (
            name,
            column["dtype"],
            f"{column['null_share']:.1%}",
            *(_short(column[key]) for key in ("distinct", "min", "mean")),
            _short(column["quantiles"].get("0.5")),
            _short(column["max"]),
        )
        for name, column in described["columns"].items()
    ]
    widths = [max(len(str(row[i])) for row in [heads, *rows]) for i in range(len(heads))]
    for row in [heads, *rows]:
        print("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for warning in described["warnings"]:
        print(f"! {warning['column']}: {warning['what']}: {warning['text']}")


def _short(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,.6g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)[:24]
