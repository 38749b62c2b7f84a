"""``windtunnel infer-suite DATA``: propose a Great Expectations suite from data, for a person to review."""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from windtunnel.cli.data import reading
from windtunnel.lifecycle.data.sources.files import border

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("data", nargs="+", help="Parquet, CSV, JSON lines or Arrow: files, folders, globs or URLs: one table")
    parser.add_argument("-o", "--output", metavar="FILE", help="where the suite goes; standard output if not given")
    parser.add_argument("--name", default="suite", help="the suite's name")
    parser.add_argument("--problem", metavar="FILE", help="a problem file: its keys and optional columns are taken into account")
    parser.add_argument("--compare", metavar="FILE", help="a reviewed suite: print what the proposal would change in it instead")
    reading.add_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Propose."""
    from windtunnel.beam_jobs.expectations.engine.source import Source
    from windtunnel.beam_jobs.expectations.proposal import infer
    from windtunnel.lifecycle.contract import problem as problems
    from windtunnel.lifecycle.contract.errors import ConfigurationError
    from windtunnel.lifecycle.quality import suites

    problem = problems.load(arguments.problem) if arguments.problem else None
    reviewed = suites.load_suite(arguments.compare) if arguments.compare else None
    with tempfile.TemporaryDirectory(prefix="windtunnel-") as folder, border(", ".join(arguments.data)):
        proposal = infer(Source(reading.as_parquet(arguments.data, arguments, folder)), arguments.name, problem)
    if reviewed is not None:
        for line in suites.changes(reviewed, proposal):
            print(line)
        return 0
    text = json.dumps(proposal, indent=1, ensure_ascii=False) + "\n"
    if not arguments.output:
        sys.stdout.write(text)
        return 0
    try:
        Path(arguments.output).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"--output {arguments.output}: cannot be written: {error.strerror}") from error
    print(f"{len(proposal['expectations'])} expectations proposed in {arguments.output}: review them, then name the file in the problem")
    return 0
