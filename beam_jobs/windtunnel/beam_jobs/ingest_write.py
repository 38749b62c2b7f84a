"""The files that ingest writes: one a day and piece, under a name that only the content decides, there whole or not at all."""

import collections
import contextlib
import datetime as dt
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from windtunnel.beam_jobs.batches import BATCH_ROWS
from windtunnel.lifecycle.contract.errors import IntegrityError
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.data.artifacts import is_local_store
from windtunnel.lifecycle.data.days import UNKNOWN_DAY
from windtunnel.lifecycle.data.rows import DAY
from windtunnel.lifecycle.data.schema import QUARANTINE_SCHEMA, arrow_schema
from windtunnel.lifecycle.data.sources import Chunk, Piece, Rejected
from windtunnel.lifecycle.data.sources.days import event_days
from windtunnel.lifecycle.data.sources.files import is_local
from windtunnel.lifecycle.payload import JsonObject

__all__ = ["PieceWriter", "publish", "write_table"]

_HELD_ROWS = 4 * BATCH_ROWS
_HELD_BYTES = 64 << 20
_REASONS = 5


def _quarantined(rejected: Sequence[Rejected], path: str, day: dt.date) -> pa.RecordBatch:
    """Rejected rows as the quarantine keeps them."""
    columns = [
        pa.array([path] * len(rejected), pa.string()),
        pa.array([entry.line or None for entry in rejected], pa.int64()),
        pa.array([entry.last_line or entry.line or None for entry in rejected], pa.int64()),
        pa.array([entry.column or None for entry in rejected], pa.string()),
        pa.array([entry.reason for entry in rejected], pa.string()),
        pa.array([entry.raw for entry in rejected], pa.string()),
        pa.array([day] * len(rejected), pa.date32()),
    ]
    return pa.record_batch(columns, schema=QUARANTINE_SCHEMA)


