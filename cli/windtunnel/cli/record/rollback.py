"""``windtunnel rollback``: make an earlier version the champion again, in the ledger, in MLflow and in the model server."""

import argparse
import getpass
import json
from dataclasses import asdict

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which problem, to what, and why."""
    parser.add_argument("problem", help="the problem's name")
    parser.add_argument("--to", help="the version to go back to (default: the champion before the present one)")
    parser.add_argument("--reason", required=True, help="why; it is kept for ever")
    parser.add_argument("--json", action="store_true", help="print the champion, and what is done and left to do, as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Go back, and say what is in production now; exit status 1 if a system does not agree yet (the same command again goes on)."""
    from windtunnel.cli.instance.resolve import command_settings
    from windtunnel.lifecycle.contract.run import Run
    from windtunnel.lifecycle.release.rolling_back import roll_back

    who = Run(dag_id="windtunnel rollback", by=getpass.getuser(), reason=arguments.reason)
    outcome = roll_back(command_settings(arguments), arguments.problem, arguments.to, reason=arguments.reason, run=who)
    present = outcome.champion
    if arguments.json:
        print(json.dumps({**asdict(present), "continued": outcome.continued, "done": outcome.done, "left": outcome.left}, indent=2))
        return 1 if outcome.left else 0
    what = f"version {present.version} ({present.semantic}, data cut-off {present.cutoff})"
    if outcome.left:
        print(f"{arguments.problem}: {what} is the champion in {', '.join(outcome.done)}, but not everywhere yet:")
        for system, why in outcome.left.items():
            print(f"  {system}: {why}")
        print("Left to do: give the same command again once that is mended; it goes on from here, not one version further back.")
        return 1
    print(f"{arguments.problem}: {what} is the champion again: {', '.join(outcome.done)} agree")
    return 0
