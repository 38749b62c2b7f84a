"""Suites: what good data is, as Great Expectations' own JSON files, which people review.

Nothing here imports Great Expectations: a suite is read, explained, proposed from facts about columns, and compared as plain data.
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from windtunnel.lifecycle.contract.errors import ConfigurationError
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.payload import JsonMapping, JsonObject

__all__ = ["Column", "changes", "describe", "load_suite", "normal", "of_problem", "propose", "quarantine_share", "split_by_day"]

Suite = dict[str, Any]

_FEW = 50  # distinct values of a text column that are taken for a closed list
_CLASSES = 5  # distinct values whose shares are looked at, too
_MOVED = 0.1  # the share of rows that may be of another value
_SLACK = 0.2  # how far beyond the range that was seen values may lie, as a share of its width


@dataclasses.dataclass(frozen=True)
class Column:
    """What was seen of a column.

    Attributes:
        name: its name.
        kind: ``number``, ``whole``, ``text``, ``boolean``, ``time`` or ``other``.
        rows: how many rows there were.
        nulls: how many of them were null or NaN.
        distinct: how many different values; None if too many to count.
        low: the smallest value (numbers and times as ISO text), None if there is none.
        high: the largest.
        values: all values with their number, if they are few.
    """

    name: str
    kind: str
    rows: int
    nulls: int
    distinct: int | None
    low: Any = None
    high: Any = None
    values: Mapping[Any, int] | None = None


def load_suite(path: str | Path) -> Suite:
    """A suite from its file.

    Raises:
        ConfigurationError: it is not a suite; says where.
    """
    path = Path(path)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"suite {path}: cannot be read: {error.strerror}", hint="`windtunnel infer-suite` proposes one") from error
    except ValueError as error:
        raise ConfigurationError(f"suite {path}: is not JSON: {error}") from error
    return normal(values, str(path))


def normal(values: Any, where: str = "suite") -> Suite:
    """A suite in today's form; the form of Great Expectations before 1.0 is understood too.

    Example:
        >>> normal({"expectation_suite_name": "s", "expectations": [{"expectation_type": "expect_column_to_exist",
        ...     "kwargs": {"column": "a"}}]})["expectations"][0]["type"]
        'expect_column_to_exist'
    """
    if not isinstance(values, Mapping) or not isinstance(values.get("expectations"), list):
        raise ConfigurationError(f"{where}: is not a Great Expectations suite", hint="it must be an object with name and expectations")
    expectations = [_normal_entry(entry, f"{where}: expectation {number}") for number, entry in enumerate(values["expectations"])]
    name = values.get("name") or values.get("expectation_suite_name") or "suite"
    return {"name": str(name), "expectations": expectations, "meta": dict(values.get("meta") or {})}


def of_problem(problem: Problem) -> Suite | None:
    """The reviewed suite beside a problem file; None if the problem names none."""
    if problem.suite is None:
        return None
    return load_suite(Path(problem.directory or ".", problem.suite))


def split_by_day(suite: Suite) -> tuple[Suite, Suite]:
    """What a suite asks of a window as a whole, and what it asks of every day of it.

    An expectation whose notes say ``{"windtunnel": {"per": "day"}}`` is about every day by itself: one bad day among many good ones
    moves a whole window too little to be seen.
    """
    daily = [entry for entry in suite["expectations"] if _notes(entry).get("per") == "day"]
    whole = [entry for entry in suite["expectations"] if _notes(entry).get("per") != "day"]
    return {**suite, "expectations": whole}, {**suite, "expectations": daily}


def _normal_entry(entry: Any, where: str) -> JsonObject:
    """An expectation in today's form."""
    if not isinstance(entry, Mapping):
        raise ConfigurationError(f"{where} must be an object but got {entry!r}")
    kind = entry.get("type") or entry.get("expectation_type")
    if not isinstance(kind, str) or not isinstance(entry.get("kwargs", {}), Mapping):
        raise ConfigurationError(f"{where} needs a type and kwargs but got {entry!r}")
    rest = {key: value for key, value in entry.items() if key not in {"type", "expectation_type", "kwargs", "meta"}}
    return {"type": kind, "kwargs": dict(entry.get("kwargs") or {}), "meta": dict(entry.get("meta") or {}), **rest}


