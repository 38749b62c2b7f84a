"""Parquet and Arrow IPC: files that know their types."""

import contextlib
import logging
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
import pyarrow.parquet as pq

from windtunnel.lifecycle.contract.errors import SourceFormatError
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.contract.source_options import checked
from windtunnel.lifecycle.data.schema import arrow_schema, check_columns
from windtunnel.lifecycle.data.sources.cast import cast_column, check_castable, is_outside_calendar, is_too_fine
from windtunnel.lifecycle.data.sources.days import event_columns, event_days
from windtunnel.lifecycle.data.sources.files import is_local, opened, reaching, unchanged
from windtunnel.lifecycle.data.sources.piece import Chunk, Piece, Rejected, shorten

__all__ = ["Fitter", "arrow_batches", "check_readable", "read_arrow", "read_parquet", "row_counts"]

log = logging.getLogger("windtunnel.sources")

_ROWS = 131_072


def read_parquet(problem: Problem, piece: Piece, _settings: Settings) -> Iterator[Chunk]:
    """The rows of some row groups of a Parquet file.

    Raises:
        SourceFormatError: it is not Parquet, or is damaged.
        SchemaMismatchError: a declared column is missing or of another family of types.
        UnavailableError: it is out of reach, or was changed while being read.
    """
    checked(problem.source.options, set(), f"problem {problem.name}")
    with unchanged(piece.path, piece.state), _parquet(piece.path) as file:
        with _damaged(piece.path, "a readable Parquet file"):
            schema = file.schema_arrow
            sizes = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
        fitter = Fitter(problem, piece, schema)
        for group in piece.row_groups or range(len(sizes)):
            row = sum(sizes[:group])
            with _damaged(piece.path, "a readable Parquet file"):
                batches = file.iter_batches(_ROWS, row_groups=[group], columns=fitter.present)
            while True:
                # Around the reading alone: what the fitter refuses in a row is no damage of the file.
                with _damaged(piece.path, f"undamaged in row group {group}"):
                    batch = next(batches, None)
                if batch is None:
                    break
                yield fitter.fit(batch, row)
                row += batch.num_rows
            if row != sum(sizes[: group + 1]):
                raise SourceFormatError(
                    f"{piece.path}: row group {group} gave {row - sum(sizes[:group]):,} rows but its footer promises {sizes[group]:,}",
                    path=piece.path,
                )


def row_counts(path: str) -> list[int]:
    """The rows of each row group of a Parquet file.

    Raises:
        SourceFormatError: it is not Parquet.
    """
    with _parquet(path) as file, _damaged(path, "a readable Parquet file"):
        return [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]


@contextlib.contextmanager
def _parquet(path: str) -> Iterator[pq.ParquetFile]:
    import fsspec

    with reaching(path):
        # Read and not mapped: a mapped file that shrinks meanwhile ends the process.
        stream = pa.OSFile(path.removeprefix("file://"), "rb") if is_local(path) else fsspec.open(path, "rb").open()
    with stream:
        with _damaged(path, "a readable Parquet file"):
            file = pq.ParquetFile(stream, page_checksum_verification=True)
        yield file


