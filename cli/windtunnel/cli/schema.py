"""``windtunnel schema``: the JSON Schema of a problem file, for editors and for checks in CI."""

import argparse
import json

from windtunnel.lifecycle.problem import json_schema

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has none."""


def run(_arguments: argparse.Namespace) -> int:
    """Print it."""
    print(json.dumps(json_schema(), indent=2))
    return 0
