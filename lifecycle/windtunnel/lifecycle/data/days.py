"""Versions of data: Iceberg tables, one a problem and kind, partitioned by the day of the window that a row belongs to.

A data file's name carries the digest of all that it was made from, ``event_date=2013-03-01/<digest>-<n>.parquet``, so a table's file list
alone tells which days are there, and of which version. Replacing days is one commit by compare-and-set: whoever loses looks again at
what is still lacking.
"""

import dataclasses
import datetime as dt
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from windtunnel.lifecycle.contract.errors import ConflictError, UnavailableError
from windtunnel.lifecycle.contract.fingerprint import fingerprint
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.rows import DAY

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile, ManifestFile
    from pyiceberg.table import Table

    from windtunnel.lifecycle.payload import JsonObject

from windtunnel.lifecycle.data.catalog import ATTEMPTS, catalog, pause, reaching

__all__ = ["UNKNOWN_DAY", "DayFile", "content_fingerprint", "day_files", "day_of", "day_path", "replace_days"]


log = logging.getLogger("windtunnel.snapshots")


_EPOCH = dt.date(1970, 1, 1)


UNKNOWN_DAY = _EPOCH.isoformat()
"""The partition of quarantined rows whose day cannot be told: Iceberg readers stumble over null partitions."""


_NAME = re.compile(r"/event_date=(?P<day>[^/]+)/(?P<digest>[0-9a-f]+)-(?P<part>\d+)\.parquet$")


@dataclasses.dataclass(frozen=True, order=True)
class DayFile:
    """A data file of one day (ISO); ``part`` numbers the files of one version of it."""

    day: str
    digest: str
    part: int
    rows: int
    path: str


def day_path(table: "Table", day: dt.date | str, digest: str, part: int) -> str:
    """Where a day's data file of a version belongs."""
    return f"{table.location()}/data/{DAY}={day}/{digest}-{part}.parquet"


def day_of(path: str) -> str:
    """The day, ISO, whose rows a data file of ours holds; empty for other files.

    Example:
        >>> day_of("s3://lake/p/examples/data/event_date=2013-03-01/00ff-0.parquet")
        '2013-03-01'
    """
    found = _NAME.search(path)
    return found["day"] if found else ""


def day_files(
    table: "Table", start: dt.date | str | None = None, end: dt.date | str | None = None, *, snapshot_id: int | None = None
) -> list[DayFile]:
    """The table's data files with ``start <= day < end`` at a snapshot (None: the newest), sorted.

    Raises:
        UnavailableError: the snapshot is no longer there.
    """
    return sorted(entry for entry, _ in _listed(table, start, end, snapshot_id))


def _listed(
    table: "Table", start: dt.date | str | None, end: dt.date | str | None, snapshot_id: int | None
) -> Iterator[tuple[DayFile, "DataFile"]]:
    """Entries of the manifests themselves, because a scan hides files without rows."""
    low, high = (None if day is None else _number(day) for day in (start, end))
    for manifest in _manifests(table, snapshot_id):
        # The manifest list alone says that most manifests have no day of the range: they are not even opened.
        if manifest.partitions and not _overlaps(manifest.partitions[0], low, high):
            continue
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
            file = entry.data_file
            day = _day_number(file)
            if _within(day, low, high):
                yield _described(file, day), file


def _manifests(table: "Table", snapshot_id: int | None) -> "list[ManifestFile]":
    """The manifests of a snapshot; of the newest one if none is named, and none where the table never had one."""
    snapshot = table.current_snapshot() if snapshot_id is None else table.metadata.snapshot_by_id(snapshot_id)
    if snapshot is not None:
        return snapshot.manifests(table.io)
    if snapshot_id is None:
        return []
    raise UnavailableError(
        f"table {'.'.join(table.name())} has no snapshot {snapshot_id} any more",
        hint="it was expired; ingest the window again",
        snapshot_id=snapshot_id,
    )


def _day_number(file: "DataFile") -> int | None:
    """The day of a file's partition; catalogs give it as a number or as a date."""
    number = file.partition[0] if len(file.partition) else None
    return number if number is None or isinstance(number, int) else _number(number)


def _within(day: int | None, low: int | None, high: int | None) -> bool:
    """Whether a day is in a range; a file without one is in the range without bounds only."""
    if day is None:
        return low is None and high is None
    return (low is None or day >= low) and (high is None or day < high)


def _described(file: "DataFile", day: int | None) -> DayFile:
    """What a file's name and manifest say; a file that is not named as ours are goes by the fingerprint of its path."""
    named = _NAME.search(file.file_path)
    digest, part = (named["digest"], int(named["part"])) if named else (fingerprint(file.file_path), 0)
    shown = "" if day is None else (_EPOCH + dt.timedelta(days=day)).isoformat()
    return DayFile(shown, digest, part, file.record_count, file.file_path)


def _number(day: dt.date | str) -> int:
    """Days since 1970, as Iceberg counts them."""
    return ((day if isinstance(day, dt.date) else dt.date.fromisoformat(day)) - _EPOCH).days


