"""A score for every day of a table: how complete, valid, steady and plentiful it was, and who is to blame.

``100 * validity * completeness * stability * volume``, each from 0 to 1:

- validity: the share of the day's rows that did not go to quarantine;
- completeness: the share of cells that hold a value;
- stability: the mean of the columns' steadiness and the worst column's. A measure is steady within 4 robust standard deviations (by the
  median absolute deviation) of the 28 days before; beyond, its steadiness is 4 / distance, and a column is as steady as its worst measure;
- volume: rows, against the usual number of the days before, where there are far fewer or far more.

A day with fewer than 5 days before it has no usual to be held against: its stability and volume are not known and count as 1.
"""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence

from windtunnel.lifecycle.payload import JsonObject
from windtunnel.lifecycle.quality.history import Measures

__all__ = ["BEFORE", "Blame", "DayScore", "Trend", "scores", "trend", "worst_columns"]

BEFORE = 28
"""Days before a day that say what is usual."""

_LEAST = 5
_STEADY = 4.0
_BLAMED = 5
_SHARES = frozenset({"missing", "top", "zero", "infinite", "empty"})
_WORDS = {
    "missing": "share missing",
    "top": "share of the commonest value",
    "zero": "share of zeros",
    "infinite": "share of infinite values",
    "empty": "share of empty texts",
    "length": "mean length",
    "low": "5 % quantile",
    "high": "95 % quantile",
}


@dataclasses.dataclass(frozen=True)
class Blame:
    """A measure of a column that was not as usual.

    Attributes:
        column: its name; empty for the table's rows.
        measure: what was measured.
        value: on the day.
        usual: the median of the days before.
        distance: robust standard deviations between them.
    """

    column: str
    measure: str
    value: float
    usual: float
    distance: float

    def __str__(self) -> str:
        what = _WORDS.get(self.measure, self.measure)
        shown = "{:.1%}" if self.measure in _SHARES else "{:,.4g}"
        where = f"{self.column}: " if self.column else ""
        return f"{where}{what} {shown.format(self.value)}, usually {shown.format(self.usual)}"


@dataclasses.dataclass(frozen=True)
class DayScore:
    """What a day was like; `score` is from 0 to 100, its parts from 0 to 1."""

    day: str
    score: float
    rows: int
    validity: float
    completeness: float
    stability: float
    volume: float
    compared: int
    blame: tuple[Blame, ...]

    def to_dict(self) -> JsonObject:
        """Plain data; ``reasons`` says the blame in words."""
        return {**dataclasses.asdict(self), "reasons": [str(entry) for entry in self.blame]}


@dataclasses.dataclass(frozen=True)
class Trend:
    """Whether scores rise or fall, beyond chance.

    Attributes:
        word: ``falling``, ``rising``, ``steady`` or ``unknown``.
        a_week: points a week (Theil and Sen's slope).
        p_value: of Kendall's test for a trend.
    """

    word: str
    a_week: float
    p_value: float


def scores(history: Mapping[str, Measures]) -> list[DayScore]:
    """A score for every day, in order.

    Example:
        >>> days = {f"2024-01-{day:02}": {"": {"rows": 100.0, "quarantined": 0.0}, "x": {"missing": 0.0}} for day in range(1, 9)}
        >>> days["2024-01-08"]["x"]["missing"] = 0.5
        >>> found = scores(days)
        >>> round(found[0].score), round(found[-1].score), str(found[-1].blame[0])
        (100, 4, 'x: share missing 50.0%, usually 0.0%')
    """
    days = sorted(history)
    return [_score(day, history[day], [history[other] for other in days[max(0, place - BEFORE) : place]]) for place, day in enumerate(days)]


def _score(day: str, measures: Measures, before: Sequence[Measures]) -> DayScore:
    table, columns = measures.get("", {}), [name for name in measures if name]
    rows = table.get("rows", 0.0)
    usual = [other for other in before if other.get("", {}).get("rows")]
    usual = usual if len(usual) >= _LEAST else []
    blame = [entry for name in columns for entry in _column(name, measures, usual)] if rows else []
    parts = (_validity(table), _completeness(measures), _stability(columns, blame))
    volume, lacking = _volume(rows, usual)
    worst = _worst_of_each(sorted([*blame, *lacking], key=lambda entry: -entry.distance))
    return DayScore(day, 100 * math.prod(parts) * volume, int(rows), *parts, volume, len(usual), tuple(worst[:_BLAMED]))


