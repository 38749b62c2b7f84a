"""``windtunnel gc``: remove what nobody needs any more, by the rules of the problem files."""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from windtunnel.lifecycle.keeping.housekeeping import Housekeeping

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Whose, and whether to look only."""
    parser.add_argument(
        "problems", nargs="+", metavar="PROBLEM.yaml", help="problem files, or folders of them: their retention is the rule"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would go, and leave it")
    parser.add_argument("--names", action="store_true", help="name each thing")
    parser.add_argument("--json", action="store_true", help="print the figures and names as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Remove, and say what was freed; exit status 1 if some kind of thing could not be looked after."""
    from windtunnel.cli.instance.resolve import command_settings
    from windtunnel.lifecycle.contract.problem import load
    from windtunnel.lifecycle.keeping.housekeeping import housekeep

    settings = command_settings(arguments)
    found = [housekeep(load(path), settings, dry=arguments.dry_run) for path in _files(arguments.problems)]
    if arguments.json:
        print(json.dumps([{**dataclasses.asdict(entry), "size": entry.size} for entry in found], indent=2))
        return int(any(entry.failed for entry in found))
    for entry in found:
        _print(entry, names=arguments.names)
    return int(any(entry.failed for entry in found))


def _print(entry: "Housekeeping", *, names: bool) -> None:
    from windtunnel.lifecycle.keeping.report import readable

    print(f"{entry.problem}: {readable(entry.size)} {'would go' if entry.dry else 'freed'}")
    for row in entry.freed:
        print(f"  {row}")
        for name in row.names if names else ():
            print(f"    {name}")
    for kind, why in entry.failed.items():
        print(f"  {kind}: not looked after: {why}")


def _files(given: list[str]) -> list[Path]:
    files = [path for text in given for path in (sorted(Path(text).glob("*.y*ml")) if Path(text).is_dir() else [Path(text)])]
    if not files:
        from windtunnel.lifecycle.contract.errors import ConfigurationError

        raise ConfigurationError(f"no problem file in {', '.join(given)}", hint="give a file such as dags/problems/flight_delays.yaml")
    return files
