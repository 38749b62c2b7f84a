"""JSON lines: one object a line."""

import json
from collections.abc import Callable, Iterator
from typing import IO, Any

import numpy as np
import pyarrow as pa

from windtunnel.lifecycle.contract.errors import SourceFormatError
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.schema import arrow_schema, check_columns
from windtunnel.lifecycle.data.sources.cast import cast_text
from windtunnel.lifecycle.data.sources.days import event_columns, event_days
from windtunnel.lifecycle.data.sources.files import damage_named, opened, unchanged
from windtunnel.lifecycle.data.sources.options import TextOptions
from windtunnel.lifecycle.data.sources.piece import Chunk, Piece, Rejected, shorten
from windtunnel.lifecycle.data.sources.text.stream import BLANK, MARK, TextStream

__all__ = ["read_lines", "read_untyped_lines"]

_ROWS = 16_384
_LINE_LIMIT = 512 << 20


def read_lines(problem: Problem, piece: Piece, _settings: Settings) -> Iterator[Chunk]:
    """The rows of a JSON lines file (plain or compressed).

    A line that is no object, an object with a value of another type, or one that lacks a column that is not optional, does not fit. A
    number stays what it is: text that looks like a number does not become one, nor the other way round.

    Raises:
        SourceFormatError: the file is damaged, or is no text.
        SchemaMismatchError: no line of the first ones has a declared column.
        UnavailableError: it is out of reach, or was changed while being read.
    """
    options = TextOptions.of(problem.source.options, f"problem {problem.name}")
    with unchanged(piece.path, piece.state), opened(piece.path) as streams, damage_named(piece.path):
        for name, stream in streams:
            seen = False
            for first, lines in _blocks(name, stream, options):
                if not seen:
                    _check_first(problem, name, lines)
                    seen = True
                yield _fit(problem, piece, first, lines, options)


def read_untyped_lines(path: str) -> Iterator[pa.RecordBatch | None]:
    """Batches of a JSON lines file without a schema: types are those of all values; columns of mixed types become text.

    ``None`` says: forget those so far, reading starts over with wider types.

    Raises:
        SourceFormatError: a line is not an object.
    """
    kinds: dict[str, pa.DataType] = {}
    while True:
        with opened(path) as streams, damage_named(path):
            changed = False
            for name, stream in streams:
                for first, lines in _blocks(name, stream, TextOptions()):
                    rows = []
                    for i, line in enumerate(lines):
                        if not line.strip():
                            continue
                        row = _object(line)
                        if isinstance(row, str):
                            raise SourceFormatError(
                                f"{name} line {first + i}: {row}", hint="JSON lines have one whole object a line", path=path
                            )
                        rows.append(row)
                    before = dict(kinds)
                    _widen(kinds, rows)
                    if any(before[key] != kinds[key] for key in before):
                        changed = True
                        break
                    yield pa.record_batch([_column(rows, key, kind) for key, kind in kinds.items()], names=list(kinds))
        if not changed:
            return
        yield None


def _widen(kinds: dict[str, pa.DataType], rows: list[dict[str, Any]]) -> None:
    for row in rows:
        for key, value in row.items():
            if value is None:
                kinds.setdefault(key, pa.null())
                continue
            kind = pa.bool_() if isinstance(value, bool) else pa.int64() if isinstance(value, int) else pa.float64()
            kind = kind if isinstance(value, bool | int | float) else pa.string()
            known = kinds.get(key)
            if known is None or known == pa.null() or known == kind:
                kinds[key] = kind
            elif {str(known), str(kind)} == {"int64", "double"}:
                kinds[key] = pa.float64()
            else:
                kinds[key] = pa.string()


def _column(rows: list[dict[str, Any]], key: str, kind: pa.DataType) -> pa.Array:
    values = [row.get(key) for row in rows]
    if kind == pa.string():
        values = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
    return pa.array(values, kind)


def _blocks(name: str, stream: IO[bytes], options: TextOptions) -> Iterator[tuple[int, list[str]]]:
    """Lines with text on them, with the number of the first of each block (blank lines inside keep their number as empty text)."""
    source = TextStream(stream, options, lenient=True)
    number, held = 1, b""
    lines: list[str] = []
    while True:
        block = source.read(1 << 20)
        held += block
        parts = held.split(b"\n")
        held = parts.pop() if block else b""
        if len(held) > _LINE_LIMIT:
            raise SourceFormatError(f"{name}: line {number + len(lines)} is longer than {_LINE_LIMIT >> 20} MB", path=name)
        lines += [part.decode("utf-8", "replace").replace(BLANK, "").rstrip("\r") for part in parts]
        while len(lines) >= _ROWS:
            yield number, lines[:_ROWS]
            number, lines = number + _ROWS, lines[_ROWS:]
        if not block:
            break
    if lines:
        yield number, lines


