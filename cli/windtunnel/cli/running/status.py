"""``windtunnel status``: which services run, where, and whether they are well."""

import argparse
import json

from windtunnel.cli.terminal import paint
from windtunnel.lifecycle.payload import JsonMapping

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Folder and output."""
    parser.add_argument("--json", action="store_true", help='print {"services": {name: {"url", "healthy", "pid"}}}')


def run(arguments: argparse.Namespace) -> int:
    """Print it; exit status 0 only if every service is well."""
    from windtunnel.cli.instance import Instance

    status = Instance(arguments.home).status()
    services = status["services"]
    if arguments.json:
        print(json.dumps(status, indent=2))
    else:
        for name, service in services.items():
            print(f"{name:10} {_health(service)} {service['pid'] or '-':>8}  {service['url']}")
            for part, found in service.get("components", {}).items():
                print(f"  {part:14} {_health(found)} {found['pid'] or '-':>8}")
    return 0 if all(service["healthy"] for service in services.values()) else 1


def _health(service: JsonMapping) -> str:
    return paint(f"{'well':9}", "green") if service["healthy"] else paint(f"{'not well':9}", "bold red")
