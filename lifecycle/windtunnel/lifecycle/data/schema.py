"""The pinned schema of a problem as Arrow types, and the rules by which a table may grow out of it."""

from collections.abc import Callable, Iterable, Sequence

import pyarrow as pa

from windtunnel.lifecycle.contract.errors import SchemaMismatchError
from windtunnel.lifecycle.contract.naming import did_you_mean
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.data.rows import DAY

__all__ = ["QUARANTINE_SCHEMA", "arrow_schema", "arrow_type", "check_columns", "evolve", "missing_columns", "pinnable"]

_TYPES: dict[str, pa.DataType] = {
    "bool": pa.bool_(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "decimal": pa.decimal128(38, 18),
}

_PROMOTIONS = {(pa.int32(), pa.int64()), (pa.float32(), pa.float64())}

QUARANTINE_SCHEMA = pa.schema(
    [
        pa.field("source", pa.string()),
        pa.field("line", pa.int64()),
        pa.field("last_line", pa.int64()),
        pa.field("column", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("raw", pa.string()),
        pa.field(DAY, pa.date32()),
    ]
)
"""What is kept of a row that does not fit: where it came from (the lines that it begins and ends on), what is wrong with it, its text."""


def arrow_type(kind: str) -> pa.DataType:
    """The Arrow type of a problem file's column type; timestamps are UTC without a zone, in microseconds.

    Example:
        >>> arrow_type("timestamp")
        TimestampType(timestamp[us])
    """
    return _TYPES[kind]


def pinnable(kind: pa.DataType) -> str | None:
    """The problem file's name for a type that was found in data; None if a problem cannot have such a column.

    Example:
        >>> pinnable(pa.int16()), pinnable(pa.timestamp("ns")), pinnable(pa.list_(pa.int8()))
        ('int32', 'timestamp', None)
    """
    if pa.types.is_dictionary(kind):
        return pinnable(kind.value_type)
    return next((name for name, fits in _PINNABLE if any(fit(kind) for fit in fits)), None)


_PINNABLE: tuple[tuple[str, tuple[Callable[[pa.DataType], bool], ...]], ...] = (  # the first that fits is the name
    ("bool", (pa.types.is_boolean,)),
    # Iceberg has no unsigned types: each becomes the next wider one that holds all of its values.
    ("int32", (pa.types.is_int8, pa.types.is_uint8, pa.types.is_int16, pa.types.is_uint16, pa.types.is_int32)),
    ("int64", (pa.types.is_uint32, pa.types.is_int64)),
    ("float32", (pa.types.is_float16, pa.types.is_float32)),
    ("float64", (pa.types.is_float64,)),
    # Of a column without any value nobody knows the type; text can hold whatever comes.
    ("string", (pa.types.is_string, pa.types.is_large_string, pa.types.is_null)),
    ("date", (pa.types.is_date,)),
    ("timestamp", (pa.types.is_timestamp,)),
    # Whole numbers of Iceberg end at 63 bits.
    ("decimal", (pa.types.is_decimal, pa.types.is_uint64)),
)


def arrow_schema(problem: Problem, *, day: bool = True) -> pa.Schema:
    """The columns that a problem declares, in its order, with `DAY` last where asked."""
    fields = [pa.field(name, arrow_type(kind)) for name, kind in problem.columns.items() if name != DAY]
    return pa.schema([*fields, pa.field(DAY, pa.date32())] if day else fields)


def missing_columns(problem: Problem, found: Iterable[str]) -> list[str]:
    """The declared columns that a source lacks."""
    there = set(found)
    return [name for name in problem.columns if name not in there]


def check_columns(problem: Problem, found: Sequence[str], where: str) -> None:
    """A source must have every declared column that is not optional, and each only once.

    Raises:
        SchemaMismatchError: names what is missing, what looks like it, and the choice to make.
    """
    twice = sorted({name for name in found if found.count(name) > 1 and name in problem.columns})
    if twice:
        raise SchemaMismatchError(
            f"{where}: column {twice[0]!r} is there {found.count(twice[0])} times",
            hint="give each column its own name in the source's header",
            columns=twice,
        )
    missing = [name for name in missing_columns(problem, found) if name not in problem.optional_columns]
    if missing:
        raise SchemaMismatchError(
            f"{where}: column{'s' if len(missing) > 1 else ''} {', '.join(map(repr, missing))} missing; there are: {_listed(found)}",
            hint=_hint(missing, found),
            columns=missing,
        )


def evolve(current: pa.Schema, wanted: pa.Schema, where: str) -> tuple[list[pa.Field], list[pa.Field]]:
    """What a table must gain to hold `wanted`: new (nullable) columns, and columns whose type may widen.

    A column that the table has and the problem no longer declares stays, null in new rows.

    Returns:
        the fields to add, and the fields to widen.

    Raises:
        SchemaMismatchError: a column has another type.

    Example:
        >>> evolve(pa.schema([("a", pa.int32())]), pa.schema([("a", pa.int64()), ("b", pa.string())]), "t")
        ([pyarrow.Field<b: string>], [pyarrow.Field<a: int64>])
    """
    added, widened = [], []
    for field in wanted:
        if field.name not in current.names:
            added.append(field)
            continue
        old = _plain(current.field(field.name).type)
        if old == _plain(field.type):
            continue
        if (old, field.type) not in _PROMOTIONS:
            raise SchemaMismatchError(
                f"{where}: column {field.name!r} is {old} in the table but the problem now says {field.type}",
                hint="set the column's type back, give the new one another name, or start a new table under another problem name",
                column=field.name,
            )
        widened.append(field)
    return added, widened


def _plain(kind: pa.DataType) -> pa.DataType:
    # pyiceberg calls every text column large_string.
    if pa.types.is_large_string(kind):
        return pa.string()
    return pa.timestamp(kind.unit, tz="UTC" if kind.tz else None) if pa.types.is_timestamp(kind) else kind


def _listed(names: Sequence[str], limit: int = 40) -> str:
    shown = ", ".join(map(repr, names[:limit]))
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown or "none"


def _hint(missing: Sequence[str], found: Sequence[str]) -> str:
    guess = did_you_mean(missing[0], found)
    ways = "add it to the source, or drop it from columns, or list it under optional_columns to fill it with null"
    return f"{guess} Else {ways}" if guess else ways
