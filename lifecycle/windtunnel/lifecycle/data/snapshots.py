"""Versions of data: Iceberg tables, one a problem and kind, partitioned by the day of the window that a row belongs to.

A data file's name carries the digest of all that it was made from, ``event_date=2013-03-01/<digest>-<n>.parquet``, so a table's file list
alone tells which days are there, and of which version. Replacing days is one commit by compare-and-set: whoever loses looks again at
what is still lacking.
"""

import contextlib
import dataclasses
import datetime as dt
import functools
import logging
import os
import random
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.lifecycle.contract.errors import ConfigurationError, ConflictError, EmptyWindowError, UnavailableError, UnsupportedError
from windtunnel.lifecycle.contract.fingerprint import fingerprint
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.references import SnapshotRef
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.contract.window import Window
from windtunnel.lifecycle.data.rows import DAY
from windtunnel.lifecycle.data.schema import evolve

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table
    from pyiceberg.types import IcebergType

__all__ = [
    "UNKNOWN_DAY",
    "DayFile",
    "catalog",
    "content_fingerprint",
    "day_files",
    "day_of",
    "day_path",
    "files",
    "load_table",
    "open_table",
    "pin",
    "replace_days",
    "table_files",
    "table_name",
]

log = logging.getLogger("windtunnel.snapshots")

_ATTEMPTS = 60
_EPOCH = dt.date(1970, 1, 1)
UNKNOWN_DAY = _EPOCH.isoformat()
"""The partition of quarantined rows whose day cannot be told: Iceberg readers stumble over null partitions."""

_NAME = re.compile(r"/event_date=(?P<day>[^/]+)/(?P<digest>[0-9a-f]+)-(?P<part>\d+)\.parquet$")
_NAME_MAPPING = "schema.name-mapping.default"
_PROPERTIES = {
    "commit.retry.num-retries": "0",  # a lost race is decided anew, on what the winner left
    "write.metadata.metrics.default": "counts",  # days are found by partition; bounds of columns cost a millisecond a file
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
}


@dataclasses.dataclass(frozen=True, order=True)
class DayFile:
    """A data file of one day (ISO); ``part`` numbers the files of one version of it."""

    day: str
    digest: str
    part: int
    rows: int
    path: str


def catalog(settings: Settings) -> "Catalog":
    """The Iceberg catalog of the settings: SQL (PostgreSQL, SQLite) or, for an http(s) URL, REST.

    Raises:
        ConfigurationError: the settings do not name one.
        UnavailableError: it is out of reach.
    """
    return _catalog(settings.need("catalog_uri"), settings.need("warehouse"), os.getpid())


_FIRST_USERS = 5


@functools.lru_cache(maxsize=8)
def _catalog(uri: str, warehouse: str, _process: int) -> "Catalog":
    import sqlalchemy.exc

    kind = "rest" if uri.startswith(("http://", "https://")) else "sql"
    uri = re.sub(r"^postgres(ql)?://", "postgresql+psycopg2://", uri)  # the driver that is installed, not SQLAlchemy's default
    # Two first users of an empty database make the catalog's tables at once: whoever loses finds them made. SQLite says so by an
    # OperationalError, PostgreSQL by an IntegrityError or a ProgrammingError.
    lost = (sqlalchemy.exc.IntegrityError, sqlalchemy.exc.ProgrammingError, sqlalchemy.exc.OperationalError)
    for attempt in range(_FIRST_USERS):
        with contextlib.suppress(*lost):
            return _opened(kind, uri, warehouse)
        _pause(attempt)
    return _opened(kind, uri, warehouse)


def _opened(kind: str, uri: str, warehouse: str) -> "Catalog":
    import sqlalchemy.exc
    from pyiceberg.catalog import load_catalog

    try:
        # In an object store by the same driver, and so with the same settings, as everything else that is read and written here.
        remote = "://" in warehouse and not warehouse.startswith("file://")
        how = {"py-io-impl": "pyiceberg.io.fsspec.FsspecFileIO"} if remote else {}
        return load_catalog("windtunnel", type=kind, uri=uri, warehouse=warehouse.rstrip("/"), **how)
    except (sqlalchemy.exc.NoSuchModuleError, sqlalchemy.exc.ArgumentError) as error:
        raise ConfigurationError(f"setting catalog_uri is not a database URL: {error}", hint="such as postgresql://user@host/db") from error
    except (sqlalchemy.exc.OperationalError, OSError) as error:
        if "already exists" in str(error):
            raise
        raise UnavailableError(f"the Iceberg catalog is out of reach: {error}", hint="is its server up? see `windtunnel status`") from error