@contextlib.contextmanager
def _damaged(path: str, what: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise SourceFormatError(f"{path}: is not {what}: {str(error)[:300]}", hint="write or fetch the file again", path=path) from error


def read_arrow(problem: Problem, piece: Piece, _settings: Settings) -> Iterator[Chunk]:
    """The rows of an Arrow IPC file or stream (Feather too)."""
    checked(problem.source.options, set(), f"problem {problem.name}")
    row = 0
    fitter: Fitter | None = None
    with unchanged(piece.path, piece.state):
        for batch in arrow_batches(piece.path):
            fitter = fitter or Fitter(problem, piece, batch.schema)
            yield fitter.fit(batch.select(fitter.present), row)
            row += batch.num_rows


def arrow_batches(path: str) -> Iterator[pa.RecordBatch]:
    """The batches of an Arrow IPC file or stream, of at most 131,072 rows; an empty one if there are none.

    Raises:
        SourceFormatError: it is neither, or is damaged.
    """
    with opened(path, foreign=("ARROW1",)) as streams:
        for name, stream in streams:
            with _damaged(name, "a readable Arrow IPC file"):
                source = pa.PythonFile(stream, "r")
                head = stream.read(6)
                stream.seek(0)
                reader = pyarrow.ipc.open_file(source) if head == b"ARROW1" else pyarrow.ipc.open_stream(source)
                count = reader.num_record_batches if head == b"ARROW1" else None
                yield pa.RecordBatch.from_pylist([], schema=reader.schema)
            number = 0
            while count is None or number < count:
                with _damaged(name, f"undamaged in batch {number}"):
                    try:
                        batch = reader.get_batch(number) if count is not None else reader.read_next_batch()
                        # A damaged file may have offsets that lead out of its buffers, which no kernel of Arrow's looks at.
                        batch.validate(full=True)
                    except StopIteration:
                        break
                number += 1
                for start in range(0, batch.num_rows, _ROWS):
                    yield batch.slice(start, _ROWS)


class Fitter:
    """Makes typed batches fit a problem's schema; rows that do not are set aside.

    Args:
        problem: declares the columns.
        piece: where the rows come from.
        found: the source's own schema.

    Attributes:
        present: the declared columns that the source has.
    """

    def __init__(self, problem: Problem, piece: Piece, found: pa.Schema) -> None:
        check_columns(problem, found.names, piece.path)
        self._problem, self._piece = problem, piece
        self._cut: set[str] = set()
        self._schema = arrow_schema(problem, day=False)
        self.present = [name for name in self._schema.names if name in found.names]
        for name in self.present:
            check_castable(found.field(name).type, self._schema.field(name).type, name, piece.path)

    def _cast(self, name: str, values: pa.Array, kind: pa.DataType) -> tuple[pa.Array, np.ndarray]:
        if pa.types.is_timestamp(kind) and name not in self._cut and is_too_fine(values):
            self._cut.add(name)
            log.warning("%s: column %r has times finer than a microsecond: they are cut", self._piece.path, name)
        return cast_column(values, kind)

    def fit(self, batch: pa.RecordBatch, row: int) -> Chunk:
        """The rows from number `row` (from 0) on."""
        good = np.ones(batch.num_rows, dtype=bool)
        why: dict[int, tuple[str, str]] = {}
        columns = []
        for field in self._schema:
            if field.name not in self.present:
                columns.append(pa.nulls(batch.num_rows, field.type))
                continue
            values = batch.column(field.name)
            values = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
            typed, bad = self._cast(field.name, values, field.type)
            if pa.types.is_string(field.type):
                bad = bad | _not_text(typed)
            # A row is told once, with the first column that does not fit.
            for i in np.flatnonzero(bad & good):
                why[int(i)] = (field.name, f"{shown(values[int(i)])!r} is not {field.type}")
            good &= ~bad
            columns.append(typed)
        whole = pa.record_batch(columns, schema=self._schema)
        if self._piece.dated:
            undated = pc.is_null(event_days(self._problem, whole)).to_numpy(zero_copy_only=False)
            column = event_columns(self._problem)[0]
            for i in np.flatnonzero(undated & good):
                why[int(i)] = (column, f"{shown(batch.column(column)[int(i)])!r} is no event time")
            good &= ~undated
        if good.all():
            return Chunk(whole, [], batch.num_rows)
        rejected = [Rejected(row + i + 1, column, reason, shorten(_text_of(batch, i))) for i, (column, reason) in sorted(why.items())]
        return Chunk(whole.filter(pa.array(good)), rejected, batch.num_rows)


def shown(value: pa.Scalar, limit: int = 80) -> str:
    """A value as text, also where Python has no such value: the year 36812."""
    try:
        return shorten(str(value.as_py()), limit)
    except UnicodeDecodeError:
        return shorten(value.cast(pa.large_binary()).as_py().decode("utf-8", "replace"), limit)
    except (OverflowError, ValueError):
        try:
            return shorten(str(value.cast(pa.string()).as_py()), limit)
        except (pa.ArrowException, ValueError):
            return f"{value.type} out of range"


def _text_of(batch: pa.RecordBatch, row: int) -> str:
    cells = (f"{name!r}: {shown(column[row], 2000)!r}" for name, column in zip(batch.schema.names, batch.columns, strict=True))
    return "{" + ", ".join(cells) + "}"


def _is_utf8(cell: bytes) -> bool:
    try:
        cell.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def check_readable(batch: pa.RecordBatch, where: str, row: int = 0) -> None:
    """A batch that statistics can be made of: each name once, and times that Python can say.

    Raises:
        SourceFormatError: names the column, and the row.
    """
    names = batch.schema.names
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SourceFormatError(
            f"{where}: column {twice!r} is there {names.count(twice)} times", hint="give each column its own name", path=where
        )
    for name, column in zip(names, batch.columns, strict=True):
        _check_text(name, column, where, row)
        outside = is_outside_calendar(column)
        if outside.any():
            place = int(np.flatnonzero(outside)[0])
            raise SourceFormatError(
                f"{where}: column {name!r} row {row + place + 1}: {shown(column[place])!r} is outside of the years 1 to 9999",
                hint="mend the value in the source; is its unit wrong (seconds, milliseconds)?",
                path=where,
            )


def _check_text(name: str, column: pa.Array, where: str, row: int) -> None:
    """Texts must be UTF-8: files that were damaged hold others."""
    texts = column.dictionary if pa.types.is_dictionary(column.type) else column
    if not (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)):
        return
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid as error:
        raise SourceFormatError(
            f"{where}: column {name!r} has text that is not UTF-8 in the rows from {row + 1} on: {error}",
            hint="is the file damaged? write or fetch it again",
            path=where,
        ) from error


def _not_text(values: pa.Array) -> np.ndarray:
    """Which texts no text column can hold: with a NUL, or not UTF-8."""
    # Arrow judges all texts at once; single ones are looked at only where some are bad.
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        cells = values.cast(pa.large_binary()).to_pylist()
        return np.array([cell is not None and (b"\0" in cell or not _is_utf8(cell)) for cell in cells], dtype=bool)
    found = pc.fill_null(pc.match_substring(values, "\0"), False)
    return np.asarray(found.to_numpy(zero_copy_only=False))
