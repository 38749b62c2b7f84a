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
    parser.add_argument("--json", action="store_true", help="print the new champion as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Go back, and say what is in production now."""
    from windtunnel.cli.instance.resolve import command_settings
    from windtunnel.lifecycle.contract.run import Run
    from windtunnel.lifecycle.record.promotion import rollback

    who = Run(dag_id="windtunnel rollback", by=getpass.getuser(), reason=arguments.reason)
    settings = command_settings(arguments)
    found = rollback(settings, arguments.problem, arguments.to, reason=arguments.reason, run=who)
    if settings.server_url:
        from windtunnel.lifecycle.release.deployment import serve_champion

        serve_champion(settings, arguments.problem)
    if arguments.json:
        print(json.dumps(asdict(found), indent=2))
    else:
        print(f"{arguments.problem}: version {found.version} ({found.semantic}, data cut-off {found.cutoff}) is the champion again")
    return 0
