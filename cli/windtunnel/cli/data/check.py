"""``windtunnel check PROBLEM.yaml``: everything that could be wrong with problem files, before Airflow sees them."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from windtunnel.lifecycle.contract.problem.sense import Fault

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("files", nargs="+", metavar="PROBLEM.yaml", help="problem files")
    parser.add_argument("--data", action="store_true", help="also read the first of the newest rows of each source")
    parser.add_argument("--json", action="store_true", help="print one JSON list: file, field and message of all that is wrong")


def run(arguments: argparse.Namespace) -> int:
    """Check; 1 if anything is wrong."""
    wrong = [(file, fault) for file in arguments.files for fault in _faults(file, data=arguments.data)]
    if arguments.json:
        print(json.dumps([{"file": file, "field": fault.field, "message": fault.message} for file, fault in wrong], indent=2))
    else:
        for file, fault in wrong:
            print(f"{file}: {fault}")
        for file in arguments.files:
            if all(file != other for other, _ in wrong):
                print(f"{file}: nothing is wrong")
    return int(bool(wrong))


def _faults(file: str, *, data: bool) -> "list[Fault]":
    from windtunnel.lifecycle.contract.errors import ProblemError
    from windtunnel.lifecycle.contract.problem import load
    from windtunnel.lifecycle.contract.problem.sense import Fault
    from windtunnel.lifecycle.contract.settings import Settings
    from windtunnel.lifecycle.learning.check import data_faults, import_faults

    try:
        problem = load(file)
    except ProblemError as error:
        return [Fault(field, message) for field, message in error.details.get("faults", [("(the whole file)", error.message)])]
    found = import_faults(problem)
    if problem.name != Path(file).stem:
        found.insert(0, Fault("name", f"is {problem.name!r} but must be the file's own name, {Path(file).stem!r}"))
    return [*found, *data_faults(problem, Settings.from_environment())] if data else found
