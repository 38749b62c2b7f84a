"""Great Expectations over any amount of data.

Importing this package registers the datasource type ``arrow`` with Great Expectations: ``context.data_sources.add_arrow(name)``, with
``add_parquet_asset`` and ``add_iceberg_asset``. An unmodified suite gives the results of GX's pandas engine, in bounded memory.
"""

from windtunnel.beam_jobs.expectations import _quiet  # noqa: F401 - first: it decides how Great Expectations is imported
from windtunnel.beam_jobs.expectations.engine.datasource import ArrowDatasource, IcebergAsset, ParquetAsset
from windtunnel.beam_jobs.expectations.engine.engine import ArrowExecutionEngine
from windtunnel.beam_jobs.expectations.engine.kinds import ONE_ROW_AT_A_TIME
from windtunnel.beam_jobs.expectations.engine.mends import mend
from windtunnel.beam_jobs.expectations.run import run_suite
from windtunnel.beam_jobs.expectations.stage import stopped, validate

__all__ = [
    "ONE_ROW_AT_A_TIME",
    "ArrowDatasource",
    "ArrowExecutionEngine",
    "IcebergAsset",
    "ParquetAsset",
    "run_suite",
    "stopped",
    "validate",
]

mend()