def _object(line: str) -> dict[str, Any] | str:
    """The object on a line, or what is wrong with it."""
    if MARK in line:
        return "cannot be decoded"
    if "\0" in line or "\\u0000" in line:
        return "has a NUL character"
    try:
        value = json.loads(line, parse_constant=lambda name: float(name.replace("Infinity", "inf")))
    except (ValueError, RecursionError) as error:
        return f"is not JSON: {error}"
    if not isinstance(value, dict):
        return f"is not an object but a {type(value).__name__}"
    return value


def _check_first(problem: Problem, name: str, lines: list[str]) -> None:
    """A column that no line of the first ones has is missing from the source, not from single rows."""
    names: dict[str, None] = {}
    objects = [value for value in map(_object, filter(str.strip, lines[:1000])) if isinstance(value, dict)]
    for value in objects:
        names |= dict.fromkeys(value)
    if objects:
        check_columns(problem, list(names), name)


def _fit(problem: Problem, piece: Piece, first: int, lines: list[str], options: TextOptions) -> Chunk:
    schema = arrow_schema(problem, day=False)
    required = [name for name in schema.names if name not in problem.optional_columns]
    rejected: list[Rejected] = []
    rows: list[dict[str, Any]] = []
    numbers: list[int] = []
    blank = 0
    for i, line in enumerate(lines):
        if not line.strip():
            blank += 1
            continue
        value = _object(line)
        if isinstance(value, str):
            rejected.append(Rejected(first + i, "", value, shorten(line.replace(MARK, "\ufffd"))))
            continue
        lacking = next((name for name in required if name not in value), None)
        if lacking is not None:
            rejected.append(Rejected(first + i, lacking, "is missing", shorten(line)))
            continue
        rows.append(value)
        numbers.append(i)
    good = np.ones(len(rows), dtype=bool)
    columns = []
    for field in schema:
        typed, bad = _typed([row.get(field.name) for row in rows], field.type, options)
        for i in np.flatnonzero(bad & good).tolist():
            shown = shorten(json.dumps(rows[i].get(field.name)), 80)
            rejected.append(Rejected(first + numbers[i], field.name, f"{shown!r} is not {field.type}", shorten(lines[numbers[i]])))
        good &= ~bad
        columns.append(typed)
    batch = pa.record_batch(columns, schema=schema)
    if piece.dated and rows:
        undated = event_days(problem, batch).is_null().to_numpy(zero_copy_only=False)
        column = event_columns(problem)[0]
        for i in np.flatnonzero(undated & good).tolist():
            shown = json.dumps(rows[i].get(column))
            rejected.append(Rejected(first + numbers[i], column, f"{shown!r} is no event time", shorten(lines[numbers[i]])))
        good &= ~undated
    rejected.sort(key=lambda entry: entry.line)
    return Chunk(batch if good.all() else batch.filter(pa.array(good)), rejected, len(lines) - blank)


def _typed(values: list[Any], kind: pa.DataType, options: TextOptions) -> tuple[pa.Array, np.ndarray]:
    """JSON values as a column: JSON's own types decide, so only dates, times and decimals are read from text."""
    if pa.types.is_temporal(kind) or pa.types.is_decimal(kind):
        bad = np.array([value is not None and not isinstance(value, str | int | float) for value in values], dtype=bool)
        if pa.types.is_temporal(kind):
            bad = np.array([value is not None and not isinstance(value, str) for value in values], dtype=bool)
        text = pa.array([None if value is None or wrong else str(value) for value, wrong in zip(values, bad, strict=True)], pa.string())
        typed, more = cast_text(text, kind, formats=options.timestamp_formats)
        return typed, bad | more
    fits = _FITS[_family(kind)]
    bad = np.array([value is not None and not fits(value) for value in values], dtype=bool)
    kept = [None if wrong else value for value, wrong in zip(values, bad, strict=True)]
    if pa.types.is_integer(kind):
        low, high = -(1 << (kind.bit_width - 1)), (1 << (kind.bit_width - 1)) - 1
        outside = np.array([value is not None and not low <= value <= high for value in kept], dtype=bool)
        bad |= outside
        kept = [None if wrong or value is None else int(value) for value, wrong in zip(kept, bad, strict=True)]
    elif pa.types.is_floating(kind):
        kept = [None if value is None else float(value) for value in kept]
    return pa.array(kept, kind), bad


def _family(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_integer(kind):
        return "integer"
    return "float" if pa.types.is_floating(kind) else "text"


_FITS: dict[str, Callable[[Any], bool]] = {
    "bool": lambda value: isinstance(value, bool),
    "integer": lambda value: not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer())),
    "float": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "text": lambda value: isinstance(value, str),
}
