"""``windtunnel label``: labels that people gave become part of the problem's data."""

import argparse
import getpass

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Problem, file, person."""
    parser.add_argument("problem", help="the problem file")
    parser.add_argument("labels", help="a CSV or Parquet file with the problem's key columns and `label`")
    parser.add_argument("--by", default=getpass.getuser(), help="who gave those that do not say (default: you)")


def run(arguments: argparse.Namespace) -> int:
    """Add them; the same file again adds nothing."""
    from windtunnel.lifecycle.contract.problem import load
    from windtunnel.lifecycle.contract.settings import Settings
    from windtunnel.lifecycle.live.labels import add_labels

    problem = load(arguments.problem)
    added = add_labels(problem, arguments.labels, Settings.from_environment(), by=arguments.by)
    print(f"{added:,} labels were added to {problem.name}.labels")
    return 0
