"""``windtunnel down``: stop the embedded instance; its data stays."""

import argparse

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The folder."""
    parser.add_argument("--home", help="the instance's folder (default: WINDTUNNEL_HOME or .windtunnel)")


def run(arguments: argparse.Namespace) -> int:
    """Stop it."""
    from windtunnel.cli.instance import Instance

    instance = Instance(arguments.home)
    print(f"The instance in {instance.home} is stopped." if instance.down() else f"No instance runs in {instance.home}.")
    return 0
