"""``windtunnel predict``: score data of any size with a model, by the same engine as the model server."""

import argparse
import json

from windtunnel.cli.terminal import counting, progress_of

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Model, data, output."""
    parser.add_argument("bundle", help="the model's bundle: a folder or URL")
    parser.add_argument("data", nargs="+", help="Parquet files, folders, globs or URLs")
    parser.add_argument("-o", "--output", metavar="FOLDER", required=True, help="folder or URL of the Parquet files with the answers")
    parser.add_argument("--keep", default="", help="columns to copy beside the answers, separated by commas")
    parser.add_argument("--digest", help="the digest that the bundle must have")
    parser.add_argument("--workers", type=int, default=1, help="processes (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print files, rows and the engine as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Score, and say what was written."""
    from windtunnel.beam_jobs import predict

    spec = {
        "bundle": arguments.bundle,
        "data": arguments.data,
        "output": arguments.output,
        "keep": [name for name in arguments.keep.split(",") if name],
        "digest": arguments.digest,
        "workers": arguments.workers,
    }
    with counting("scoring"):
        result = predict.run(spec, progress_of("predict"))
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        print(f"{result['rows']:,} rows scored: {arguments.output}")
    return 0