def table_name(problem: Problem | str, kind: str) -> str:
    """The name of a problem's table.

    Example:
        >>> table_name("flight_delays", "examples")
        'flight_delays.examples'
    """
    return f"{problem if isinstance(problem, str) else problem.name}.{kind}"


def open_table(settings: Settings, name: str, schema: pa.Schema) -> "Table":
    """A table with at least these columns, partitioned by `DAY`; made, or grown, where needed.

    Raises:
        SchemaMismatchError: a column of the table has another type.
    """
    from pyiceberg.exceptions import CommitFailedException, NamespaceAlreadyExistsError, NoSuchTableError, TableAlreadyExistsError

    place = catalog(settings)
    for attempt in range(_ATTEMPTS):
        try:
            with _reaching(name):
                return _grown(place.load_table(name), schema)
        except NoSuchTableError:
            with contextlib.suppress(TableAlreadyExistsError, NamespaceAlreadyExistsError), _reaching(name):
                _create(place, name, schema)
        except CommitFailedException:
            _pause(attempt)
    raise ConflictError(f"table {name} is being changed by others all the time", table=name)


def _create(place: "Catalog", name: str, schema: pa.Schema) -> None:
    from pyiceberg.partitioning import PartitionField, PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.transforms import IdentityTransform
    from pyiceberg.types import NestedField

    place.create_namespace_if_not_exists(name.rpartition(".")[0])
    columns = [NestedField(i, field.name, _iceberg_type(field.type), required=False) for i, field in enumerate(schema, 1)]
    typed = Schema(*columns)
    field = PartitionField(typed.find_field(DAY).field_id, 1000, IdentityTransform(), DAY)
    mapping = {_NAME_MAPPING: typed.name_mapping.model_dump_json()}
    place.create_table(name, typed, partition_spec=PartitionSpec(field), properties={**_PROPERTIES, **mapping})


def _grown(table: "Table", schema: pa.Schema) -> "Table":
    added, widened = evolve(table.schema().as_arrow(), schema, ".".join(table.name()))
    if not added and not widened:
        return table
    with table.transaction() as change:
        with change.update_schema() as update:
            for field in added:
                update.add_column(field.name, _iceberg_type(field.type))
            for field in widened:
                update.update_column(field.name, _iceberg_type(field.type))
        change.set_properties({_NAME_MAPPING: change.table_metadata.schema().name_mapping.model_dump_json()})
    log.info("table %s: added %s, widened %s", ".".join(table.name()), [f.name for f in added], [f.name for f in widened])
    return table


def _iceberg_type(kind: pa.DataType) -> "IcebergType":
    from pyiceberg import types

    if pa.types.is_dictionary(kind):
        return _iceberg_type(kind.value_type)
    if pa.types.is_decimal(kind):
        return types.DecimalType(kind.precision, kind.scale)
    wide = pa.types.is_integer(kind) and (kind.bit_width > 32 or kind == pa.uint32())  # noqa: PLR2004 - bits
    families: list[tuple[bool, type[IcebergType]]] = [
        (wide, types.LongType),
        (pa.types.is_integer(kind), types.IntegerType),
        (kind == pa.float64(), types.DoubleType),
        (pa.types.is_floating(kind), types.FloatType),
        (pa.types.is_string(kind) or pa.types.is_large_string(kind), types.StringType),
        (pa.types.is_boolean(kind), types.BooleanType),
        (pa.types.is_date(kind), types.DateType),
        (pa.types.is_timestamp(kind), types.TimestamptzType if pa.types.is_timestamp(kind) and kind.tz else types.TimestampType),
    ]
    for fits, family in families:
        if fits:
            return family()
    raise UnsupportedError(f"a column of type {kind} cannot be kept in a table of ours", hint="make it a number, text, a date or a time")


