"""``windtunnel compare A B``: how far B is from A, from their statistics."""

import argparse
import json
import sys

from windtunnel.cli import reading

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A, B and the limits."""
    what = "data (a path, a glob, a folder, a table's name), or statistics (a stage's folder, or a file of `profile --state`)"
    parser.add_argument("a", metavar="A", help=f"what is normal: {what}")
    parser.add_argument("b", metavar="B", help="what is looked at: likewise")
    parser.add_argument("--json", metavar="FILE", help="write the figures; - for standard output")
    parser.add_argument("--html", metavar="FILE", help="write the report, both side by side")
    parser.add_argument("--limit", type=float, default=0.25, help="population stability index from which a difference is large (0.25)")
    parser.add_argument("--alpha", type=float, default=0.05, help="false-discovery rate over the columns (0.05)")
    parser.add_argument("--ignore", action="append", default=[], metavar="COLUMN", help="never call this column drifted, such as a date")
    parser.add_argument("--slice", metavar="NAME", help="compare this slice of both, such as origin=JFK")
    parser.add_argument("--fail", action="store_true", help="exit with status 3 if any column drifted")
    reading.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Compare them."""
    from windtunnel.lifecycle.drift import compare

    crossings = [[entry.partition("=")[0].strip() for entry in arguments.slice.split(",")]] if arguments.slice else []
    loaded = [reading.load([data], arguments, crossings) for data in (arguments.a, arguments.b)]
    sides = [reading.part_of(side.profiled, arguments.slice) for side in loaded]
    drift = compare(sides[0], sides[1], limit=arguments.limit, alpha=arguments.alpha, ignore=arguments.ignore)
    if arguments.json == "-":
        sys.stdout.write(json.dumps(drift, indent=1, allow_nan=False, ensure_ascii=False) + "\n")
    elif arguments.json:
        reading.write(arguments.json, json.dumps(drift, indent=1, allow_nan=False, ensure_ascii=False).encode())
    if arguments.html:
        from windtunnel.lifecycle.eda import comparison_page

        reading.write(arguments.html, comparison_page(f"{arguments.a} and {arguments.b}", "", drift, sides[0], sides[1]).encode())
    if not (arguments.json or arguments.html):
        print(f"{drift['rows'][0]:,} and {drift['rows'][1]:,} rows; drifted: {', '.join(drift['drifted']) or 'none'}")
        for name, entry in drift["columns"].items():
            if entry["drifted"]:
                print(f"! {name}: {'; '.join(entry['reasons'])}")
        for what in ("new", "lost"):
            if drift[f"{what}_columns"]:
                print(f"! {what} columns: {', '.join(drift[f'{what}_columns'])}")
    return 3 if arguments.fail and (drift["drifted"] or drift["lost_columns"]) else 0
