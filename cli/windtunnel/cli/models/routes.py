"""``windtunnel routes``: who answers a model's requests, how each arm does, and whether an experiment may be decided."""

import argparse
import json
from typing import Any

from windtunnel.lifecycle.payload import JsonObject

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The model, and what to change."""
    parser.add_argument("model", help="the model's name")
    parser.add_argument(
        "--arm",
        action="append",
        default=[],
        metavar="LABEL=WEIGHT",
        help="share the traffic: a label or a version and its weight; repeatable, replaces the route",
    )
    parser.add_argument("--sticky", default="", help="with --arm: the column whose value always gets the same arm")
    parser.add_argument("--shadow", action="append", default=[], metavar="LABEL", help="with --arm: answers too, unseen; repeatable")
    parser.add_argument("--reference", default="", help="with --arm: compare the arms with this one (an experiment)")
    parser.add_argument("--bandit", action="store_true", help="with --reference: weights follow what answers turn out to be worth")
    parser.add_argument("--alpha", type=float, default=0.05, help="probability of ever calling equal arms different (default %(default)s)")
    parser.add_argument("--reset", action="store_true", help="the champion alone answers again")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Change the route if asked to, and show it."""
    from windtunnel.cli.instance.resolve import command_settings
    from windtunnel.lifecycle.contract.errors import ConfigurationError
    from windtunnel.lifecycle.release.targets import ServerTarget

    settings = command_settings(arguments)
    target = ServerTarget(settings.need("server_url"), settings.server_token)
    if arguments.reset:
        target.set_route(arguments.model, {})
    elif arguments.arm:
        target.set_route(arguments.model, _route(arguments))
    elif arguments.sticky or arguments.shadow or arguments.reference or arguments.bandit:
        raise ConfigurationError(
            "--sticky, --shadow, --reference and --bandit say how --arm shares the traffic, but there is no --arm",
            hint="for example --arm champion=0.5 --arm canary=0.5 --reference champion",
        )
    if arguments.model not in target.models():
        raise ConfigurationError(
            f"the model server at {target.url} serves no model {arguments.model!r}", hint=f"models: {', '.join(target.models()) or 'none'}"
        )
    found = target.overview(arguments.model)
    print(json.dumps(found, indent=2) if arguments.json else _text(found))
    return 0


def _route(arguments: argparse.Namespace) -> dict[str, object]:
    from windtunnel.lifecycle.contract.errors import ConfigurationError

    arms: dict[str, float] = {}
    for entry in arguments.arm:
        name, mark, weight = entry.partition("=")
        try:
            arms[name] = float(weight if mark else 1)
        except ValueError as error:
            raise ConfigurationError(f"--arm must be LABEL=WEIGHT but got {entry!r}", hint="for example --arm canary=0.1") from error
    route: dict[str, object] = {"arms": arms}
    if arguments.sticky:
        route["sticky"] = arguments.sticky
    if arguments.shadow:
        route["shadow"] = arguments.shadow
    if arguments.reference or arguments.bandit:
        route["experiment"] = {"reference": arguments.reference or next(iter(arms)), "bandit": arguments.bandit, "alpha": arguments.alpha}
    return route


def _text(found: JsonObject) -> str:
    from windtunnel.lifecycle.release.targets import ARM_COLUMNS

    rows = [ARM_COLUMNS, *(tuple(_shown(arm.get(name)) for name in ARM_COLUMNS) for arm in found["arms"])]
    widths = [max(len(row[place]) for row in rows) for place in range(len(ARM_COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    labels = ", ".join(f"{label} is version {version}" for label, version in sorted(found["labels"].items()))
    return "\n".join([f"{found['model']}: {labels or 'no labels'}", *lines, *([found["text"]] if found["text"] else [])])


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:,.4g}" if isinstance(value, float) else str(value)
