"""``windtunnel quality SOURCE``: the quality of a problem's data, day by day."""

import argparse
import json
import sys
from dataclasses import asdict

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Whose data, and how much of it."""
    parser.add_argument("source", help="the problem's name, or its table, such as flight_delays.examples")
    parser.add_argument("--days", type=int, default=30, help="the newest so many recorded days (30)")
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    parser.add_argument("--html", metavar="FILE", help="write the page, with pictures")


def run(arguments: argparse.Namespace) -> int:
    """Show it."""
    from windtunnel.cli.data.reading import write
    from windtunnel.cli.instance.resolve import command_settings
    from windtunnel.lifecycle.contract.errors import ConfigurationError
    from windtunnel.lifecycle.pages.quality import quality_page
    from windtunnel.lifecycle.quality.history import history
    from windtunnel.lifecycle.quality.score import BEFORE, scores, trend, worst_columns

    if arguments.days < 1:
        raise ConfigurationError(f"--days must be at least 1 but is {arguments.days}")
    problem = arguments.source.removesuffix(".examples")
    recorded = history(command_settings(arguments), problem, arguments.days + BEFORE)
    found = scores(recorded)[-arguments.days :]
    direction, worst = trend(found), worst_columns(found)
    if arguments.html:
        write(arguments.html, quality_page(problem, recorded, arguments.days).encode())
    if arguments.json:
        columns = [{"column": name, "days": days, "reason": reason} for name, days, reason in worst]
        shown = {"source": problem, "trend": asdict(direction), "worst": columns, "days": [entry.to_dict() for entry in found]}
        print(json.dumps(shown, indent=1, ensure_ascii=False))
        return 0
    print(f"{problem}: {len(found)} days, {found[0].day} to {found[-1].day}; trend: {direction.word} ({direction.a_week:+.1f} a week)")
    for entry in found:
        bar = "█" * round(entry.score / 5)
        why = "; ".join(map(str, entry.blame[:2])) or ("" if entry.compared else "too few days before it to compare")
        print(f"{entry.day}  {entry.score:5.1f}  {bar:<20}  {entry.rows:>9,} rows  {why}".rstrip())
    print("worst columns: " + (", ".join(f"{name} ({days} days)" for name, days, _ in worst[:5]) or "none"))
    if not any(entry.compared for entry in found):
        print("no day could be compared with days before it yet", file=sys.stderr)
    return 0
