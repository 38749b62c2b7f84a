"""Rows that a marked expectation does not like go to the problem's quarantine instead of stopping the run.

A suite marks an expectation by ``"meta": {"windtunnel": {"quarantine": 0.01}}``: up to that share of rows. The day's file is written
again without them, under the same digest (so that ingest does not bring them back) and a part number that only the content decides; rows
in are rows out plus rows in quarantine, and doing it twice leaves the same.
"""

import dataclasses
import datetime as dt
import json
import logging
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.beam_jobs.expectations.engine.tasks import LISTED
from windtunnel.beam_jobs.expectations.run import run_suite
from windtunnel.lifecycle.contract.errors import ConfigurationError, ConflictError
from windtunnel.lifecycle.contract.fingerprint import fingerprint
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.references import SnapshotRef
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.contract.window import Window
from windtunnel.lifecycle.data import pins, tables
from windtunnel.lifecycle.data.days import DayFile, day_files, day_path, replace_days
from windtunnel.lifecycle.data.parquet import BATCH_ROWS
from windtunnel.lifecycle.data.rows import DAY
from windtunnel.lifecycle.data.schema import QUARANTINE_SCHEMA
from windtunnel.lifecycle.payload import JsonMapping, JsonObject
from windtunnel.lifecycle.quality import suites
from windtunnel.lifecycle.quality.checks import Finding

__all__ = ["set_aside"]

log = logging.getLogger("windtunnel.expectations")

_FORM = {"result_format": "COMPLETE", "return_unexpected_index_query": False, "partial_unexpected_count": 3}
_DIGITS = 12  # hexadecimal digits of a fingerprint that make a part number


@dataclasses.dataclass(frozen=True)
class _Row:
    """A row that goes: its place in its file, and why."""

    place: int
    column: str
    reason: str


def set_aside(problem: Problem, snapshot: SnapshotRef, suite: suites.Suite, settings: Settings) -> tuple[SnapshotRef, list[Finding]]:
    """Move the rows that marked expectations do not like to quarantine.

    Args:
        problem: whose tables.
        snapshot: the rows.
        suite: its marked expectations are asked.
        settings: name the catalog.

    Returns:
        the snapshot without those rows (the same one if there are none), and a finding for each marked expectation that has some:
        not ok, and critical, where they are more than its share; then no row is moved for any.

    Raises:
        ConfigurationError: an expectation is marked that says nothing about single rows, or the table is somebody else's.
        ConflictError: the days were changed since the snapshot was taken.
    """
    marked = [(entry, share) for entry in suite["expectations"] if (share := suites.quarantine_share(entry)) is not None]
    if not marked:
        return snapshot, []
    table = tables.load_table(settings, snapshot.table)
    if DAY not in table.schema().column_names:
        raise ConfigurationError(
            f"{problem.name}: table {snapshot.table} is kept by somebody else: its rows cannot be set aside",
            hint="take the mark `quarantine` out of the suite's notes",
        )
    held = [file for file in day_files(table, snapshot.start, snapshot.end, snapshot_id=snapshot.snapshot_id) if file.rows]
    bad: dict[str, dict[int, _Row]] = {}
    findings = []
    for entry, share in marked:
        finding, places = _ask(entry, share, held)
        findings += [finding] if finding else []
        for path, row in places:
            # A row that several expectations do not like goes once, for the first of them.
            bad.setdefault(path, {}).setdefault(row.place, row)
    if not bad or not all(finding.ok for finding in findings):
        return snapshot, findings
    moved = sum(len(rows) for rows in bad.values())
    number = _move(snapshot, held, bad, settings, table)
    window = Window(dt.date.fromisoformat(snapshot.start), dt.date.fromisoformat(snapshot.end))
    left = pins.pin(problem, window, settings, str(number))
    log.warning("%s: %s of %s rows were set aside in quarantine: %s", problem.name, f"{moved:,}", f"{snapshot.rows:,}", findings[0])
    return left, findings


def _ask(entry: JsonMapping, share: float, held: Sequence[DayFile]) -> tuple[Finding | None, list[tuple[str, _Row]]]:
    """The rows that an expectation does not like; none of them if they are too many."""
    suite = {"name": "quarantine", "expectations": [entry], "meta": {}}
    answer = run_suite(suite, [file.path.removeprefix("file://") for file in held], result_format=_FORM)["results"][0]
    found = answer["result"]
    said = suites.describe(entry)
    if not found and not answer["success"]:
        return None, []  # it could not be worked out: the whole suite says so
    if "unexpected_count" not in found or not isinstance(found.get("unexpected_index_list", []), list):
        raise ConfigurationError(f"{said} says nothing about single rows: it cannot set any aside", hint="take the mark `quarantine` away")
    count = int(found["unexpected_count"])
    if not count:
        return None, []
    total = sum(file.rows for file in held)
    # Places beyond those that are listed are not known, and their rows could not be told from good ones.
    allowed = min(share, LISTED / total)
    column = str(entry["kwargs"].get("column") or "")
    text = f"at most {allowed:.2%} of the rows in quarantine because of {said}"
    finding = Finding("quarantine", count <= allowed * total, "critical", text, f"{count:,} of {total:,} ({count / total:.2%})", column)
    if not finding.ok:
        return finding, []
    edges = np.cumsum([0, *(file.rows for file in held)])
    places = np.asarray(found["unexpected_index_list"], np.int64)
    files = np.searchsorted(edges, places, side="right") - 1
    reason = f"does not meet {said}"
    return finding, [(held[f].path, _Row(int(p - edges[f]), column, reason)) for f, p in zip(files, places, strict=True)]


