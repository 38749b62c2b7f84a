"""Questions about single columns and whole rows: identifiers, repeated rows, columns that say nothing, small groups."""

from collections.abc import Iterator, Sequence

import pyarrow as pa

from windtunnel.lifecycle.quality.readiness.answer import Answer
from windtunnel.lifecycle.quality.readiness.subject import Subject
from windtunnel.lifecycle.statistics.column import ColumnStatistics

__all__ = ["absent", "constants", "identifiers", "names_rows", "repeats", "small_groups", "varied"]

_LEAST = 50  # values below which nothing is called an identifier; rows below which a group cannot be judged
_UNIQUE = 0.95
_DENSE = 3  # a run of numbers with fewer than so many places a row counts something through
_WORDS = 2.0  # an identifier has hardly more words than one
_CONSTANT = 0.995
_REPEATED = 0.01
_MOSTLY = 0.5
_FEW = 20  # categories
_GROUPS = 100  # distinct values up to which a column divides rows into groups


def identifiers(subject: Subject) -> Iterator[Answer]:
    """Columns that name rows instead of describing them."""
    names = [name for name in subject.seen if names_rows(subject.table.columns[name])]
    for name in names:
        distinct, count = _distinct(subject.table.columns[name]), subject.table.columns[name].count
        text = f"{distinct:,} different values in {count:,} rows: it names rows, and a model would learn them by heart"
        yield Answer("identifiers", "care", text, "take it out of the features; it may be a key (keys: [...])", name)
    if not names:
        yield Answer("identifiers", "fine", "no column names its rows")


def names_rows(column: ColumnStatistics) -> bool:
    """Whether nearly every value is another one, and it is no measurement, moment or text of many words."""
    if column.count < _LEAST or _distinct(column) < _UNIQUE * column.count:
        return False
    if column.family == "text":
        counted = column.tokens()
        return counted is None or counted[1].mean <= _WORDS
    if not pa.types.is_integer(column.type):
        return False
    moments = column.measured()
    return moments.high - moments.low < _DENSE * column.count  # a measurement is not dense


def _distinct(column: ColumnStatistics) -> int:
    if column.exact:
        return len(column.values)
    return round(column.distinct.estimate) if column.distinct else 0


def varied(column: ColumnStatistics) -> bool:
    """Whether a column has more values than categories have."""
    return _distinct(column) > _FEW


def repeats(subject: Subject) -> Iterator[Answer]:
    """Rows that are there more than once: by their key, or else with all columns alike."""
    rows, hashed = subject.table.rows, subject.rows
    if hashed is None or not rows:
        yield Answer("duplicates", "unknown", "rows were not compared", "`windtunnel profile DATA --readiness` compares them")
        return
    again = max(rows - _distinct(hashed), 0)
    # Three standard errors of the sketch: what it cannot tell from 0 is no repetition.
    error = 0 if hashed.exact or hashed.distinct is None else round(3 * hashed.distinct.error * rows)
    what = f"repeat another one's key ({', '.join(subject.keys)})" if subject.keys else "repeat another one"
    text = f"{again:,} of {rows:,} rows {what}" + ("" if hashed.exact else f" (give or take {error:,})")
    if again <= max(error, 0 if subject.keys else _REPEATED * rows):
        yield Answer("duplicates", "fine", text)
        return
    apart = "remove them, or divide by a key (splits.key) that holds them together: else they stand in both splits"
    yield Answer("duplicates", "care", text, "mend the keys, or keep the newest row of each" if subject.keys else apart)


def constants(subject: Subject) -> Iterator[Answer]:
    """Columns that hardly vary."""
    clean = True
    for name in subject.seen:
        column = subject.table.columns[name]
        if not column.count or column.family == "other":
            continue
        most = int(column.counts.max()) if len(column.counts) else 0
        if most >= _CONSTANT * column.count:
            clean = False
            yield Answer("near-constant", "care", f"one value in {most / column.count:.2%} of the rows that have one", "leave it out", name)
    if clean:
        yield Answer("near-constant", "fine", f"no column has one value in {_CONSTANT:.1%} of its rows")


def absent(subject: Subject) -> Iterator[Answer]:
    """Columns that hold hardly anything."""
    clean, rows = True, subject.table.rows
    for name in subject.seen if rows else ():
        share = missing_share(subject.table.columns[name])
        if share < _MOSTLY:
            continue
        clean = False
        todo = "leave it out" if share == 1 else "leave it out, or say why it is missing: an own category, an indicator"
        yield Answer("missing", "care", f"missing in {share:.1%} of rows", todo, name)
    if clean:
        yield Answer("missing", "fine", "no column is missing in half of its rows or more")


def missing_share(column: ColumnStatistics) -> float:
    """Null and NaN among a column's rows."""
    gone = column.nulls + (column.measured().nans if column.family == "number" else 0)
    return gone / column.rows if column.rows else 0.0


def small_groups(subject: Subject) -> Iterator[Answer]:
    """Groups of too few rows to be judged alone."""
    clean = True
    for name in dict.fromkeys([*subject.groups, *subject.seen]):
        column = subject.table.columns.get(name)
        if column is None or not _divides(column, asked=name in subject.groups):
            continue
        counted = zip(column.counts.tolist(), map(str, column.values.to_pylist()), strict=True)
        small = sorted((count, value) for count, value in counted if count < _LEAST)
        if small:
            clean = False
            text = f"{len(small)} of {len(column.values)} have fewer than {_LEAST} rows: {_first(small)}"
            todo = "gather more, or join them with another group" if name in subject.groups else "pool them: features.min_frequency"
            yield Answer("small groups", "care", text, todo, name)
    if clean:
        yield Answer("small groups", "fine", f"every group has {_LEAST} rows or more")


def _first(small: Sequence[tuple[int, str]], most: int = 5) -> str:
    shown = ", ".join(f"{value} ({count})" for count, value in small[:most])
    return shown + (f" and {len(small) - most} more" if len(small) > most else "")


def _divides(column: ColumnStatistics, *, asked: bool) -> bool:
    """Whether a column's values are groups of rows."""
    if not column.exact:
        return False
    few = 1 < len(column.values) <= _GROUPS and len(column.values) * 2 <= column.count
    return few and (asked or column.family in {"text", "bool"})
