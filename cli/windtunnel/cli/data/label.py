"""``windtunnel label``: labels that people gave become part of the problem's data."""

import argparse
import getpass
import json
import sys

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Problem, file, person."""
    parser.add_argument("problem", help="the problem file")
    parser.add_argument("labels", help="a CSV or Parquet file with the problem's key columns and `label`")
    parser.add_argument("--by", default=getpass.getuser(), help="who gave those that do not say (default: you)")
    parser.add_argument("--json", action="store_true", help='print {"table", "added", "apart"}')


def run(arguments: argparse.Namespace) -> int:
    """Add them; the same file again adds nothing, and what names no row is kept apart."""
    from windtunnel.cli.instance.resolve import command_settings
    from windtunnel.lifecycle.contract.problem import load
    from windtunnel.lifecycle.live.labels import add_labels

    problem = load(arguments.problem)
    labels = add_labels(problem, arguments.labels, command_settings(arguments), by=arguments.by)
    if arguments.json:
        print(json.dumps({"table": f"{problem.name}.labels", "added": labels.added, "apart": labels.apart}))
    else:
        print(f"{labels.added:,} labels were added to {problem.name}.labels")
    if labels.apart:
        print(
            f"{labels.apart:,} labels name no row of {problem.name}, such as {labels.first}: they are kept apart in "
            f"{problem.name}.labels_apart; is the key right?",
            file=sys.stderr,
        )
    return 1 if labels.apart and not labels.added else 0
