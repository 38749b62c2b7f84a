"""``windtunnel down``: stop the embedded instance; its data stays."""

import argparse
import json

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The output."""
    parser.add_argument("--json", action="store_true", help='print {"home", "ran"}')


def run(arguments: argparse.Namespace) -> int:
    """Stop it."""
    from windtunnel.cli.instance import Instance

    instance = Instance(arguments.home)
    ran = instance.down()
    if arguments.json:
        print(json.dumps({"home": str(instance.home), "ran": ran}))
    else:
        print(f"The instance in {instance.home} is stopped." if ran else f"No instance runs in {instance.home}.")
    return 0