def day_path(table: "Table", day: dt.date | str, digest: str, part: int) -> str:
    """Where a day's data file of a version belongs."""
    return f"{table.location()}/data/{DAY}={day}/{digest}-{part}.parquet"


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
    snapshot = table.current_snapshot() if snapshot_id is None else table.metadata.snapshot_by_id(snapshot_id)
    if snapshot is None:
        if snapshot_id is None:
            return
        raise UnavailableError(
            f"table {'.'.join(table.name())} has no snapshot {snapshot_id} any more",
            hint="it was expired; ingest the window again",
            snapshot_id=snapshot_id,
        )
    low = None if start is None else _number(start)
    high = None if end is None else _number(end)
    for manifest in snapshot.manifests(table.io):
        if manifest.partitions and not _overlaps(manifest.partitions[0], low, high):
            continue
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
            file = entry.data_file
            number = file.partition[0] if len(file.partition) else None
            day = number if number is None or isinstance(number, int) else _number(number)
            if (low is not None and (day is None or day < low)) or (high is not None and (day is None or day >= high)):
                continue
            found = _NAME.search(file.file_path)
            digest, part = (found["digest"], int(found["part"])) if found else (fingerprint(file.file_path), 0)
            shown = "" if day is None else (_EPOCH + dt.timedelta(days=day)).isoformat()
            yield DayFile(shown, digest, part, file.record_count, file.file_path), file


def _number(day: dt.date | str) -> int:
    """Days since 1970, as Iceberg counts them."""
    return ((day if isinstance(day, dt.date) else dt.date.fromisoformat(day)) - _EPOCH).days


def _overlaps(summary: Any, low: int | None, high: int | None) -> bool:
    """Whether a manifest may list days of a range, by the bounds in the manifest list (little-endian days)."""
    lower, upper = (None if b is None else int.from_bytes(b, "little", signed=True) for b in (summary.lower_bound, summary.upper_bound))
    return not ((high is not None and lower is not None and lower >= high) or (low is not None and upper is not None and upper < low))


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

    for attempt in range(_ATTEMPTS):
        with _reaching(name):
            table = catalog(settings).load_table(name)
        there = list(_listed(table, min(days), _after(max(days)), None)) if days else []
        old = [file for entry, file in there if entry.day in days and entry.path not in days[entry.day] and entry.digest.startswith(among)]
        known = {entry.path for entry, _ in there}
        new = [(day, path) for day, paths in days.items() for path in paths if path not in known]
        if not old and not new:
            snapshot = table.current_snapshot()
            return snapshot.snapshot_id if snapshot else None
        try:
            with _reaching(name):
                how = _statistics_plan(table)
                change = table.transaction()
                with change.update_snapshot(snapshot_properties=dict(properties or {})).overwrite() as overwrite:
                    for file in old:
                        overwrite.delete_data_file(file)
                    for day, path in new:
                        overwrite.append_data_file(_data_file(table, day, path, how))
                change.commit_transaction()
        except (CommitFailedException, ValidationException):
            log.info("table %s: somebody else committed first; looking again", name)
            _pause(attempt)
            continue
        snapshot = table.current_snapshot()
        assert snapshot is not None  # noqa: S101 - the commit made one
        return snapshot.snapshot_id
    raise ConflictError(f"table {name} is being changed by others all the time", table=name)


def _statistics_plan(table: "Table") -> tuple[Any, Any]:
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
    figures: dict[str, Any] = {"record_count": 0}
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


def files(settings: Settings, ref: SnapshotRef) -> list[str]:
    """The Parquet data files of a snapshot's window, oldest day first; files without rows are left out.

    The table is read at ``ref.snapshot_id``, whatever was committed to it since. A table that somebody else keeps, without a column
    `DAY`, is pinned as a whole.

    Raises:
        UnavailableError: the table or the snapshot is not there any more.
    """
    table = load_table(settings, ref.table)
    if DAY in table.schema().column_names:
        found = day_files(table, ref.start, ref.end, snapshot_id=ref.snapshot_id)
        return [entry.path.removeprefix("file://") for entry in found if entry.rows]
    paths = [task.file.file_path for task in table.scan(snapshot_id=ref.snapshot_id).plan_files()]
    return sorted(path.removeprefix("file://") for path in paths)


def day_of(path: str) -> str:
    """The day, ISO, whose rows a data file of ours holds; empty for other files.

    Example:
        >>> day_of("s3://lake/p/examples/data/event_date=2013-03-01/00ff-0.parquet")
        '2013-03-01'
    """
    found = _NAME.search(path)
    return found["day"] if found else ""


