"""``windtunnel validate --suite S.json DATA``: a Great Expectations suite over Parquet of any size, as a table and as JSON."""

import argparse
import json

from windtunnel.cli.terminal import paint
from windtunnel.lifecycle.payload import JsonObject

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("data", nargs="+", help="Parquet files, folders, globs or URLs: one table")
    parser.add_argument("--suite", required=True, help="the suite: a JSON file as Great Expectations writes it")
    parser.add_argument("--json", action="store_true", help="print Great Expectations' whole result as one JSON object")
    parser.add_argument(
        "--result-format", default="SUMMARY", choices=["BOOLEAN_ONLY", "BASIC", "SUMMARY", "COMPLETE"], help="how much the result says"
    )
    parser.add_argument(
        "--statistics", metavar="FILE", help="statistics of this very data (`windtunnel profile DATA --state FILE`): reused, not read again"
    )
    parser.add_argument("--quiet", action="store_true", help="only what was not met")


def run(arguments: argparse.Namespace) -> int:
    """Validate; 0 if the suite was met (warnings pass), else 1."""
    from windtunnel.lifecycle.quality.suites import load_suite

    suite = load_suite(arguments.suite)
    from windtunnel.beam_jobs.expectations import run_suite
    from windtunnel.beam_jobs.expectations.engine.known import load_statistics
    from windtunnel.beam_jobs.expectations.run import failures_of

    known = load_statistics(arguments.statistics) if arguments.statistics else None
    result = run_suite(suite, arguments.data, result_format=arguments.result_format, statistics=known)
    if arguments.json:
        print(json.dumps(result, indent=1, ensure_ascii=False))
    else:
        _print(result, quiet=arguments.quiet)
    return int(any(failure.severity == "critical" for failure in failures_of(result)))


def _print(result: JsonObject, *, quiet: bool) -> None:
    from windtunnel.beam_jobs.expectations.run import failures_of
    from windtunnel.lifecycle.quality.suites import describe

    for entry in result["results"]:
        config = entry["expectation_config"]
        severity = config.get("severity") or "critical"
        word = "met    " if entry["success"] else "NOT MET" if severity == "critical" else severity.ljust(7)
        if entry["success"] and quiet:
            continue
        style = "green" if entry["success"] else "bold red" if severity == "critical" else "yellow"
        print(f"{paint(word, style)}  {describe(config)}")
        if not entry["success"]:
            failure = failures_of({"results": [entry]})[0]
            print(f"         {failure.got}")
    numbers = result["statistics"]
    print(f"{numbers['successful_expectations']} of {numbers['evaluated_expectations']} expectations met")
