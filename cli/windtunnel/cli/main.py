"""``windtunnel COMMAND``: one module a command, imported only when it is called.

A command's module has ``add_arguments(parser)`` and ``run(arguments) -> int``.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from importlib import metadata

from windtunnel.lifecycle.contract.errors import WindtunnelError

__all__ = ["COMMANDS", "main"]

COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("windtunnel.cli.running.up", "start or repair the embedded instance"),
    "down": ("windtunnel.cli.running.down", "stop the embedded instance"),
    "status": ("windtunnel.cli.running.status", "say which services run, where, and whether they are well"),
    "logs": ("windtunnel.cli.running.logs", "show the services' logs"),
    "env": ("windtunnel.cli.running.env", "print the exports that make other commands work against the embedded instance"),
    "demo": ("windtunnel.cli.running.demo", "run the main job on real flights and show what came of it"),
    "profile": ("windtunnel.cli.data.profile", "statistics of data, as JSON or a report"),
    "compare": ("windtunnel.cli.data.compare", "drift between two sets of data"),
    "infer-suite": ("windtunnel.cli.data.infer_suite", "propose a Great Expectations suite from data"),
    "validate": ("windtunnel.cli.data.validate", "run a Great Expectations suite over data of any size"),
    "features": ("windtunnel.cli.data.features", "fit and apply scikit-learn preprocessing over data of any size"),
    "serve": ("windtunnel.cli.models.serve", "run the model server"),
    "routes": ("windtunnel.cli.models.routes", "show or change who answers a model's requests; say whether an experiment may be decided"),
    "predict": ("windtunnel.cli.models.predict", "score data of any size with a model"),
    "label": ("windtunnel.cli.data.label", "add labels that people gave"),
    "ledger": ("windtunnel.cli.record.ledger", "list, verify and question the record of decisions"),
    "lineage": ("windtunnel.cli.record.lineage", "what a model was made from, and which models a snapshot went into"),
    "rollback": ("windtunnel.cli.record.rollback", "make an earlier version the champion again"),
    "replay": ("windtunnel.cli.record.replay", "compute a past run again and compare every fingerprint"),
    "diff": ("windtunnel.cli.record.diff", "say what differs between two runs"),
    "schema": ("windtunnel.cli.data.schema", "print the JSON Schema of a problem file"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; errors of ours are one clear message and exit status 1, not a traceback."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(prog="windtunnel", description="The whole life of a model, as ordinary Airflow DAGs.")
    parser.add_argument("--version", action="version", version=metadata.version("windtunnel"))
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    name = next((word for word in given if not word.startswith("-")), None)
    for command, (module, text) in COMMANDS.items():
        subparser = commands.add_parser(command, help=text, description=text)
        if command == name:
            importlib.import_module(module).add_arguments(subparser)
    parsed = parser.parse_args(given)
    try:
        return int(importlib.import_module(COMMANDS[parsed.command][0]).run(parsed))
    except WindtunnelError as error:
        print(f"windtunnel {parsed.command}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
