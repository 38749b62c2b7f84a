"""Great Expectations' own way of use: ``context.data_sources.add_arrow(name)``.

Importing this module registers the datasource type ``arrow`` with assets ``parquet`` and ``iceberg``. A file context that holds such a
datasource needs this import before it is opened.
"""

from typing import Any, ClassVar, Literal

from great_expectations.compatibility import pydantic
from great_expectations.core.batch import LegacyBatchDefinition
from great_expectations.datasource.fluent.batch_request import BatchRequest
from great_expectations.datasource.fluent.constants import _DATA_CONNECTOR_NAME
from great_expectations.datasource.fluent.interfaces import Batch
from great_expectations.datasource.fluent.pandas_datasource import _PandasDataAsset, _PandasDatasource

from windtunnel.beam_jobs.expectations.engine.calls import FrameEngine
from windtunnel.beam_jobs.expectations.engine.distinct import Limit
from windtunnel.beam_jobs.expectations.engine.engine import ArrowBatchData, ArrowBatchSpec, ArrowExecutionEngine
from windtunnel.beam_jobs.expectations.engine.questions import Questions
from windtunnel.beam_jobs.expectations.engine.source import Source
from windtunnel.lifecycle.contract.errors import UnavailableError, UnsupportedError
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.data.parquet import BATCH_ROWS
from windtunnel.lifecycle.statistics.counting import COLUMN_BYTES

__all__ = ["ArrowDatasource", "IcebergAsset", "ParquetAsset", "iceberg_files"]


class _ArrowAsset(_PandasDataAsset):
    """Rows in Parquet files.

    Attributes:
        batch_rows: rows a chunk.
        distinct_bytes: bytes of the distinct values of a column that are held in memory; more are spilled to disk.
        distinct_limit: how many are held at most, whatever they take; None for as many as fit.
    """

    batch_rows: int = BATCH_ROWS
    distinct_bytes: int = COLUMN_BYTES
    distinct_limit: int | None = None

    _EXCLUDE_FROM_READER_OPTIONS: ClassVar[set[str]] = {
        "batch_definitions",
        "batch_metadata",
        "batch_rows",
        "distinct_bytes",
        "distinct_limit",
        "id",
        "name",
        "order_by",
        "type",
    }

    def files(self) -> str | list[str]:
        """The files, or what `windtunnel.beam_jobs.batches.expand` makes files of; each kind of asset says which."""
        raise UnsupportedError(f"asset {self.name!r} of type {type(self).__name__} names no files")

    def get_batch(self, batch_request: BatchRequest) -> Batch:
        """The one batch: all rows."""
        self._validate_batch_request(batch_request)
        engine = self.datasource.get_execution_engine()
        options = self.dict(exclude=self._EXCLUDE_FROM_READER_OPTIONS, exclude_unset=True)
        source = Source(self.files(), self.batch_rows)
        questions = Questions(source, FrameEngine(), Limit(self.distinct_bytes, self.distinct_limit))
        spec = ArrowBatchSpec(reader_method="read_parquet", reader_options=options, data=ArrowBatchData(engine, questions))
        data, markers = engine.get_batch_data_and_markers(batch_spec=spec)
        definition = LegacyBatchDefinition(
            datasource_name=self.datasource.name,
            data_connector_name=_DATA_CONNECTOR_NAME,
            data_asset_name=self.name,
            batch_identifiers=_identifiers(batch_request),
            batch_spec_passthrough=None,
        )
        return Batch(
            datasource=self.datasource,
            data_asset=self,
            batch_request=batch_request,
            data=data,
            metadata=self._get_batch_metadata_from_batch_request(batch_request=batch_request),
            batch_markers=markers,
            batch_spec=spec,
            batch_definition=definition,
        )


class ParquetAsset(_ArrowAsset):
    """Parquet files: a path, a folder, a glob, a URL that fsspec knows, or a list of them."""

    type: Literal["parquet"] = "parquet"
    path: str | list[str]

    class Config:
        """Unknown options are refused."""

        extra = pydantic.Extra.forbid

    def files(self) -> str | list[str]:
        """What was given."""
        return self.path


