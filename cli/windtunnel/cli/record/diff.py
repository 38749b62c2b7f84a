"""``windtunnel diff``: what differs between two runs: data, code, parameters, environment, and what follows from what."""

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from windtunnel.lifecycle.record.comparing import StageComparison

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The runs."""
    parser.add_argument("before", help="a run id, or the beginning of one")
    parser.add_argument("after", help="another")
    parser.add_argument("--problem", default="", help="look only among this problem's runs")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Compare; exit status 0 if nothing differs, 2 if something does."""
    from windtunnel.cli.instance.resolve import command_settings
    from windtunnel.lifecycle.record.comparing import compare
    from windtunnel.lifecycle.record.manifest import find

    settings = command_settings(arguments)
    found = compare(find(settings, arguments.before, arguments.problem), find(settings, arguments.after, arguments.problem))
    differing = [stage for stage in found if not stage.same]
    if arguments.json:
        print(json.dumps([asdict(stage) for stage in found], indent=2, default=str))
    else:
        for stage in found:
            _print(stage)
        print("nothing differs" if not differing else f"the first stage that differs is {differing[0].stage}")
    return 2 if differing else 0


def _print(stage: "StageComparison") -> None:
    mark = "same     " if stage.same else "differs  "
    print(f"{mark}{stage.stage:<11} {stage.before[:12] or '(did not run)':<14} {stage.after[:12] or '(did not run)'}")
    for difference in [*stage.causes, *stage.outcome]:
        print(f"           {difference}")