def _overlaps(summary: Any, low: int | None, high: int | None) -> bool:
    """Whether a manifest may list days of a range, by the bounds in the manifest list (little-endian days)."""
    lower, upper = (None if b is None else int.from_bytes(b, "little", signed=True) for b in (summary.lower_bound, summary.upper_bound))
    return not ((high is not None and lower is not None and lower >= high) or (low is not None and upper is not None and upper < low))


def _after(day: str) -> str:
    return (dt.date.fromisoformat(day) + dt.timedelta(days=1)).isoformat()


def replace_days(
    settings: Settings, name: str, days: Mapping[str, Sequence[str]], properties: Mapping[str, str] | None = None, *, among: str = ""
) -> int | None:
    """Make the given files the whole content of the given days, in one commit; nothing happens for days that are so already.

    Two runs that replace the same day leave one of the two contents, never both: a commit that lost the race is decided anew on what
    the winner left.

    Args:
        settings: name the catalog.
        name: the table.
        days: ISO day to the paths of its Parquet files, as `day_path` names them; none means that the day has no rows.
        properties: what to note in the snapshot's summary.
        among: only files whose digest begins so are the content; other files of the days stay as they are.

    Returns:
        the table's snapshot after it; None if the table has none at all.

    Raises:
        ConflictError: others kept changing the table.
    """
    from pyiceberg.exceptions import CommitFailedException, ValidationException

    for attempt in range(ATTEMPTS):
        try:
            with reaching(name):
                table = catalog(settings).load_table(name)
                old, new = _changes(table, days, among)
                if not old and not new:
                    return _newest(table)
                _commit(table, old, new, properties or {})
        except (CommitFailedException, ValidationException):
            log.info("table %s: somebody else committed first; looking again", name)
            pause(attempt)
            continue
        return _newest(table)
    raise ConflictError(f"table {name} is being changed by others all the time", table=name)


def _changes(table: "Table", days: Mapping[str, Sequence[str]], among: str) -> "tuple[list[DataFile], list[tuple[str, str]]]":
    """The files to take out of the days and the (day, path) to put in, so that the days hold the given files and nothing else."""
    # Read anew at each attempt: the winner of a race may have put in what this run wants, or other files of the same days.
    there = list(_listed(table, min(days), _after(max(days)), None)) if days else []
    known = {entry.path for entry, _ in there}
    old = []
    for entry, file in there:
        is_ours = entry.day in days and entry.digest.startswith(among)
        if is_ours and entry.path not in days[entry.day]:
            old.append(file)
    new = [(day, path) for day, paths in days.items() for path in paths if path not in known]
    return old, new


def _commit(table: "Table", old: "Sequence[DataFile]", new: Sequence[tuple[str, str]], properties: Mapping[str, str]) -> None:
    """One commit that takes files out and puts others in."""
    how = _statistics_plan(table)
    change = table.transaction()
    # One overwrite for both: a reader sees the days before or after it, never without their rows.
    with change.update_snapshot(snapshot_properties=dict(properties)).overwrite() as overwrite:
        for file in old:
            overwrite.delete_data_file(file)
        for day, path in new:
            overwrite.append_data_file(_data_file(table, day, path, how))
    change.commit_transaction()


def _newest(table: "Table") -> int | None:
    snapshot = table.current_snapshot()
    return snapshot.snapshot_id if snapshot else None


def _statistics_plan(table: "Table") -> tuple[object, object]:
    """Which figures of which columns to note: the same for all files of a commit."""
    from pyiceberg.io.pyarrow import compute_statistics_plan, parquet_path_to_id_mapping

    schema = table.schema()
    return compute_statistics_plan(schema, table.metadata.properties), parquet_path_to_id_mapping(schema)


def _data_file(table: "Table", day: str, path: str, how: tuple[Any, Any]) -> "DataFile":
    """What the table notes about a file; the partition is given, because an empty file has no statistics to read it from."""
    from pyiceberg.io.pyarrow import data_file_statistics_from_parquet_metadata
    from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
    from pyiceberg.typedef import Record

    source = table.io.new_input(path)
    with source.open() as stream:
        metadata = pq.read_metadata(stream)
    figures: JsonObject = {"record_count": 0}
    if metadata.num_rows:
        figures = data_file_statistics_from_parquet_metadata(metadata, *how).to_serialized_dict()
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=Record(_number(day)),
        file_size_in_bytes=len(source),
        sort_order_id=None,
        spec_id=table.metadata.default_spec_id,
        equality_ids=None,
        key_metadata=None,
        **figures,
    )


def content_fingerprint(found: Sequence[DayFile]) -> str:
    """The fingerprint of a window's content: its days, their versions and rows, whichever snapshot holds them in whatever order."""
    # A file without rows says only that its day was looked at: the same content with and without it.
    return fingerprint(sorted((entry.day, entry.digest, entry.part, entry.rows) for entry in found if entry.rows))