class IcebergAsset(_ArrowAsset):
    """A snapshot of an Iceberg table.

    Attributes:
        table: ``namespace.name``.
        snapshot_id: which version; None for the current one.
        catalog: properties for pyiceberg's ``load_catalog``; empty means the catalog of Windtunnel's settings.
    """

    type: Literal["iceberg"] = "iceberg"
    table: str
    snapshot_id: int | None = None
    catalog: dict[str, str] = {}  # pydantic copies defaults

    class Config:
        """Unknown options are refused."""

        extra = pydantic.Extra.forbid

    def files(self) -> list[str]:
        """The data files of the snapshot."""
        return iceberg_files(self.table, self.snapshot_id, self.catalog)


class ArrowDatasource(_PandasDatasource):
    """Parquet and Iceberg of any size, validated chunk by chunk with the results of GX's pandas engine.

    Example:
        >>> import tempfile, great_expectations as gx, pandas as pd
        >>> path = tempfile.mkdtemp() + "/people.parquet"
        >>> pd.DataFrame({"age": [31, 44, -2]}).to_parquet(path)
        >>> context = gx.get_context(mode="ephemeral")
        >>> context.variables.progress_bars = {"globally": False}
        >>> asset = context.data_sources.add_arrow("files").add_parquet_asset("people", path=path)
        >>> batch = asset.add_batch_definition_whole_dataframe("all").get_batch()
        >>> result = batch.validate(gx.expectations.ExpectColumnValuesToBeBetween(column="age", min_value=0))
        >>> result.success, result.result["partial_unexpected_list"]
        (False, [-2])
    """

    asset_types: ClassVar[list[type[Any]]] = [ParquetAsset, IcebergAsset]
    execution_engine_override: ClassVar[type[ArrowExecutionEngine]] = ArrowExecutionEngine

    type: Literal["arrow"] = "arrow"
    assets: list[ParquetAsset | IcebergAsset] = []  # pydantic copies defaults

    def test_connection(self, test_assets: bool = True) -> None:
        """Whether the assets' files can be reached."""
        if test_assets:
            for asset in self.assets:
                asset.test_connection()

    def add_parquet_asset(self, name: str, path: str | list[str], **options: object) -> ParquetAsset:
        """Add Parquet files.

        Args:
            name: the asset's name.
            path: a path, a folder, a glob, a URL, or a list of them.
            **options: ``batch_rows``, ``distinct_bytes``, ``distinct_limit``.
        """
        return self._add_asset(ParquetAsset(name=name, path=path, **options))

    def add_iceberg_asset(self, name: str, table: str, snapshot_id: int | None = None, **options: object) -> IcebergAsset:
        """Add a snapshot of an Iceberg table.

        Args:
            name: the asset's name.
            table: ``namespace.name``.
            snapshot_id: which version; None for the current one.
            **options: ``catalog`` (properties), ``batch_rows``, ``distinct_bytes``, ``distinct_limit``.
        """
        return self._add_asset(IcebergAsset(name=name, table=table, snapshot_id=snapshot_id, **options))


def iceberg_files(table: str, snapshot_id: int | None, properties: dict[str, str] | None = None) -> list[str]:
    """The data files of a snapshot, sorted.

    Raises:
        UnavailableError: there is no such table or snapshot.
        UnsupportedError: rows are deleted by separate delete files.
    """
    from pyiceberg.exceptions import NoSuchTableError

    if properties:
        from pyiceberg.catalog import load_catalog

        catalog = load_catalog("windtunnel-suite", **properties)
    else:
        from windtunnel.lifecycle.data.catalog import catalog as ours

        catalog = ours(Settings.from_environment())
    try:
        loaded = catalog.load_table(table)
    except NoSuchTableError as error:
        raise UnavailableError(f"there is no Iceberg table {table!r}", table=table) from error
    if snapshot_id is not None and loaded.snapshot_by_id(snapshot_id) is None:
        raise UnavailableError(f"table {table} has no snapshot {snapshot_id}", hint="it may have expired", table=table)
    tasks = list(loaded.scan(snapshot_id=snapshot_id).plan_files())
    if any(task.delete_files for task in tasks):
        raise UnsupportedError(f"table {table} deletes rows by delete files", hint="rewrite the table's data files (compact it) first")
    return sorted(task.file.file_path.removeprefix("file://") for task in tasks)


def _identifiers(batch_request: BatchRequest) -> Any:
    from great_expectations.core.id_dict import IDDict

    return IDDict(batch_request.options)
