"""``windtunnel ledger``: list the record of decisions, verify its chain, and ask it what was in production and why."""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from windtunnel.lifecycle.record.ledger import Entry, InProduction, Ledger

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is asked."""
    parser.add_argument("what", nargs="?", default="list", choices=["list", "show", "verify", "at", "counterfactual"], help="default: list")
    parser.add_argument("entry", nargs="?", help="show: the hash of an entry, or the beginning of it")
    parser.add_argument("--problem", help="only this problem (at, counterfactual: needed if there are several)")
    parser.add_argument("--kind", action="append", default=[], help="list: only this kind; may be repeated")
    parser.add_argument("--limit", type=int, default=50, help="list: the newest so many (default 50; 0 for all)")
    parser.add_argument("--time", default="", help="at: an ISO time, UTC (default: now)")
    parser.add_argument("--known", action="append", default=[], help="verify: a hash seen before, which must still be there")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Answer."""
    from windtunnel.cli.instance.resolve import command_settings
    from windtunnel.lifecycle.contract.errors import ConfigurationError
    from windtunnel.lifecycle.record.ledger import Ledger

    ledger = Ledger(command_settings(arguments))
    if arguments.what == "verify":
        found = ledger.verify(arguments.known)
        _say(arguments, asdict(found), [f"{found.entries} entries, the chain is whole; its head is {found.head}"])
    elif arguments.what == "at":
        return _at(arguments, ledger)
    elif arguments.what == "counterfactual":
        from windtunnel.lifecycle.judging.counterfactual import answer

        found_rows = answer(command_settings(arguments), _problem(arguments, ledger))
        _say(arguments, found_rows, [would(row) for row in found_rows] or ["no version was registered, and no counterfactual run was made"])
    elif arguments.what == "show":
        if not arguments.entry:
            raise ConfigurationError("show needs the hash of an entry", hint="windtunnel ledger list shows them")
        entry = ledger.entry(arguments.entry)
        if entry is None:
            raise ConfigurationError(f"no entry begins with {arguments.entry}")
        print(json.dumps(asdict(entry), indent=2))
    else:
        entries = ledger.entries(arguments.problem, arguments.kind, limit=arguments.limit)
        _say(arguments, [asdict(entry) for entry in entries], [line(entry) for entry in entries] or ["the ledger has no such entry"])
    return 0


def would(row: Mapping[str, Any]) -> str:
    """One day of what would have been, in one line."""
    if row["was_champion"]:
        said = "was champion"
    elif row["approved"]:
        said = "would have been champion"
    else:
        stays = f"the champion of {row['champion']} would have stayed" if row["champion"] else "there would have been no champion"
        said = f"{stays}: {'; '.join(row['reasons']) or 'not approved'}"
    what = f"version {row['version']} ({row['semantic']})" if row["version"] else f"candidate {row['candidate'][:12]}"
    return f"{row['cutoff']}  {what:<24} {row['metric']} {row['value']:.4f}  {said} ({row['run_type']})"


def line(entry: "Entry") -> str:
    """An entry in one line."""
    payload = entry.payload
    said: dict[str, Callable[[], str]] = {
        "evaluation": lambda: f"{payload['metric']} {payload['value']:.4f}, {'passed' if payload['passed'] else 'not passed'}",
        "decision": lambda: f"{'approved' if payload.get('approved') else 'not approved'} by {payload.get('by')}: {payload.get('reason')}",
        "register": lambda: f"version {payload['version']} ({payload['semantic']}), cut-off {payload['cutoff']}: {payload['reason']}",
        "promotion": lambda: f"version {payload['version']} ({payload['semantic']}) is champion, cut-off {payload['cutoff']}",
        "refusal": lambda: f"{payload.get('what')} of version {payload.get('version', '-')} refused: {payload.get('reason')}",
        "counterfactual": lambda: (
            f"{'would have become champion' if payload['approved'] else 'would not have passed'}, cut-off {payload['cutoff']}, "
            f"{payload['metric']} {payload['value']:.4f}"
        ),
        "rollback": lambda: f"version {payload['from']} -> version {payload['version']}: {payload['reason']}",
    }
    try:
        text = said[entry.kind]()
    except (KeyError, TypeError, ValueError):  # an entry of another release may lack a field: show what it has
        text = json.dumps(payload, sort_keys=True)
    who = entry.run.get("run_id") or entry.run.get("dag_id") or "-"
    return f"{entry.seq:>6}  {entry.at[:19]}  {entry.hash[:12]}  {entry.problem:<20} {entry.kind:<10}  {text}  [{who}]"


def _at(arguments: argparse.Namespace, ledger: "Ledger") -> int:
    import datetime as dt

    time = arguments.time or dt.datetime.now(dt.UTC).isoformat()
    problem = _problem(arguments, ledger)
    found = ledger.at(problem, time)
    if found is None:
        _say(arguments, None, [f"no version of {problem} was in production at {time}"])
        return 1
    _say(arguments, {"version": found.version, "by": found.by, **asdict(found)}, _answer(problem, time, found))
    return 0


def _problem(arguments: argparse.Namespace, ledger: "Ledger") -> str:
    from windtunnel.lifecycle.contract.errors import ConfigurationError

    if arguments.problem:
        return str(arguments.problem)
    known = sorted({entry.problem for entry in ledger.entries()})
    if len(known) != 1:
        raise ConfigurationError("say which problem with --problem", hint=f"the ledger knows: {', '.join(known) or 'none'}")
    return known[0]


def _answer(problem: str, time: str, found: "InProduction") -> Sequence[str]:
    payload = found.entry.payload
    return [
        f"{problem} at {time}: version {found.version} ({payload['semantic']}), data cut-off {payload['cutoff']}",
        f"  since      {found.entry.at}" + (f" until {found.until.at}" if found.until else ""),
        f"  approved   by {found.by}",
        f"  worth      {payload['metric']} {payload['value']}",
        *([f"  because    {payload['reason']}"] if payload.get("reason") else []),
        "  evidence",
        *(f"    {line(entry)}" for entry in found.evidence),
    ]


def _say(arguments: argparse.Namespace, values: Any, lines: Sequence[str]) -> None:
    print(json.dumps(values, indent=2) if arguments.json else "\n".join(lines))
