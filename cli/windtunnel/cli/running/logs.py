"""``windtunnel logs``: the services' logs."""

import argparse
import time
from collections import deque
from pathlib import Path

from windtunnel.lifecycle.contract.errors import ConfigurationError

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which, how many lines, and whether to go on."""
    parser.add_argument("service", nargs="?", help="airflow (or one of its parts), mlflow, server or postgres (default: all)")
    parser.add_argument("--lines", "-n", type=int, default=50, help="lines of each log to begin with (default: 50)")
    parser.add_argument("--follow", "-f", action="store_true", help="go on printing what is logged, until interrupted")


def run(arguments: argparse.Namespace) -> int:
    """Print them."""
    from windtunnel.cli.instance import Instance
    from windtunnel.cli.instance.services import AIRFLOW, SERVICES

    instance = Instance(arguments.home)
    choices = {"airflow": AIRFLOW, **{name: (name,) for name in SERVICES}}
    if arguments.service is not None and arguments.service not in choices:
        raise ConfigurationError(f"no service {arguments.service!r}", hint=f"one of {', '.join(choices)}")
    instance.state  # noqa: B018  # says so where there is no instance
    names = SERVICES if arguments.service is None else choices[arguments.service]
    logs = {name: instance.daemon(name).log for name in names}
    places = {}
    for name, log in logs.items():
        places[name] = _show(name, log, arguments.lines, alone=len(logs) == 1)
    while arguments.follow:
        for name, log in logs.items():
            places[name] = _go_on(name, log, places[name], alone=len(logs) == 1)
        time.sleep(0.3)
    return 0


def _show(name: str, log: Path, lines: int, *, alone: bool) -> int:
    if not log.exists():
        return 0
    with log.open(encoding="utf-8", errors="replace") as file:
        for line in deque(file, maxlen=max(lines, 0)):
            _print(name, line, alone=alone)
        return file.tell()


def _go_on(name: str, log: Path, place: int, *, alone: bool) -> int:
    if not log.exists() or log.stat().st_size == place:
        return place
    with log.open(encoding="utf-8", errors="replace") as file:
        if log.stat().st_size > place:  # a log that was set aside begins anew
            file.seek(place)
        for line in iter(file.readline, ""):
            _print(name, line, alone=alone)
        return file.tell()


def _print(name: str, line: str, *, alone: bool) -> None:
    text = line.rstrip("\n")
    print(text if alone else f"{name:14} {text}", flush=True)
