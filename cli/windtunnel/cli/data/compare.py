"""``windtunnel compare A B``: how far B is from A, from their statistics.

A and B are files, tables (any snapshot and window of them), or statistics that were kept; of each the whole, a split or a slice:

    windtunnel compare january.parquet february.parquet
    windtunnel compare flights.examples flights.examples --a-end 2013-02-01 --b-start 2013-02-01
    windtunnel compare flights.examples flights.examples --a-snapshot 6231 --b-snapshot 7012
    windtunnel compare STAGE STAGE --a-split train --b-split test
    windtunnel compare data.csv data.csv --a-slice origin=JFK --b-slice origin=LGA
"""

import argparse
import copy
import json
from typing import TYPE_CHECKING

from windtunnel.cli.data import reading
from windtunnel.lifecycle.payload import JsonObject

if TYPE_CHECKING:
    from windtunnel.lifecycle.statistics import TableStatistics

__all__ = ["add_arguments", "run"]

_SIDES = {"snapshot": "ID", "start": "DAY", "end": "DAY", "split": "NAME", "slice": "NAME"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A, B, which part of each, and the limits."""
    what = "data (a path, a glob, a folder, a table's name), or statistics (a stage's folder, or a file of `profile --state`)"
    parser.add_argument("a", metavar="A", help=f"what is normal: {what}")
    parser.add_argument("b", metavar="B", help="what is looked at: likewise")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    parser.add_argument("--html", metavar="FILE", help="write the report, both side by side")
    parser.add_argument("--limit", type=float, default=0.25, help="population stability index from which a difference is large (0.25)")
    parser.add_argument("--alpha", type=float, default=0.05, help="false-discovery rate over the columns (0.05)")
    parser.add_argument("--ignore", action="append", default=[], metavar="COLUMN", help="never call this column drifted, such as a date")
    parser.add_argument("--label", metavar="COLUMN", help="also say whether the classes of this column shifted (see --label-limit)")
    parser.add_argument("--label-limit", type=float, default=0.1, help="the change of a class's share from which a label has shifted (0.1)")
    parser.add_argument("--slice", metavar="NAME", help="compare this slice of both, such as origin=JFK")
    parser.add_argument("--split", metavar="NAME", help="compare this split of both: train or test")
    parser.add_argument("--fail", action="store_true", help="exit with status 3 if any column drifted")
    reading.add_arguments(parser)
    for side in ("a", "b"):
        for name, kind in _SIDES.items():
            parser.add_argument(f"--{side}-{name}", metavar=kind, help=f"of {side.upper()} alone; see --{name}")


def run(arguments: argparse.Namespace) -> int:
    """Compare them."""
    from windtunnel.lifecycle.statistics.drift import compare, label_shift

    asked = [_side(arguments, side) for side in ("a", "b")]
    sides = [_load(arguments.a, asked[0]), _load(arguments.b, asked[1])]
    drift = compare(sides[0], sides[1], limit=arguments.limit, alpha=arguments.alpha, ignore=arguments.ignore)
    if arguments.label:
        before, after = (_classes(side, arguments.label) for side in sides)
        drift["label_shift"] = {"column": arguments.label, **label_shift(before, after, arguments.label_limit, arguments.alpha)}
    _tell(arguments, asked, sides, drift)
    return 3 if arguments.fail and _differs(drift) else 0


def _tell(arguments: argparse.Namespace, asked: list[argparse.Namespace], sides: "list[TableStatistics]", drift: JsonObject) -> None:
    """Say what differs in the ways that were asked for; in short text if in none."""
    if arguments.json:
        print(json.dumps(drift, indent=1, allow_nan=False, ensure_ascii=False))
    if arguments.html:
        from windtunnel.lifecycle.pages.eda import comparison_page

        title = f"{_named(arguments.a, asked[0])} and {_named(arguments.b, asked[1])}"
        reading.write(arguments.html, comparison_page(title, "", drift, sides[0], sides[1]).encode())
    if not (arguments.json or arguments.html) or (arguments.output_file and not arguments.json):
        _print(drift)


def _differs(drift: JsonObject) -> bool:
    """Whether something drifted, went or shifted."""
    return bool(drift["drifted"] or drift["lost_columns"] or drift.get("label_shift", {}).get("shifted"))


def _side(arguments: argparse.Namespace, side: str) -> argparse.Namespace:
    """The arguments as they are for one side."""
    found = copy.copy(arguments)
    for name in _SIDES:
        setattr(found, name, getattr(arguments, f"{side}_{name}") or getattr(arguments, name))
    return found


def _load(data: str, asked: argparse.Namespace) -> "TableStatistics":
    problem = None
    if asked.problem:
        from windtunnel.lifecycle.contract.problem import load

        problem = load(asked.problem)
    crossings = [[entry.partition("=")[0].strip() for entry in asked.slice.split(",")]] if asked.slice else []
    return reading.part_of(reading.load([data], asked, crossings, problem).profiled, asked.slice, asked.split)


def _named(data: str, asked: argparse.Namespace) -> str:
    parts = [f"{name} {getattr(asked, name)}" for name in _SIDES if getattr(asked, name)]
    return f"{data} ({', '.join(parts)})" if parts else data


def _classes(side: "TableStatistics", column: str) -> dict[str, int]:
    """How often each class occurs.

    Raises:
        ConfigurationError: there is no such column, or it has too many values to be classes.
    """
    from windtunnel.lifecycle.contract.errors import ConfigurationError

    found = side.columns.get(column)
    if found is None:
        raise ConfigurationError(f"there is no column {column!r}", hint=f"there are: {', '.join(side.columns)}")
    if not found.exact:
        raise ConfigurationError(f"column {column!r} has too many different values for a label of classes", hint="leave --label out")
    return dict(zip(map(str, found.values.to_pylist()), found.counts.tolist(), strict=True))


def _print(drift: JsonObject) -> None:
    print(f"{drift['rows'][0]:,} and {drift['rows'][1]:,} rows; drifted: {', '.join(drift['drifted']) or 'none'}")
    for name, entry in drift["columns"].items():
        if entry["drifted"]:
            print(f"! {name}: {'; '.join(entry['reasons'])}")
    for what in ("new", "lost"):
        if drift[f"{what}_columns"]:
            print(f"! {what} columns: {', '.join(drift[f'{what}_columns'])}")
    if drift.get("label_shift", {}).get("shifted"):
        print(f"! label {drift['label_shift']['column']}: a class's share changed by {drift['label_shift']['change']:.1%}")
