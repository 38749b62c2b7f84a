"""``windtunnel lineage``: what a model was made from, and which models a snapshot or a day of data went into."""

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windtunnel.lifecycle.contract.settings import Settings
    from windtunnel.lifecycle.payload import JsonMapping
    from windtunnel.lifecycle.record.lineage import Lineage
    from windtunnel.lifecycle.record.lineage_rows import RowLineage

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which way."""
    parser.add_argument("problem", nargs="?", default="", help="the problem's name")
    parser.add_argument("--version", default="", help="of this version (default: the champion)")
    parser.add_argument("--snapshot", default="", help="the other way: versions made from this snapshot (id or fingerprint)")
    parser.add_argument("--key", action="append", default=[], metavar="COLUMN=VALUE", help="the other way: what became of a row; repeat it")
    parser.add_argument("--day", default="", help="the other way: versions that learnt from the rows of this day (ISO)")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Answer."""
    from windtunnel.cli.instance.resolve import command_settings
    from windtunnel.lifecycle.contract.errors import ConfigurationError
    from windtunnel.lifecycle.record.lineage import models_of, of_version

    settings = command_settings(arguments)
    if arguments.key:
        return _row(arguments, settings)
    if arguments.snapshot or arguments.day:
        _print_models(models_of(settings, arguments.problem, snapshot=arguments.snapshot, day=arguments.day), arguments)
        return 0
    if not arguments.problem:
        raise ConfigurationError("say whose lineage: windtunnel lineage PROBLEM", hint="or give --snapshot or --day")
    lineage = of_version(settings, arguments.problem, arguments.version)
    if arguments.json:
        print(json.dumps(asdict(lineage), indent=2))
    else:
        _print_lineage(lineage)
    return 0


def _print_models(models: "Sequence[JsonMapping]", arguments: argparse.Namespace) -> None:
    """The versions that were made from a snapshot or from the rows of a day."""
    if arguments.json:
        print(json.dumps(models, indent=2))
        return
    for row in models:
        print(f"{row['problem']} version {row['version']} ({row['semantic']}), cut-off {row['cutoff']}, bundle {row['digest'][:12]}")
    if not models:
        print("no registered version was made from it")


def _print_lineage(lineage: "Lineage") -> None:
    """Everything that is known of a version."""
    from windtunnel.cli.record.ledger import line

    print(f"{lineage.problem} version {lineage.version}, {lineage.semantic}, data cut-off {lineage.cutoff}")
    for title, values in (
        ("data", lineage.data),
        ("made with", lineage.code),
        ("sources", lineage.sources),
        ("suite", lineage.suite),
        ("run", lineage.run),
        ("people", lineage.people),
    ):
        print(f"  {title}")
        for name, value in values.items():
            print(f"    {name:<12} {_text(value)}")
    for line_of_it in lineage.expired:
        print(f"  {line_of_it}")
    print("  in production")
    for since, until in lineage.periods or [("never", None)]:
        print(f"    {since}" + ("" if since == "never" else f" to {until or 'now'}"))
    print("  in the ledger")
    for entry in lineage.evidence:
        print(f"    {line(entry)}")


def _row(arguments: argparse.Namespace, settings: "Settings") -> int:
    from windtunnel.lifecycle.contract.errors import ConfigurationError
    from windtunnel.lifecycle.record.lineage_rows import of_row

    if not arguments.problem:
        raise ConfigurationError("say whose row: windtunnel lineage PROBLEM --key COLUMN=VALUE")
    pairs = [text.partition("=") for text in arguments.key]
    if any(not sign for _, sign, _ in pairs):
        raise ConfigurationError(f"a key is COLUMN=VALUE but got {', '.join(arguments.key)}")
    found = of_row(settings, arguments.problem, {column.strip(): value.strip() for column, _, value in pairs})
    if arguments.json:
        print(json.dumps(asdict(found), indent=2, default=str))
    else:
        _print_row(found)
    return 0


def _print_row(found: "RowLineage") -> None:
    print(f"{len(found.rows)} rows of {found.problem} have {', '.join(f'{k} {v}' for k, v in found.key.items())}")
    for row in found.rows:
        print(f"  {row['day']}  {_text(row['row'])}")
    print(f"  in snapshots {', '.join(map(str, found.snapshots)) or 'none'}")
    for model in found.models:
        where = f"cut-off {model['cutoff']}, snapshot {model['snapshot_id']}"
        print(f"  {model['role']}: version {model['version']} ({model['semantic']}), {where}, row of {model['day']}")
    if not found.models:
        print("  no registered version had to do with it")


def _text(value: object) -> str:
    return ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
