"""JSON lines: one object a line; or one array of objects, however it is spread over lines."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from windtunnel.lifecycle.contract.errors import SourceFormatError
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.contract.source_options import TextOptions
from windtunnel.lifecycle.data.schema import arrow_schema, check_columns
from windtunnel.lifecycle.data.sources.cast import cast_text
from windtunnel.lifecycle.data.sources.days import event_columns, event_days
from windtunnel.lifecycle.data.sources.files import damage_named, opened, unchanged
from windtunnel.lifecycle.data.sources.piece import Chunk, Piece, Rejected, shorten
from windtunnel.lifecycle.data.sources.text.inference import wider
from windtunnel.lifecycle.data.sources.text.stream import TextStream
from windtunnel.lifecycle.payload import JsonObject

__all__ = ["read_lines", "read_untyped_lines"]

_ROWS = 16_384
_LIMIT = 512 << 20
_FLOAT32 = float(np.finfo(np.float32).max)

Mask = npt.NDArray[np.bool_]


class _Text(NamedTuple):
    """What should be an object: the line it begins on, and its text; undecodable bytes stay bytes."""

    line: int
    text: str | bytes

    @property
    def shown(self) -> str:
        return shorten(self.text if isinstance(self.text, str) else self.text.decode("utf-8", "replace"))


def read_lines(problem: Problem, piece: Piece, _settings: Settings) -> Iterator[Chunk]:
    """The rows of a JSON lines file (plain or compressed), or of one JSON array.

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
            for number, texts in enumerate(_blocks(name, stream, options)):
                if not number:
                    _check_first(problem, name, texts)
                yield _fit(problem, piece, texts, options)


def read_untyped_lines(path: str, given: JsonObject) -> Iterator[pa.RecordBatch | None]:
    """Batches of such a file without a schema: types are those of all values; columns of mixed types become text.

    ``None`` says: forget those so far, reading starts over with wider types.

    Raises:
        SourceFormatError: a line is not an object.
    """
    options = TextOptions.of({name: value for name, value in given.items() if name == "encoding"}, path)
    kinds: dict[str, pa.DataType] = {}
    while True:
        known = dict(kinds)
        with opened(path) as streams, damage_named(path):
            batches = (_untyped(name, texts, kinds) for name, stream in streams for texts in _blocks(name, stream, options))
            for batch in batches:
                if any(known.setdefault(key, kind) != kind for key, kind in kinds.items()):
                    break
                yield batch
            else:
                return
        yield None


def _untyped(name: str, texts: Sequence[_Text], kinds: dict[str, pa.DataType]) -> pa.RecordBatch:
    rows = []
    for entry in texts:
        row = _object(entry.text)
        if isinstance(row, str):
            raise SourceFormatError(f"{name} line {entry.line}: {row}", hint="JSON lines have one whole object a line", path=name)
        rows.append(row)
    for row in rows:
        for key, value in row.items():
            kinds[key] = wider(kinds.get(key, pa.null()), _kind(value, kinds.get(key)))
    return pa.record_batch([_column(rows, key, kind) for key, kind in kinds.items()], names=list(kinds))


def _kind(value: Any, known: pa.DataType | None) -> pa.DataType:
    """The type of a JSON value; whole numbers that a column cannot hold exactly are text."""
    if value is None:
        return pa.null()
    if isinstance(value, bool):
        return pa.bool_()
    if isinstance(value, int):
        exact = -(1 << 63) <= value < 1 << 63 and not (known == pa.float64() and int(float(value)) != value)
        return pa.int64() if exact else pa.string()
    return pa.float64() if isinstance(value, float) else pa.string()


def _column(rows: list[dict[str, Any]], key: str, kind: pa.DataType) -> pa.Array:
    values = [row.get(key) for row in rows]
    if kind == pa.string():
        values = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
        values = [value if value is None else value.encode("utf-8", "replace").decode() for value in values]
    return pa.array(values, kind)


def _blocks(name: str, stream: IO[bytes], options: TextOptions) -> Iterator[list[_Text]]:
    """Texts of objects, some thousand at once."""
    source = TextStream(stream, options, name)
    pending: list[_Text] = []
    first = source.first_byte()
    for entry in _array(name, source) if first == b"[" else _lines(source):
        pending.append(entry)
        if len(pending) == _ROWS:
            yield pending
            pending = []
    if pending:
        yield pending


def _lines(source: TextStream) -> Iterator[_Text]:
    for first, lines in source.lines():
        for number, line in enumerate(lines, first):
            if line.strip():
                yield _Text(number, _decoded(line))


def _decoded(line: bytes) -> str | bytes:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line


def _array(name: str, source: TextStream) -> Iterator[_Text]:
    """The elements of an array.

    Raises:
        SourceFormatError: it goes wrong somewhere: what follows cannot be told apart.
    """
    decoder, line, text = json.JSONDecoder(), source.line, ""
    chunks = (chunk.decode("utf-8", "replace") for chunk in source.chunks())
    while "[" not in text:
        text += next(chunks)
    line += text[: text.index("[")].count("\n")
    text = text[text.index("[") + 1 :]
    while True:
        start = len(text) - len(text.lstrip(" \t\r\n,"))
        try:
            if text[start : start + 1] == "]":
                return
            _, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            more = next(chunks, None) if len(text) < _LIMIT else None
            if more is None:
                raise SourceFormatError(
                    f"{name} line {line + text[:start].count(chr(10))}: the array cannot be read on: {error}",
                    hint="is the file whole? JSON lines, one object a line, can be read past a broken line",
                    path=name,
                ) from error
            text += more
            continue
        line += text[:start].count("\n")
        yield _Text(line, text[start:end])
        line += text[start:end].count("\n")
        text = text[end:]