def describe(entry: JsonMapping) -> str:
    """An expectation as one line.

    Example:
        >>> describe({"type": "expect_column_values_to_be_between", "kwargs": {"column": "age", "min_value": 0}})
        "column 'age': values to be between (min_value=0)"
    """
    kwargs = {key: value for key, value in entry.get("kwargs", {}).items() if key != "batch_id" and value is not None}
    text = str(entry["type"]).removeprefix("expect_")
    column = kwargs.pop("column", None)
    if column is not None:
        text, where = text.removeprefix("column_"), f"column {column!r}: "
    else:
        where = _where(kwargs)
    options = ", ".join(f"{key}={_short(value)}" for key, value in kwargs.items())
    return f"{where}{text.replace('_', ' ')}{f' ({options})' if options else ''}"


def _where(kwargs: dict[str, Any]) -> str:
    """The columns of an expectation about several, which are taken out of its arguments."""
    columns = kwargs.pop("column_list", None) or [kwargs.pop(key) for key in ("column_A", "column_B") if key in kwargs]
    return f"columns {', '.join(map(repr, columns))}: " if columns else ""


def propose(name: str, columns: Sequence[Column], problem: Problem | None = None) -> Suite:
    """A suite that the data seen would pass, with room for what was not seen; each expectation says its reason in its notes.

    Args:
        name: of the suite.
        columns: what was seen.
        problem: adds what the problem says: keys, label, allowed classes.

    Example:
        >>> suite = propose("s", [Column("age", "whole", 100, 0, 60, 18, 80)])
        >>> [entry["type"] for entry in suite["expectations"]][-1]
        'expect_column_values_to_be_between'
    """
    rows = columns[0].rows if columns else 0
    found = [
        _entry(
            "expect_table_columns_to_match_set",
            {"column_set": [column.name for column in columns], "exact_match": False},
            "the columns that were there",
        ),
        _entry(
            "expect_table_row_count_to_be_between",
            {"min_value": max(1, rows // 2), "max_value": rows * 2},
            f"{rows:,} rows were seen; half and double are allowed",
        ),
    ]
    for column in columns:
        found += _of_column(column, problem)
    if problem is not None and problem.keys and set(problem.keys) <= {column.name for column in columns}:
        kwargs = {"column_list": list(problem.keys)} if len(problem.keys) > 1 else {"column": problem.keys[0]}
        kind = "expect_compound_columns_to_be_unique" if len(problem.keys) > 1 else "expect_column_values_to_be_unique"
        found.append(_entry(kind, kwargs, "the problem's keys name a row"))
    return {"name": name, "expectations": found, "meta": {"windtunnel": {"proposed": True, "rows": rows}}}


def changes(reviewed: Suite, proposal: Suite) -> list[str]:
    """What a newer proposal would change in a reviewed suite, one line each: new ones, and others whose bounds differ."""
    known = {_key(entry): entry for entry in reviewed["expectations"]}
    lines = []
    for entry in proposal["expectations"]:
        other = known.get(_key(entry))
        if other is None:
            lines.append(f"add {describe(entry)}")
        elif {k: v for k, v in other["kwargs"].items() if v is not None} != entry["kwargs"]:
            lines.append(f"change {describe(other)} to {describe(entry)}")
    return lines


def quarantine_share(entry: JsonMapping) -> float | None:
    """Up to which share of rows an expectation puts the rows that it does not like into quarantine; None if it is not marked so.

    Example:
        >>> quarantine_share({"type": "t", "kwargs": {}, "meta": {"windtunnel": {"quarantine": 0.01}}})
        0.01

    Raises:
        ConfigurationError: the mark is no share.
    """
    share = _notes(entry).get("quarantine")
    if share is None:
        return None
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise ConfigurationError(
            f"{describe(entry)}: meta.windtunnel.quarantine is {share!r}", hint="it is a share of rows, above 0 and at most 1"
        )
    return float(share)


def _of_column(column: Column, problem: Problem | None) -> list[JsonObject]:
    """What a column's values so far let expect of later ones."""
    optional = problem is not None and column.name in problem.optional_columns
    proposed = [_null_share(column, optional=optional)]
    count = len(column.values or ())
    if column.values and column.kind in {"text", "boolean"} and count <= _FEW:
        values = sorted(column.values, key=str)
        reason = f"these {len(values)} values were all that was seen; review whether the list is closed"
        proposed.append(_entry("expect_column_values_to_be_in_set", {"column": column.name, "value_set": values}, reason))
    if 1 < count <= _CLASSES and column.kind in {"text", "boolean", "whole"}:
        proposed.append(_shares(column))
    if column.kind in {"number", "whole"}:
        proposed.append(_range(column))
    return [entry for entry in proposed if entry is not None]


def _null_share(column: Column, *, optional: bool) -> JsonObject | None:
    """How many nulls may come; nothing is said of a column that may lack, or that was all null."""
    if column.rows and column.nulls == 0:
        return _entry("expect_column_values_to_not_be_null", {"column": column.name}, "no null was seen")
    share = column.nulls / column.rows if column.rows else 0.0
    mostly = math.floor((1 - min(1.0, share * 2 + 0.01)) * 100) / 100
    if optional or mostly <= 0:
        return None
    reason = f"{share:.2%} were null; twice that and a little are allowed"
    return _entry("expect_column_values_to_not_be_null", {"column": column.name, "mostly": mostly}, reason)


def _range(column: Column) -> JsonObject | None:
    """Between which values a column of numbers stays."""
    if column.low is None or column.high is None:
        return None
    low, high = _with_slack(float(column.low), float(column.high), whole=column.kind == "whole")
    reason = f"values from {column.low} to {column.high} were seen; a fifth of that width is allowed beyond, never below zero if none was"
    return _entry("expect_column_values_to_be_between", {"column": column.name, "min_value": low, "max_value": high}, reason)


def _shares(column: Column) -> JsonObject:
    """The shares of a few values: a range of 0 to 1 holds whether 50 or 70 percent are 1."""
    assert column.values is not None  # only asked where there are few
    total = sum(column.values.values())
    counted = sorted(column.values.items(), key=lambda entry: str(entry[0]))
    weights = [count / total for _, count in counted]
    partition = {"values": [value for value, _ in counted], "weights": weights}
    reason = f"shares of {', '.join(f'{value}: {weight:.1%}' for (value, _), weight in zip(counted, weights, strict=True))} were seen; "
    kwargs = {"column": column.name, "partition_object": partition, "threshold": _divergence(weights, total)}
    return _entry("expect_column_kl_divergence_to_be_less_than", kwargs, f"{reason}about {_MOVED:.0%} of rows may be of another value")


def _divergence(weights: Sequence[float], rows: int) -> float:
    """The divergence if so many of the most frequent value were others, and no less than chance brings about in as many rows."""
    most = max(weights)
    moved = min(_MOVED, most / 2)
    first = weights.index(most)
    changed = [weight - moved if i == first else weight + moved * weight / (1 - most) for i, weight in enumerate(weights)]
    # As Great Expectations has it: the entropy of what is observed relative to the partition.
    size = sum(q * math.log(q / p) for p, q in zip(weights, changed, strict=True))
    chance = (len(weights) + 9) / (2 * rows)  # twice the rows times the divergence is chi-square: 10.8 is its 99.9 % for two values
    return float(f"{max(size, chance):.3g}")


def _with_slack(low: float, high: float, *, whole: bool) -> tuple[float, float]:
    width = (high - low) or abs(high) or 1.0
    new_low, new_high = low - _SLACK * width, high + _SLACK * width
    if low >= 0:
        new_low = max(0.0, new_low)
    if high <= 0:
        new_high = min(0.0, new_high)
    return (math.floor(new_low), math.ceil(new_high)) if whole else (float(f"{new_low:.6g}"), float(f"{new_high:.6g}"))


def _entry(kind: str, kwargs: dict[str, Any], reason: str) -> JsonObject:
    return {"type": kind, "kwargs": kwargs, "meta": {"notes": {"format": "markdown", "content": [reason]}}}


def _key(entry: JsonMapping) -> tuple[str, str]:
    kwargs = entry["kwargs"]
    return entry["type"], json.dumps(
        [kwargs.get(k) for k in ("column", "column_A", "column_B", "column_list", "row_condition")], default=str
    )


def _notes(entry: JsonMapping) -> Mapping[str, object]:
    found = (entry.get("meta") or {}).get("windtunnel")
    return found if isinstance(found, Mapping) else {}


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
