"""``windtunnel label``: labels that people gave become part of the problem's data."""

import argparse
import getpass
import json

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Problem, file, person."""
    parser.add_argument("problem", help="the problem file")
    parser.add_argument("labels", help="a CSV or Parquet file with the problem's key columns and `label`")
    parser.add_argument("--by", default=getpass.getuser(), help="who gave those that do not say (default: you)")
    parser.add_argument("--json", action="store_true", help='print {"table", "added"}')


def run(arguments: argparse.Namespace) -> int:
    """Add them; the same file again adds nothing."""
    from windtunnel.cli.instance.resolve import command_settings
    from windtunnel.lifecycle.contract.problem import load
    from windtunnel.lifecycle.live.labels import add_labels

    problem = load(arguments.problem)
    added = add_labels(problem, arguments.labels, command_settings(arguments), by=arguments.by)
    if arguments.json:
        print(json.dumps({"table": f"{problem.name}.labels", "added": added}))
    else:
        print(f"{added:,} labels were added to {problem.name}.labels")
    return 0