class PieceWriter:
    """Writes the rows of one piece.

    Args:
        problem: declares the columns.
        piece: where the rows come from.
        places: the data folders of the examples and the quarantine table.
        digest: the version that files are named by; empty to name them by a temporary one and sum up their content instead.
        days: the days that are wanted; other rows are passed over.
        day: the day that delivers all rows; empty where each row says its own.
    """

    def __init__(self, problem: Problem, piece: Piece, places: Sequence[str], digest: str, days: Iterable[str], day: str) -> None:
        self._problem, self._piece, self._day = problem, piece, day
        self._examples, self._quarantine = places
        self._digest = digest or f"{uuid.uuid4().hex}"
        self._sums = not digest
        self._wanted = {dt.date.fromisoformat(entry) for entry in days}
        self._schema = arrow_schema(problem)
        self._open: dict[str, _DayFile] = {}
        self._bad: _DayFile | None = None
        self.rows = self.passed = self.rejected = self.delivered = 0
        self.elsewhere: tuple[dt.date, dt.date] | None = None
        self.reasons: collections.Counter[tuple[str, str]] = collections.Counter()
        self.samples: list[dict[str, Any]] = []

    def add(self, chunk: Chunk) -> None:
        """Rows of the piece, in their order."""
        self.delivered += chunk.rows
        self._reject(chunk.rejected)
        batch = chunk.batch
        if self._day:
            days = pa.repeat(pa.scalar(dt.date.fromisoformat(self._day), pa.date32()), batch.num_rows)
            self._day_batch(self._day, batch, days)
        else:
            days = event_days(self._problem, batch)
            for day in pc.unique(days).to_pylist():
                mask = pc.equal(days, pa.scalar(day, pa.date32()))
                if day not in self._wanted:
                    self._pass_over(day, int(pc.sum(mask).as_py()))
                    continue
                # A batch of one day stays as it is: a filter would copy it.
                part = batch if pc.all(mask).as_py() else batch.filter(mask)
                self._day_batch(day.isoformat(), part, pa.repeat(pa.scalar(day, pa.date32()), part.num_rows))
        held = sum(entry.held_rows for entry in self._open.values())
        # Rows of many days may come mixed: the largest is written, so that row groups stay large and memory bounded.
        if held > _HELD_ROWS or sum(entry.held_bytes for entry in self._open.values()) > _HELD_BYTES:
            max(self._open.values(), key=lambda entry: entry.held_bytes).flush()

    def _pass_over(self, day: dt.date, rows: int) -> None:
        """Rows of other days are counted, with the first and last of their days: an empty window can then say where the rows are."""
        self.passed += rows
        self.elsewhere = (min(self.elsewhere[0], day), max(self.elsewhere[1], day)) if self.elsewhere else (day, day)

    def _day_batch(self, day: str, batch: pa.RecordBatch, days: pa.Array) -> None:
        if day not in self._open:
            path = f"{self._examples}/{DAY}={day}/{self._digest}-{self._piece.index}.parquet"
            self._open[day] = _DayFile(path, self._schema, sums=self._sums)
        self.rows += batch.num_rows
        self._open[day].add(pa.record_batch([*batch.columns, days], schema=self._schema))

    def _reject(self, rejected: Sequence[Rejected]) -> None:
        if not rejected:
            return
        day = self._day or UNKNOWN_DAY
        if self._bad is None:
            path = f"{self._quarantine}/{DAY}={day}/{self._digest}-{self._piece.index}.parquet"
            self._bad = _DayFile(path, QUARANTINE_SCHEMA, sums=self._sums)
        self.rejected += len(rejected)
        self.reasons.update((entry.column, _kind(entry.reason)) for entry in rejected)
        self.samples += [
            {"source": self._piece.path, "line": entry.line, "column": entry.column, "reason": entry.reason}
            for entry in rejected[: _REASONS - len(self.samples)]
        ]
        dated = dt.date.fromisoformat(day)
        for start in range(0, len(rejected), BATCH_ROWS):
            self._bad.add(_quarantined(rejected[start : start + BATCH_ROWS], self._piece.path, dated))

    def finish(self) -> dict[str, object]:
        """Close the files and say what they are.

        Raises:
            IntegrityError: not every row that was delivered is accounted for.
        """
        # The last look before files get their names: a row that a reader lost would be missed by nobody afterwards.
        if self.delivered != self.rows + self.rejected + self.passed:
            raise IntegrityError(
                f"{self._piece.path}: {self.delivered:,} rows in, but {self.rows:,} kept, {self.rejected:,} quarantined and "
                f"{self.passed:,} of other days",
                path=self._piece.path,
            )
        examples = {day: entry.close() for day, entry in sorted(self._open.items())}
        quarantine = {self._day or UNKNOWN_DAY: self._bad.close()} if self._bad else {}
        return {
            "piece": self._piece.index,
            "path": self._piece.path,
            "delivered": self.delivered,
            "rows": self.rows,
            "rejected": self.rejected,
            "passed": self.passed,
            "elsewhere": [day.isoformat() for day in self.elsewhere or ()],
            "reasons": [[*key, count] for key, count in self.reasons.most_common(_REASONS)],
            "samples": self.samples,
            "examples": examples,
            "quarantine": quarantine,
        }

    def abandon(self) -> None:
        """Leave nothing behind."""
        for entry in [*self._open.values(), *([self._bad] if self._bad else [])]:
            entry.abandon()


