"""``windtunnel env``: the exports that make other commands work against the embedded instance."""

import argparse
import json
import shlex

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Folder and output."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of exports")


def run(arguments: argparse.Namespace) -> int:
    """Print them; they hold passwords."""
    from windtunnel.cli.instance import Instance

    environment = Instance(arguments.home).environment()
    if arguments.json:
        print(json.dumps(environment, indent=2))
    else:
        for name, value in sorted(environment.items()):
            print(f"export {name}={shlex.quote(value)}")
    return 0
