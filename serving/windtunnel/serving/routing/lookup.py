"""Precomputed answers: a batch job's scores by key, in one SQLite file that the server reads and never changes.

An answer is taken from there where the model's problem says so (``serving.lookup``), all rows of the request have their key, the version
that would answer is the one that computed them, and they are not too old; in every other case the model answers. The scores are kept bit
for bit, so it is the same answer.
"""

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from windtunnel.lifecycle.contract.errors import IntegrityError
from windtunnel.serving.base.batch import Batch

__all__ = ["FILE", "Lookup", "key_of", "write_lookup"]

FILE = "answers.sqlite"

FORMAT = 1
_BATCH = 10_000


def key_of(values: Sequence[Any]) -> str | None:
    """A key's values as text, the same for the batch job and for a request; None where one is missing.

    Example:
        >>> key_of([2013, "AA", 1.0]), key_of([2013.0, "AA", True]), key_of([None])
        ('[2013,"AA",1]', '[2013,"AA",1]', None)
    """
    found: list[Any] = []
    for value in values:
        if value is None:
            return None
        if isinstance(value, bool):
            found.append(int(value))
        elif isinstance(value, float):
            if value != value:  # NaN is a missing value
                return None
            found.append(int(value) if value.is_integer() else value)
        elif isinstance(value, int):
            found.append(value)
        else:
            found.append(str(value))
    return json.dumps(found, separators=(",", ":"), ensure_ascii=False)


def write_lookup(path: Path, key: Sequence[str], candidate: str, made_at: float, width: int, answers: Iterable[tuple[str, bytes]]) -> int:
    """Write a file of answers; answers how many there are: of a key that is there twice the last counts.

    Args:
        path: a file that is not there yet.
        key: the columns that make a key.
        candidate: the candidate that computed them: its bundle and a compiled copy of it have the same.
        made_at: when they were computed, seconds since 1970.
        width: numbers of a row's scores.
        answers: key (`key_of`) and scores, as the bytes of little-endian float64 numbers.
    """
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA journal_mode=OFF")
        database.execute("CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT)")
        database.execute("CREATE TABLE answers (key TEXT PRIMARY KEY, scores BLOB) WITHOUT ROWID")
        about = {"format": FORMAT, "key": list(key), "candidate": candidate, "made_at": made_at, "width": width}
        database.executemany("INSERT INTO about VALUES (?, ?)", [(name, json.dumps(value)) for name, value in about.items()])
        part: list[tuple[str, bytes]] = []
        for entry in answers:
            part.append(entry)
            if len(part) >= _BATCH:
                database.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", part)
                part.clear()
        database.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", part)
        (count,) = database.execute("SELECT count(*) FROM answers").fetchone()
    database.close()
    return int(count)


class Lookup:
    """A file of answers, opened for reading.

    Args:
        path: the file.

    Attributes:
        key: the columns that make a key.
        candidate: the candidate that computed the answers.
        made_at: when they were computed, seconds since 1970.

    Raises:
        IntegrityError: it is no such file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        try:
            about = {name: json.loads(value) for name, value in self._database().execute("SELECT name, value FROM about")}
            if about["format"] != FORMAT:
                raise IntegrityError(f"{path}: precomputed answers of format {about['format']!r}; this version reads format {FORMAT}")
            self.key, self.candidate, self.made_at = tuple(about["key"]), str(about["candidate"]), float(about["made_at"])
            self._width = int(about["width"])
        except (sqlite3.Error, KeyError, ValueError, TypeError) as error:
            raise IntegrityError(f"{path}: is no file of precomputed answers: {error}") from error

    def find(self, batch: Batch, max_age: float) -> np.ndarray | None:
        """The score matrix of rows, or None unless every one of them is there, and not older than so many seconds."""
        if time.time() - self.made_at > max_age:
            return None
        keys = [key_of([batch.value(name, row) for name in self.key]) for row in range(batch.count)]
        if None in keys:
            return None
        database, found = self._database(), []
        for key in keys:
            entry = database.execute("SELECT scores FROM answers WHERE key = ?", (key,)).fetchone()
            if entry is None or len(entry[0]) != 8 * self._width:
                return None
            found.append(entry[0])
        # a copy, since an array over bytes is read-only
        return np.frombuffer(b"".join(found), dtype="<f8").reshape(batch.count, self._width).copy()

    def _database(self) -> sqlite3.Connection:
        """A connection of this thread's own, and of this process's: SQLite's do not survive a fork."""
        if getattr(self._local, "process", None) != os.getpid():
            # immutable: no locks and no look for a journal, since a copy never changes under its digest
            self._local.database = sqlite3.connect(f"file:{self.path}?mode=ro&immutable=1", uri=True)
            self._local.process = os.getpid()
        found: sqlite3.Connection = self._local.database
        return found