class _DayFile:
    """One Parquet file in the making, in row groups of at most `BATCH_ROWS` rows."""

    def __init__(self, path: str, schema: pa.Schema, *, sums: bool) -> None:
        self._path, self._schema = path, schema
        self._held: list[pa.RecordBatch] = []
        self.held_rows = self.held_bytes = self._rows = 0
        self._sum: int | None = 0 if sums else None
        self._filesystem, self._target = fsspec.core.url_to_fs(path)
        self._temporary = f"{self._target.rpartition('/')[0]}/.{uuid.uuid4().hex}.tmp"
        self._sink: Any = None
        self._writer: pq.ParquetWriter | None = None

    def add(self, batch: pa.RecordBatch) -> None:
        self._held.append(batch)
        self.held_rows += batch.num_rows
        self.held_bytes += batch.nbytes
        if self._sum is not None:
            # Modulo 2**64 as numpy wraps around: the sum is the same however the rows are cut into batches.
            self._sum = (self._sum + row_sum(batch)) % (1 << 64)
        while self.held_rows >= BATCH_ROWS:
            self.flush(BATCH_ROWS)

    def flush(self, rows: int | None = None) -> None:
        """Write what is held as one row group; with `rows`, only so many, and hold the rest."""
        if not self._held:
            return
        table = pa.Table.from_batches(self._held, self._schema)
        part = table if rows is None else table.slice(0, rows)
        rest = [] if rows is None else table.slice(rows).to_batches()
        self._start().write_table(part, row_group_size=BATCH_ROWS)
        self._rows += part.num_rows
        self._held = rest
        self.held_rows = sum(batch.num_rows for batch in rest)
        self.held_bytes = sum(batch.nbytes for batch in rest)

    def _start(self) -> pq.ParquetWriter:
        if self._writer is None:
            self._filesystem.makedirs(self._target.rpartition("/")[0], exist_ok=True)
            local = is_local(self._path)  # Arrow's own file spares a call of Python for each page
            self._sink = pa.OSFile(self._temporary, "wb") if local else self._filesystem.open(self._temporary, "wb")
            self._writer = pq.ParquetWriter(self._sink, self._schema)
        return self._writer

    def close(self) -> JsonObject:
        self.flush()
        self._start().close()
        self._sink.close()
        publish(self._filesystem, self._temporary, self._target)
        return {"path": self._path, "rows": self._rows, "sum": self._sum}

    def abandon(self) -> None:
        if self._writer is not None:
            # Closing may fail for the reason that led here, which must be the one that is told.
            with contextlib.suppress(OSError, pa.ArrowException, ValueError):
                self._writer.close()
            with contextlib.suppress(OSError, ValueError):
                self._sink.close()
            with contextlib.suppress(OSError):
                self._filesystem.rm_file(self._temporary)


def publish(filesystem: Any, temporary: str, target: str) -> None:
    """Give a whole file its name; if somebody wrote the same content before, theirs stays."""
    if filesystem.exists(target):
        filesystem.rm_file(temporary)
    elif is_local_store(filesystem):
        Path(temporary).replace(target)
    else:
        filesystem.mv(temporary, target)


def write_table(path: str, table: pa.Table) -> None:
    """A small Parquet file, there whole or not at all."""
    file = _DayFile(path, table.schema, sums=False)
    for batch in table.to_batches():
        file.add(batch)
    file.close()


def row_sum(batch: pa.RecordBatch) -> int:
    """A checksum of rows that does not depend on their order: the sum of 64-bit hashes of the rows."""
    total = np.zeros(batch.num_rows, dtype=np.uint64)
    for column in batch.columns:
        valid = column.is_valid().to_numpy(zero_copy_only=False)
        kind = column.type
        if pa.types.is_string(kind) or pa.types.is_decimal(kind):
            text = pc.fill_null(column.cast(pa.string()), "").to_numpy(zero_copy_only=False)
            hashes = pd.util.hash_array(text.astype(object), categorize=True)
        else:
            plain = (
                column.cast(pa.int64()) if pa.types.is_timestamp(kind) else column.cast(pa.int32()) if pa.types.is_date(kind) else column
            )
            hashes = pd.util.hash_array(pc.fill_null(plain, pa.scalar(0).cast(plain.type)).to_numpy(zero_copy_only=False))
        # Times an odd number, so that two columns that swap their values make another sum; null has a hash of its own.
        total = total * np.uint64(1_000_003) + np.where(valid, hashes, np.uint64(0x9E3779B97F4A7C15))
    return int((total * np.uint64(0xBF58476D1CE4E5B9)).sum(dtype=np.uint64))


def _kind(reason: str) -> str:
    """A reason without the value that it begins with."""
    return reason.rpartition("' ")[2] or reason
