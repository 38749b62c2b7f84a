"""Any SQL database with an ADBC driver: Arrow batches straight from it, in parallel by ranges of a key.

The address comes from the environment variable ``AIRFLOW_CONN_<ID>`` of the problem's ``source.connection``, as Airflow writes it, so no
secret stands in a problem file. Content is only known by reading: every run reads its window, and rows that are as before change nothing.

Reads in parallel see one version of the database: a transaction is held open as long as they last, and theirs take over its snapshot
(PostgreSQL's `pg_export_snapshot`). Otherwise a row whose key changes meanwhile could be read twice or not at all.
"""

import contextlib
import datetime as dt
import itertools
import os
import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from windtunnel.lifecycle.contract.errors import ConfigurationError, SourceFormatError, UnavailableError
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.contract.source_options import QueryOptions
from windtunnel.lifecycle.contract.window import Window
from windtunnel.lifecycle.data.sources.columnar import Fitter
from windtunnel.lifecycle.data.sources.piece import Chunk, Piece, Unit

__all__ = ["one_version", "plan_query", "read_query"]

_ROWS = 131_072
_NAME = re.compile(r"^\w+(\.\w+)*$")
_VERSION = re.compile(r"^[0-9A-F-]+$")


@contextlib.contextmanager
def one_version(problem: Problem) -> Iterator[str]:
    """The name of a version of the database that reads in parallel can share while this is open; empty where there is one read only.

    Raises:
        ConfigurationError: the database cannot share one.
        UnavailableError: it is out of reach.
    """
    if problem.source.format != "sql" or "partition_column" not in problem.source.options:
        yield ""
        return
    if _driver(problem, _address(problem)) != "postgresql":
        raise ConfigurationError(
            f"problem {problem.name}: source.options.partition_column needs PostgreSQL: parallel reads of this database would not see "
            "the same version of it",
            hint="leave partition_column out",
        )
    with _connected(problem) as connection, connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor.execute("SELECT pg_export_snapshot()")
        (version,) = cursor.fetchone()
        yield str(version)


def plan_query(problem: Problem, window: Window, version: str = "") -> Unit:
    """The statements that read a window: one, or one for each range of ``options.partition_column``.

    Args:
        problem: says what is read, and how.
        window: the days.
        version: of the database, by `one_version`.

    Raises:
        ConfigurationError: names or options are wrong.
        UnavailableError: the database is out of reach.
    """
    options = QueryOptions.of(problem.source.options, f"problem {problem.name}")
    statement = _statement(problem, window)
    statements = [statement]
    column, parts = options.partition_column, options.partitions
    if column is not None:
        if not _NAME.match(str(column)):
            raise ConfigurationError(
                f"problem {problem.name}: source.options.partition_column {column!r} with {parts} partitions is not possible"
            )
        statements = _ranges(problem, statement, str(column), parts)
    name = problem.source.table or "query"
    pieces = [Piece(i, f"sql:{name}", state=version, query=text, dated=problem.event_time is not None) for i, text in enumerate(statements)]
    return Unit("" if problem.event_time else window.days[-1].isoformat(), "", tuple(pieces))


def _statement(problem: Problem, window: Window) -> str:
    source = problem.source
    if source.query:
        # Not by `format`: a statement may have braces of its own.
        return source.query.replace("{start}", window.start.isoformat()).replace("{end}", window.end.isoformat()).rstrip().rstrip(";")
    if not _NAME.match(source.table):
        raise ConfigurationError(f"problem {problem.name}: source.table {source.table!r} is not a table's name")
    table = ".".join(f'"{part}"' for part in source.table.split("."))
    names = [name for name in problem.columns if name not in problem.optional_columns]
    # Naming an optional column that is not there would be an error.
    columns = "*" if problem.optional_columns else ", ".join(f'"{name}"' for name in names)
    return f"SELECT {columns} FROM {table}{_within(problem, window)}"  # names were checked, and dates are dates


def _within(problem: Problem, window: Window) -> str:
    """The condition that an event belongs to the window, or says not when it was."""
    event = problem.event_time
    if event is None:
        return ""
    if event.column is not None:
        name = f'"{event.column}"'
        return f" WHERE {name} >= '{window.start}' AND {name} < '{window.end}' OR {name} IS NULL"
    # Compared as a number: a database refuses to make a date of parts that are no day, and ingest must see such rows.
    day = f'("{event.year}" * 10000 + "{event.month}" * 100 + "{event.day}")'
    return f" WHERE {day} >= {window.start:%Y%m%d} AND {day} < {window.end:%Y%m%d} OR {day} IS NULL"