def _move(
    snapshot: SnapshotRef, held: Sequence[DayFile], bad: Mapping[str, Mapping[int, _Row]], settings: Settings, table: Any
) -> int | None:
    """Write the files anew, the quarantine first; answers the table's snapshot afterwards."""
    name = f"{snapshot.table.rpartition('.')[0]}.quarantine"
    refuge = tables.open_table(settings, name, QUARANTINE_SCHEMA)
    good: dict[str, list[str]] = {}
    aside: dict[str, list[str]] = {}
    for day in sorted({file.day for file in held if file.path in bad}):
        files = [file for file in held if file.day == day]
        after = (dt.date.fromisoformat(day) + dt.timedelta(days=1)).isoformat()
        # What the quarantine has of this day already stays: a day's files are replaced as a whole.
        aside[day] = [file.path for file in day_files(refuge, day, after)]
        good[day] = []
        for file in files:
            rows = bad.get(file.path)
            if rows is None:
                good[day].append(file.path)
                continue
            part = int(fingerprint([file.path.rpartition("/")[2], sorted(rows)])[:_DIGITS], 16)
            target, place = (day_path(kept, day, file.digest, part) for kept in (table, refuge))
            _split(file.path, rows, target, place, day)
            good[day].append(target)
            aside[day] = sorted({*aside[day], place})
        now = {entry.path for entry in day_files(tables.load_table(settings, snapshot.table), day, after)}
        # After a kill the days may hold this run's own files already, which is no change by anybody else.
        if now not in ({file.path for file in files}, set(good[day])):
            raise ConflictError(f"{snapshot.table}: {day} was changed since it was ingested", hint="clear the ingest task", day=day)
    # The quarantine first: killed in between, rows are in both tables for a moment, and never in neither.
    replace_days(settings, name, aside)
    return replace_days(settings, snapshot.table, good)


def _split(path: str, rows: Mapping[int, _Row], target: str, place: str, day: str) -> None:
    """One file to two, a batch at a time."""
    from windtunnel.beam_jobs.ingest_write import publish  # Beam: validating alone does not need it

    places = np.asarray(sorted(rows), np.int64)
    filesystem, source = fsspec.core.url_to_fs(path)
    temporary = f"{fsspec.core.url_to_fs(target)[1]}.{uuid.uuid4().hex}"
    filesystem.makedirs(temporary.rpartition("/")[0], exist_ok=True)
    gone: list[JsonObject] = []
    start = 0
    with filesystem.open(source, "rb") as stream, filesystem.open(temporary, "wb") as sink:
        file = pq.ParquetFile(stream, page_checksum_verification=True)
        with pq.ParquetWriter(sink, file.schema_arrow) as writer:
            for batch in file.iter_batches(batch_size=BATCH_ROWS):
                here = places[(places >= start) & (places < start + batch.num_rows)] - start
                keep = np.ones(batch.num_rows, bool)
                keep[here] = False
                writer.write_batch(batch.filter(pa.array(keep)))
                for offset, values in zip(here.tolist(), batch.take(pa.array(here)).to_pylist(), strict=True):
                    gone.append(_entry(rows[start + offset], path, values, day))
                start += batch.num_rows
    publish(filesystem, temporary, fsspec.core.url_to_fs(target)[1])
    away, where = fsspec.core.url_to_fs(place)
    temporary = f"{where}.{uuid.uuid4().hex}"
    away.makedirs(where.rpartition("/")[0], exist_ok=True)
    with away.open(temporary, "wb") as sink:
        pq.write_table(pa.Table.from_pylist(gone, QUARANTINE_SCHEMA), sink)
    publish(away, temporary, where)


def _entry(row: _Row, path: str, values: Mapping[str, object], day: str) -> dict[str, object]:
    raw = json.dumps({name: value for name, value in values.items() if name != DAY}, default=str, ensure_ascii=False)
    where = path.rpartition("/")[2]
    return {"source": where, "line": row.place + 1, "column": row.column, "reason": row.reason, "raw": raw, DAY: dt.date.fromisoformat(day)}