def _validity(table: Mapping[str, float]) -> float:
    rows, aside = table.get("rows", 0.0), table.get("quarantined", 0.0)
    return rows / (rows + aside) if rows + aside else 0.0


def _completeness(measures: Measures) -> float:
    present = [1 - values.get("missing", 0.0) for name, values in measures.items() if name]
    return statistics.fmean(present) if present else float(bool(measures.get("", {}).get("rows")))


def _stability(columns: Sequence[str], blame: Sequence[Blame]) -> float:
    """The mean of the columns' steadiness and the worst column's."""
    steady = dict.fromkeys(columns, 1.0)
    for entry in blame:
        steady[entry.column] = min(steady[entry.column], _STEADY / entry.distance)
    return (statistics.fmean(steady.values()) + min(steady.values())) / 2 if steady else 1.0


def _worst_of_each(blame: Sequence[Blame]) -> list[Blame]:
    found: dict[str, Blame] = {}
    for entry in blame:
        found.setdefault(entry.column, entry)
    return list(found.values())


def _column(name: str, measures: Measures, usual: Sequence[Measures]) -> list[Blame]:
    """The measures of a column that are not as usual."""
    found = []
    rows = measures[""]["rows"]
    for measure, value in measures[name].items():
        past = [other[name][measure] for other in usual if measure in other.get(name, {})]
        if len(past) < _LEAST:
            continue
        middle = statistics.median(past)
        distance = abs(value - middle) / _spread(measure, past, middle, measures[name], rows)
        if distance > _STEADY:
            found.append(Blame(name, measure, value, middle, distance))
    return found


def _spread(measure: str, past: Sequence[float], middle: float, values: Mapping[str, float], rows: float) -> float:
    """A robust standard deviation of what is usual, and never less than what sampling alone does to so many rows."""
    usual = 1.4826 * statistics.median(abs(value - middle) for value in past) * (1 + _LEAST / len(past))  # few days say little of it
    if measure in _SHARES:
        return max(usual, math.sqrt(max(middle * (1 - middle), 1 / rows) / rows), 0.005)
    error = 2.5 if measure in {"low", "high"} else 1.5  # of an outer quantile, and of a median, in errors of a mean
    sampled = error * values.get("deviation", 0.0) / math.sqrt(rows)
    return max(usual, sampled, 0.02 * abs(middle), 1e-12)


def _volume(rows: float, usual: Sequence[Measures]) -> tuple[float, list[Blame]]:
    """How far the number of rows is from the usual one; half or twice as many is usual, where days vary so."""
    past = [other[""]["rows"] for other in usual]
    if not past:
        return (1.0 if rows else 0.0), []
    middle = statistics.median(past)
    # 1.4826 median deviations are a standard deviation of a normal distribution; counts vary by their root at least (Poisson).
    spread = max(1.4826 * statistics.median(abs(value - middle) for value in past), 0.1 * middle, math.sqrt(middle))
    distance = abs(rows - middle) / spread
    if distance <= _STEADY:
        return 1.0, []
    return (min(rows, middle) / max(rows, middle)), [Blame("", "rows", rows, middle, distance)]


def trend(found: Sequence[DayScore]) -> Trend:
    """Whether the scores of some days rise or fall: Kendall's test against time, and Theil and Sen's slope."""
    if len(found) < 2 * _LEAST:
        return Trend("unknown", 0.0, 1.0)
    from scipy.stats import kendalltau, theilslopes

    values = [entry.score for entry in found]
    if max(values) - min(values) < 1e-9:
        return Trend("steady", 0.0, 1.0)
    places = range(len(values))
    p_value = float(kendalltau(places, values).pvalue)
    slope = float(theilslopes(values, list(places)).slope) * 7
    if not p_value < 0.01 or abs(slope) < 0.1:
        return Trend("steady", slope, p_value)
    return Trend("falling" if slope < 0 else "rising", slope, p_value)


def worst_columns(found: Sequence[DayScore]) -> list[tuple[str, int, str]]:
    """The columns that were to blame, the one that was so on most days first: name, days, and the newest reason."""
    seen: dict[str, list[str]] = {}
    for entry in found:
        for blame in entry.blame:
            seen.setdefault(blame.column or "(rows)", []).append(f"{entry.day}: {blame}")
    return sorted(((name, len(reasons), reasons[-1]) for name, reasons in seen.items()), key=lambda row: (-row[1], row[0]))
