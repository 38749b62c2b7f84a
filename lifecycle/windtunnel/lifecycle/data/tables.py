"""Tables of the catalog: their names, their types in Iceberg's words, made and grown where needed."""

import contextlib
import logging
from typing import TYPE_CHECKING

import pyarrow as pa

from windtunnel.lifecycle.contract.errors import ConflictError, UnavailableError, UnsupportedError
from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.catalog import ATTEMPTS, catalog, pause, reaching
from windtunnel.lifecycle.data.rows import DAY
from windtunnel.lifecycle.data.schema import evolve

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table
    from pyiceberg.types import IcebergType

__all__ = ["existing", "load_table", "open_table", "table_name", "table_names"]


log = logging.getLogger("windtunnel.snapshots")


_NAME_MAPPING = "schema.name-mapping.default"


_PROPERTIES = {
    "commit.retry.num-retries": "0",  # a lost race is decided anew, on what the winner left
    "write.metadata.metrics.default": "counts",  # days are found by partition; bounds of columns cost a millisecond a file
    # Each commit writes a file of metadata, and without this none of them ever goes.
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
}


def table_name(problem: Problem | str, kind: str) -> str:
    """The name of a problem's table.

    Example:
        >>> table_name("flight_delays", "examples")
        'flight_delays.examples'
    """
    return f"{problem if isinstance(problem, str) else problem.name}.{kind}"


def load_table(settings: Settings, name: str) -> "Table":
    """A table of the catalog.

    Raises:
        UnavailableError: there is no such table, or the catalog is out of reach.
    """
    from pyiceberg.exceptions import NoSuchTableError

    try:
        with reaching(name):
            return catalog(settings).load_table(name)
    except NoSuchTableError as error:
        raise UnavailableError(f"there is no table {name}", hint="was it dropped? ingest the window again", table=name) from error


def existing(settings: Settings, name: str) -> "Table | None":
    """A table, or None if there is none.

    Raises:
        UnavailableError: the catalog is out of reach.
    """
    import sqlalchemy.exc
    from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError

    try:
        return catalog(settings).load_table(name)
    except (NoSuchTableError, NoSuchNamespaceError):
        return None
    except (sqlalchemy.exc.OperationalError, ConnectionError) as error:
        raise UnavailableError(f"table {name}: the Iceberg catalog is out of reach: {error}", table=name) from error


def table_names(settings: Settings, kind: str) -> list[str]:
    """The problems that have a table of a kind, by name.

    Raises:
        UnavailableError: the catalog is out of reach.
    """
    from pyiceberg.exceptions import NoSuchNamespaceError

    found, place = [], catalog(settings)
    with reaching(kind):
        for space in place.list_namespaces():
            with contextlib.suppress(NoSuchNamespaceError):
                found += [".".join(space) for name in place.list_tables(space) if name[-1] == kind]
    return sorted(found)


def open_table(settings: Settings, name: str, schema: pa.Schema) -> "Table":
    """A table with at least these columns, partitioned by `DAY`; made, or grown, where needed.

    Raises:
        SchemaMismatchError: a column of the table has another type.
    """
    from pyiceberg.exceptions import CommitFailedException, NamespaceAlreadyExistsError, TableAlreadyExistsError

    place = catalog(settings)
    for attempt in range(ATTEMPTS):
        # Whoever loses the race for making or growing it sees what the winner made the next time round.
        with contextlib.suppress(CommitFailedException, NamespaceAlreadyExistsError, TableAlreadyExistsError), reaching(name):
            return _grown(_opened(place, name, schema), schema)
        pause(attempt)
    raise ConflictError(f"table {name} is being changed by others all the time", table=name)


def _opened(place: "Catalog", name: str, schema: pa.Schema) -> "Table":
    from pyiceberg.exceptions import NoSuchTableError

    try:
        return place.load_table(name)
    except NoSuchTableError:
        return _create(place, name, schema)


def _create(place: "Catalog", name: str, schema: pa.Schema) -> "Table":
    from pyiceberg.partitioning import PartitionField, PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.transforms import IdentityTransform
    from pyiceberg.types import NestedField

    place.create_namespace_if_not_exists(name.rpartition(".")[0])
    columns = [NestedField(i, field.name, _iceberg_type(field.type), required=False) for i, field in enumerate(schema, 1)]
    typed = Schema(*columns)
    field = PartitionField(typed.find_field(DAY).field_id, 1000, IdentityTransform(), DAY)
    # Files that jobs write carry no field ids: by this mapping Iceberg finds their columns by name.
    mapping = {_NAME_MAPPING: typed.name_mapping.model_dump_json()}
    return place.create_table(name, typed, partition_spec=PartitionSpec(field), properties={**_PROPERTIES, **mapping})


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
        # In the same transaction: nobody may read by a mapping that lacks the new columns.
        change.set_properties({_NAME_MAPPING: change.table_metadata.schema().name_mapping.model_dump_json()})
    log.info("table %s: added %s, widened %s", ".".join(table.name()), [f.name for f in added], [f.name for f in widened])
    return table


def _iceberg_type(kind: pa.DataType) -> "IcebergType":
    from pyiceberg import types

    if pa.types.is_dictionary(kind):
        return _iceberg_type(kind.value_type)
    if pa.types.is_decimal(kind):
        return types.DecimalType(kind.precision, kind.scale)
    wide = pa.types.is_integer(kind) and (kind.bit_width > 32 or kind == pa.uint32())  # bits
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