def _ranges(problem: Problem, statement: str, column: str, parts: int) -> list[str]:
    """The statement cut by ranges of a key, so that every row is in exactly one part, null keys in the first."""
    with _connected(problem) as connection, connection.cursor() as cursor:
        cursor.execute(f'SELECT min("{column}"), max("{column}") FROM ({statement}) AS part')  # the name was checked
        low, high = cursor.fetchone()
    if low is None:
        return [statement]
    if isinstance(low, bool) or not isinstance(low, int | dt.date):
        raise ConfigurationError(
            f"problem {problem.name}: source.options.partition_column {column!r} is of a type that cannot be cut into ranges ({low!r})",
            hint="name a column of whole numbers, dates or times",
        )
    bounds = [low + (high - low) * i // parts if isinstance(low, int) else low + (high - low) * i / parts for i in range(1, parts)]
    # Of few keys several bounds fall together.
    edges: list[str | None] = [None, *map(_literal, dict.fromkeys(bounds)), None]
    conditions = [_between(column, lower, upper) for lower, upper in itertools.pairwise(edges)]
    return [f"SELECT * FROM ({statement}) AS part WHERE {condition}" for condition in conditions]  # the name was checked


def _between(column: str, lower: str | None, upper: str | None) -> str:
    """The condition of a part: from `lower` on, below `upper`, where there are such; null keys are in the first part."""
    terms = [f'"{column}" >= {lower}' if lower else "", f'"{column}" < {upper}' if upper else ""]
    condition = " AND ".join(filter(None, terms)) or "TRUE"
    return f'({condition}) OR "{column}" IS NULL' if lower is None else condition


def _literal(value: object) -> str:
    return str(value) if isinstance(value, int) else f"'{value}'"


def read_query(problem: Problem, piece: Piece, _settings: Settings) -> Iterator[Chunk]:
    """The rows of one statement.

    Raises:
        SourceFormatError: the database refuses the statement.
        SchemaMismatchError: a declared column is missing or of another family of types.
        UnavailableError: the database is out of reach.
    """
    row = 0
    with _connected(problem) as connection, connection.cursor() as cursor, _told(piece.path):
        if piece.state:
            # It goes into the statement as text, because PostgreSQL takes no parameter there.
            if not _VERSION.match(piece.state):
                raise ConfigurationError(f"{piece.path}: {piece.state!r} names no version of a database")
            # In this order: PostgreSQL takes a snapshot over only in such a transaction, and only before its first query.
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            cursor.execute(f"SET TRANSACTION SNAPSHOT '{piece.state}'")
        cursor.execute(piece.query)
        reader = cursor.fetch_record_batch()
        declared = dict.fromkeys(problem.columns)
        fitter = Fitter(problem, piece, _plain_schema(problem, reader.schema))
        for batch in reader:
            plain = _plain(problem, batch)
            for start in range(0, max(plain.num_rows, 1), _ROWS):
                part = plain.slice(start, _ROWS)
                yield fitter.fit(part.select([name for name in part.schema.names if name in declared]), row)
                row += part.num_rows


def _plain_schema(problem: Problem, schema: pa.Schema) -> pa.Schema:
    return _plain(problem, pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)).schema


def _plain(problem: Problem, batch: pa.RecordBatch) -> pa.RecordBatch:
    """Columns without extension types: PostgreSQL's numeric, which arrives as text, becomes what the problem says."""
    columns = []
    for field, column in zip(batch.schema, batch.columns, strict=True):
        values = column.storage if isinstance(column, pa.ExtensionArray) else column
        opaque = isinstance(column, pa.ExtensionArray) and pa.types.is_string(values.type)
        wanted = problem.columns.get(field.name)
        if opaque and wanted in {"float32", "float64", "int32", "int64"}:
            values = values.cast(pa.float64())
        elif opaque and wanted == "decimal":
            values = values.cast(pa.decimal128(38, 18))
        columns.append(values)
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _address(problem: Problem) -> str:
    name = problem.source.connection
    variable = f"AIRFLOW_CONN_{name.upper()}"
    uri = os.environ.get(variable, "")
    if not name or not uri:
        raise ConfigurationError(
            f"problem {problem.name}: {'source.connection is empty' if not name else f'there is no connection {name!r}'}",
            hint=f"set the environment variable {variable if name else 'AIRFLOW_CONN_<ID>'} to the database's URI",
        )
    return uri


def _driver(problem: Problem, uri: str) -> str:
    return str(problem.source.options.get("driver", "postgresql" if re.match(r"postgres(ql)?(\+\w+)?://", uri) else ""))


@contextlib.contextmanager
def _connected(problem: Problem) -> Iterator[Any]:
    uri = _address(problem)
    driver = _driver(problem, uri)
    # Airflow lets a connection name SQLAlchemy's driver as well, which libpq does not know.
    address = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", uri)
    try:
        if driver == "postgresql":
            from adbc_driver_postgresql import dbapi
        elif driver:
            import importlib

            dbapi = importlib.import_module(f"adbc_driver_{driver}.dbapi")
        else:
            raise ConfigurationError(
                f"problem {problem.name}: no driver is known for {uri.partition(':')[0]!r}", hint="set source.options.driver"
            )
    except ImportError as error:
        raise ConfigurationError(
            f"problem {problem.name}: the ADBC driver for {driver} is not installed", hint="pip install 'windtunnel[sql]'"
        ) from error
    with _told(f"sql:{problem.source.connection}"), contextlib.closing(dbapi.connect(address)) as connection:
        yield connection


@contextlib.contextmanager
def _told(where: str) -> Iterator[None]:
    """What the driver raises as our errors, without the address, which may hold a password."""
    from adbc_driver_manager import Error, InternalError, OperationalError

    try:
        yield
    except (OperationalError, InternalError) as error:
        raise UnavailableError(f"{where}: the database failed: {_safe(error)}", hint="is it up, and the connection right?") from error
    except Error as error:
        raise SourceFormatError(f"{where}: the database refused the statement: {_safe(error)}") from error


def _safe(error: Exception) -> str:
    return re.sub(r"://[^@\s]*@", "://***@", str(error)).strip()[:500]
