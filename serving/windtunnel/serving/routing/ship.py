"""The prediction log as Parquet: closed log files become files under ``predictions/PROBLEM/DAY/``, one row a predicted row.

The name of a Parquet file is that of the log file it came from, and the log file goes only when its Parquet file is whole: done twice, or
killed half-way, each answer is there once. `windtunnel.lifecycle.live.collecting` takes them into the table.
"""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.serving.base import quickjson
from windtunnel.serving.base.log import closed_files
from windtunnel.serving.routing.entries import Entries, day_of

__all__ = ["to_parquet"]


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

_MOST_DAMAGED = 100
"""Files of damaged lines that are kept; the oldest go first."""

_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, pa.ArrowException)
"""What reading a damaged line raises."""

Grouped = dict[tuple[str, str], pa.Table]


def to_parquet(home: Path, damaged: Callable[[int], None] = lambda _: None) -> list[Path]:
    """Turn every closed log file of a server into Parquet; answers the new files.

    A line that cannot be read (a power cut leaves NULs) is put aside under ``log/damaged/``, and the others go on.

    Args:
        home: of the server.
        damaged: is told how many lines were put aside.
    """
    written: list[Path] = []
    for path in closed_files(home / "log"):
        lines = [line for line in path.read_bytes().split(b"\n") if line]
        try:
            tables, bad = _tables(lines, alone=False)
        except pa.ArrowException:  # a value of another type, in a line that is to be found
            tables, bad = _tables(lines, alone=True)
        if bad:
            # before the tables: the log file goes at the end, and the damaged lines with it
            _put_aside(home / "log", path.name, bad)
            damaged(len(bad))
        for (problem, day), table in tables.items():
            written.append(_write(home / "predictions" / problem / day, path.stem, table))
        # last: killed before this, the same files are written once more under the same names
        path.unlink()
    return written


def _tables(lines: Sequence[bytes], *, alone: bool) -> tuple[Grouped, list[bytes]]:
    """The rows of lines by problem and day, and the lines that are damaged.

    Args:
        lines: of a log file.
        alone: try each line's values as a table of its own, which takes many times as long.

    Raises:
        pyarrow.ArrowException: a value is not of its column's type; not where lines are tried alone.
    """
    grouped: dict[tuple[str, str], Entries] = defaultdict(Entries)
    bad: list[bytes] = []
    for line in lines:
        try:
            _add(line, grouped, alone=alone)
        except _DAMAGE:
            bad.append(line)
    tables = {key: rows.table() for key, rows in grouped.items()}
    return {key: table for key, table in tables.items() if table.num_rows}, bad


def _add(line: bytes, grouped: dict[tuple[str, str], Entries], *, alone: bool) -> None:
    """Add the rows of a line to those of its problem and day, all or none."""
    entry = quickjson.loads(line)
    if not _NAME.fullmatch(entry["problem"]):
        raise ValueError("it is no problem's name")
    if alone:
        one = Entries()
        one.add(entry)
        # into a table of its own first: a value of another type shows only here, and would spoil everybody's
        one.table()
    grouped[entry["problem"], day_of(entry).isoformat()].add(entry)


def _put_aside(folder: Path, name: str, lines: Sequence[bytes]) -> None:
    """Keep damaged lines for somebody to look at; done twice they are there once."""
    place = folder / "damaged"
    place.mkdir(mode=0o750, exist_ok=True)
    (place / name).write_bytes(b"\n".join(lines) + b"\n")
    (place / name).chmod(0o640)
    for old in sorted(place.iterdir())[:-_MOST_DAMAGED]:
        old.unlink(missing_ok=True)


def _write(folder: Path, name: str, table: pa.Table) -> Path:
    """Write rows as a Parquet file that is there whole or not at all, for its owner and group only: predictions may be personal."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}.parquet"
    temporary = target.with_suffix(".tmp")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640), "wb") as file:
        pq.write_table(table, file)
        file.flush()
        # the log file goes after this, and with it the only other copy
        os.fsync(file.fileno())
    temporary.replace(target)
    return target
