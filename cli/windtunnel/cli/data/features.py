"""``windtunnel features``: fit scikit-learn preprocessing over Parquet data of any size, or apply it, and write training shards."""

import argparse
import json
from typing import Any

from windtunnel.cli.terminal import counting, progress_of

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to fit or apply, on what, and where to."""
    parser.add_argument("data", nargs="+", help="Parquet files, folders or globs")
    parser.add_argument(
        "-o", "--output", metavar="FOLDER", required=True, help="the folder for the shards, the manifest and the fitted transformer"
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--problem", help="a problem file: fit its features")
    what.add_argument("--transformer", help="module:function that returns an unfitted transformer: fit it")
    what.add_argument("--fitted", help="a folder of an earlier run: apply its transformer")
    parser.add_argument("--label", help="the column that is learnt from; it is written beside the features")
    parser.add_argument("--weights", help="the column with row weights")
    parser.add_argument("--columns", nargs="+", help="the columns that the transformer is given; all but the label if not said")
    parser.add_argument("--beyond", choices=["exact", "sketch"], default="exact", help="columns with very many values: spill, or sketch")
    parser.add_argument("--sample", type=int, help="rows of a sample for steps that cannot be fitted over any amount of data")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--json", action="store_true", help="print the whole manifest")


def run(arguments: argparse.Namespace) -> int:
    """Fit or apply, and say what came of it."""
    import os
    import sys

    from windtunnel.beam_jobs.features.__main__ import run as job

    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - module:function beside where the command is run
    options: dict[str, Any] = {"beyond": arguments.beyond, "workers": arguments.workers}
    chosen = {"label": arguments.label, "sample_weight": arguments.weights, "columns": arguments.columns, "sample": arguments.sample}
    options |= {option: value for option, value in chosen.items() if value is not None}
    spec = {"data": arguments.data, "output": arguments.output, "options": options}
    spec |= {name: getattr(arguments, name) for name in ("problem", "transformer", "fitted") if getattr(arguments, name)}
    with counting("features"):
        manifest = job(spec, progress_of("job"))
    if arguments.json:
        print(json.dumps(manifest, indent=1))
        return 0
    passes = f", {manifest['passes']} pass{'' if manifest['passes'] == 1 else 'es'} to fit" if "passes" in manifest else ""
    print(f"{manifest['rows']:,} rows, {manifest['width']:,} features ({manifest['layout']}){passes}: {arguments.output}")
    for note in manifest.get("notes", []):
        print(f"note: {note['step']}: {note['what']}: {note['says']}")
    return 0