def _object(line: str | bytes) -> JsonObject | str:
    """The object that a text is, or what is wrong with it."""
    if isinstance(line, bytes):
        return "cannot be decoded"
    # Escaped it is only a NUL once it is parsed, and no text column can hold one.
    if "\0" in line or "\\u0000" in line:
        return "has a NUL character"
    try:
        value = json.loads(line, parse_constant=lambda name: float(name.replace("Infinity", "inf")))
    except (ValueError, RecursionError) as error:
        return f"is not JSON: {error}"
    if not isinstance(value, dict):
        return f"is not an object but a {type(value).__name__}"
    return value


def _check_first(problem: Problem, name: str, texts: Sequence[_Text]) -> None:
    """A column that no line of the first ones has is missing from the source, not from single rows."""
    names: dict[str, None] = {}
    objects = [value for value in (_object(entry.text) for entry in texts[:1000]) if isinstance(value, dict)]
    for value in objects:
        names |= dict.fromkeys(value)
    if objects:
        check_columns(problem, list(names), name)


def _fit(problem: Problem, piece: Piece, texts: Sequence[_Text], options: TextOptions) -> Chunk:
    """Rows of the declared types; what does not fit is set aside."""
    schema = arrow_schema(problem, day=False)
    rejected, rows, sources = _objects(problem, texts, schema)
    good = np.ones(len(rows), dtype=bool)
    columns = []

    def refuse(bad: Mask, column: str, reason: str) -> None:
        for i in np.flatnonzero(bad & good).tolist():
            value = shorten(json.dumps(rows[i].get(column)), 80)
            rejected.append(Rejected(sources[i].line, column, f"{value!r} {reason}", sources[i].shown))
        good[bad] = False

    for field in schema:
        typed, bad = _typed([row.get(field.name) for row in rows], field.type, options)
        refuse(bad, field.name, f"is not {field.type}")
        columns.append(typed)
    batch = pa.record_batch(columns, schema=schema)
    if piece.dated and rows:
        undated = event_days(problem, batch).is_null().to_numpy(zero_copy_only=False)
        refuse(undated, event_columns(problem)[0], "is no event time")
    rejected.sort(key=lambda entry: entry.line)
    return Chunk(batch if good.all() else batch.filter(pa.array(good)), rejected, len(texts))


def _objects(problem: Problem, texts: Sequence[_Text], schema: pa.Schema) -> tuple[list[Rejected], list[JsonObject], list[_Text]]:
    """The objects that have all columns, with where they stand; and what is none."""
    required = [name for name in schema.names if name not in problem.optional_columns]
    rejected: list[Rejected] = []
    rows: list[dict[str, Any]] = []
    sources: list[_Text] = []
    for entry in texts:
        value = _object(entry.text)
        lacking = None if isinstance(value, str) else next((name for name in required if name not in value), None)
        if isinstance(value, str):
            rejected.append(Rejected(entry.line, "", value, entry.shown))
        elif lacking is not None:
            rejected.append(Rejected(entry.line, lacking, "is missing", entry.shown))
        else:
            rows.append(value)
            sources.append(entry)
    return rejected, rows, sources


def _typed(values: list[object], kind: pa.DataType, options: TextOptions) -> tuple[pa.Array, Mask]:
    """JSON values as a column: JSON's own types decide, so only dates, times and decimals are read from text."""
    if pa.types.is_temporal(kind) or pa.types.is_decimal(kind):
        return _read_from_text(values, kind, options)
    fits, plain = _FITS[_family(kind)]
    bad = np.array([value is not None and not fits(value, kind) for value in values], dtype=bool)
    return pa.array([None if wrong or value is None else plain(value) for value, wrong in zip(values, bad, strict=True)], kind), bad


def _read_from_text(values: list[Any], kind: pa.DataType, options: TextOptions) -> tuple[pa.Array, Mask]:
    """JSON's texts, and for decimals its numbers, as a type that JSON does not have."""
    allowed: tuple[type, ...] = (str,) if pa.types.is_temporal(kind) else (str, int, float)
    bad = np.array([value is not None and not isinstance(value, allowed) for value in values], dtype=bool)
    # By the shortest text of a float: its decimal would have digits that nobody wrote.
    text = pa.array([None if value is None or wrong else str(value) for value, wrong in zip(values, bad, strict=True)], pa.string())
    typed, unreadable = cast_text(text, kind, formats=options.timestamp_formats)
    return typed, bad | unreadable


def _family(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_integer(kind):
        return "integer"
    return "float" if pa.types.is_floating(kind) else "text"


def _is_integer(value: object, kind: pa.DataType) -> bool:
    whole = (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer())
    return whole and -(1 << (kind.bit_width - 1)) <= value < 1 << (kind.bit_width - 1)


def _is_float(value: Any, kind: pa.DataType) -> bool:
    """Numbers that a float can say: whole ones exactly, others without becoming infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if isinstance(value, int):
        bits = 24 if kind == pa.float32() else 53
        return abs(value) <= 1 << bits or (abs(value) < 1 << 100 and value % (1 << (value.bit_length() - bits)) == 0)
    return kind != pa.float32() or not _FLOAT32 < abs(value) < float("inf")


def _is_text(value: object, _kind: pa.DataType) -> bool:
    """Half of a surrogate pair is no text that can be stored."""
    return isinstance(value, str) and (value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value))


_FITS: dict[str, tuple[Callable[[Any, pa.DataType], bool], Callable[[Any], Any]]] = {
    "bool": (lambda value, _: isinstance(value, bool), bool),
    "integer": (_is_integer, int),
    "float": (_is_float, float),
    "text": (_is_text, str),
}
"""Of a family of types: which values are of it, and how they become its own."""