def table_files(settings: Settings, name: str, start: str | None = None, end: str | None = None, version: str = "") -> list[str]:
    """The Parquet data files of any table, of some days if it is one of ours; of a snapshot id or tag, or the newest version.

    Raises:
        UnavailableError: there is no such table or version.
    """
    table = load_table(settings, name)
    number = _version(table, version) if version else None
    if DAY in table.schema().column_names:
        return [entry.path.removeprefix("file://") for entry in day_files(table, start, end, snapshot_id=number) if entry.rows]
    return sorted(task.file.file_path.removeprefix("file://") for task in table.scan(snapshot_id=number).plan_files())


def pin(problem: Problem, window: Window, settings: Settings, version: str = "") -> SnapshotRef:
    """A reference to a window of the problem's examples as the table holds them.

    Args:
        problem: whose.
        window: which days.
        settings: name the catalog.
        version: a snapshot id or a tag; empty for the newest.

    Raises:
        EmptyWindowError: the window has no row.
        UnavailableError: there is no such table or version.
    """
    name = table_name(problem, "examples")
    table = load_table(settings, name)
    number = _version(table, version)
    found = day_files(table, window.start, window.end, snapshot_id=number)
    bad = day_files(load_table(settings, table_name(problem, "quarantine")))
    quarantined = sum(entry.rows for entry in bad if entry.day == UNKNOWN_DAY or str(window.start) <= entry.day < str(window.end))
    rows = sum(entry.rows for entry in found)
    if not rows or number is None:
        source = problem.source
        where = source.path or source.table or source.generator or "the query"
        raise EmptyWindowError(
            f"{problem.name}: no row between {window.start} and {window.end}; {quarantined:,} rows of it are in quarantine",
            hint=f"is there data for these days at {where!r}?",
            start=str(window.start),
            end=str(window.end),
        )
    return SnapshotRef(name, number, str(window.start), str(window.end), rows, quarantined, content_fingerprint(found))


def _version(table: "Table", version: str) -> int | None:
    if not version:
        snapshot = table.current_snapshot()
        return snapshot.snapshot_id if snapshot else None
    named = table.snapshot_by_name(version)
    if named is not None:
        return int(named.snapshot_id)
    if version.isdigit() and table.snapshot_by_id(int(version)) is not None:
        return int(version)
    newest = ", ".join(str(entry.snapshot_id) for entry in reversed(table.metadata.snapshots[-5:]))
    raise ConfigurationError(  # asking again cannot help
        f"table {'.'.join(table.name())} has no version {version!r}",
        hint=f"the newest are {newest or 'none'}; older ones may have been expired",
        version=version,
    )


def load_table(settings: Settings, name: str) -> "Table":
    """A table of the catalog.

    Raises:
        UnavailableError: there is no such table, or the catalog is out of reach.
    """
    from pyiceberg.exceptions import NoSuchTableError

    try:
        with _reaching(name):
            return catalog(settings).load_table(name)
    except NoSuchTableError as error:
        raise UnavailableError(f"there is no table {name}", hint="was it dropped? ingest the window again", table=name) from error


def content_fingerprint(found: Sequence[DayFile]) -> str:
    """The fingerprint of a window's content: its days, their versions and rows, whichever snapshot holds them in whatever order."""
    return fingerprint(sorted((entry.day, entry.digest, entry.part, entry.rows) for entry in found if entry.rows))


def _after(day: str) -> str:
    return (dt.date.fromisoformat(day) + dt.timedelta(days=1)).isoformat()


def _pause(attempt: int) -> None:
    time.sleep(random.uniform(0.02, min(0.1 * (attempt + 1), 1.0)))  # noqa: S311 - spreads contenders, hides nothing


@contextlib.contextmanager
def _reaching(name: str) -> Iterator[None]:
    """Turns what databases and object stores raise when they are out of reach into our retryable error."""
    import sqlalchemy.exc
    from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException, RESTError

    try:
        yield
    except sqlalchemy.exc.OperationalError as error:
        if "locked" in str(error):  # SQLite: another process writes
            raise CommitFailedException(str(error)) from error
        raise UnavailableError(f"table {name}: the Iceberg catalog is out of reach: {error}", table=name) from error
    except sqlalchemy.exc.IntegrityError as error:  # two processes made the same thing
        raise CommitFailedException(str(error)) from error
    except (CommitStateUnknownException, RESTError, ConnectionError) as error:
        raise UnavailableError(f"table {name}: the Iceberg catalog is out of reach: {error}", table=name) from error
