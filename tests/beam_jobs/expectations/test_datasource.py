"""Great Expectations' own way of use: checkpoints, file contexts, Iceberg snapshots, own expectations."""

import json
import logging
import warnings

import pandas as pd
import pyarrow as pa
import pytest

import windtunnel.beam_jobs.expectations  # noqa: F401 - registers the datasource type
from windtunnel.beam_jobs.expectations import run_suite
from windtunnel.lifecycle.contract.errors import ConfigurationError, UnavailableError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import great_expectations as gx

logging.getLogger("great_expectations").setLevel(logging.ERROR)
QUIET = {"globally": False, "metric_calculations": False}
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def people(tmp_path):
    path = tmp_path / "people.parquet"
    pd.DataFrame({"age": [31, 44, 7, 7], "plan": ["a", "b", "a", None]}).to_parquet(path)
    return path


def _quantiles():
    return gx.expectations.ExpectColumnQuantileValuesToBeBetween(
        column="age", quantile_ranges={"quantiles": [0.5], "value_ranges": [[0, 50]]}
    )


def test_a_checkpoint_with_quantiles_ends_and_can_be_written(people):
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = QUIET
    asset = context.data_sources.add_arrow("files").add_parquet_asset("people", path=str(people))
    suite = context.suites.add(
        gx.ExpectationSuite(name="s", expectations=[_quantiles(), gx.expectations.ExpectColumnValuesToNotBeNull(column="plan", mostly=0.7)])
    )
    definition = gx.ValidationDefinition(name="v", data=asset.add_batch_definition_whole_dataframe("all"), suite=suite)
    context.validation_definitions.add(definition)
    result = context.checkpoints.add(gx.Checkpoint(name="c", validation_definitions=[definition])).run()
    assert result.success
    assert json.loads(result.describe())["success"] is True


def test_a_file_context_keeps_the_datasource_and_builds_data_docs(people, tmp_path):
    root = tmp_path / "project"
    root.mkdir()
    context = gx.get_context(mode="file", project_root_dir=str(root))
    context.variables.progress_bars = QUIET
    context.data_sources.add_arrow("files").add_parquet_asset("people", path=str(people)).add_batch_definition_whole_dataframe("all")
    again = gx.get_context(mode="file", project_root_dir=str(root))
    batch = again.data_sources.get("files").get_asset("people").get_batch_definition("all")
    suite = again.suites.add(
        gx.ExpectationSuite(name="s", expectations=[gx.expectations.ExpectColumnMaxToBeBetween(column="age", max_value=40)])
    )
    definition = again.validation_definitions.add(gx.ValidationDefinition(name="v", data=batch, suite=suite))
    assert not definition.run().success
    again.build_data_docs()
    assert list(root.rglob("index.html"))


def test_an_iceberg_snapshot_stays_what_it_was(tmp_path):
    from pyiceberg.catalog import load_catalog

    properties = {"type": "sql", "uri": f"sqlite:///{tmp_path}/catalog.db", "warehouse": f"file://{tmp_path}/warehouse"}
    catalog = load_catalog("windtunnel-suite", **properties)
    catalog.create_namespace("shop")
    table = catalog.create_table("shop.orders", schema=pa.schema([("n", pa.int64())]))
    table.append(pa.table({"n": [1, 2, 3]}))
    first = table.current_snapshot().snapshot_id
    table.append(pa.table({"n": [-5]}))
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = QUIET
    source = context.data_sources.add_arrow("lake")
    expectation = gx.expectations.ExpectColumnValuesToBeBetween(column="n", min_value=0)
    for name, snapshot, good in (("old", first, True), ("new", None, False)):
        asset = source.add_iceberg_asset(name, table="shop.orders", snapshot_id=snapshot, catalog=properties)
        assert asset.add_batch_definition_whole_dataframe("all").get_batch().validate(expectation).success is good
    with pytest.raises(UnavailableError, match="no snapshot 7"):
        source.add_iceberg_asset("lost", table="shop.orders", snapshot_id=7, catalog=properties).add_batch_definition_whole_dataframe(
            "a"
        ).get_batch()


def test_a_condition_of_ones_own_sees_the_whole_column(people):
    from great_expectations.execution_engine import PandasExecutionEngine
    from great_expectations.expectations.expectation import ColumnMapExpectation
    from great_expectations.expectations.metrics import ColumnMapMetricProvider, column_condition_partial

    class AboveMean(ColumnMapMetricProvider):
        condition_metric_name = "column_values.above_mean"

        @column_condition_partial(engine=PandasExecutionEngine)
        def _pandas(cls, column, **kwargs):  # noqa: N805
            return column > column.mean()

    class ExpectColumnValuesToBeAboveMean(ColumnMapExpectation):
        map_metric = "column_values.above_mean"

    suite = {"name": "s", "expectations": [{"type": "expect_column_values_to_be_above_mean", "kwargs": {"column": "age"}}]}
    result = run_suite(suite, str(people), batch_rows=2)
    assert result["results"][0]["result"]["partial_unexpected_list"] == [7, 7]


def test_wrong_expectations_are_an_error_not_dropped(people):
    with pytest.raises(ConfigurationError, match="expect_column_values_to_be_betwen"):
        run_suite({"name": "s", "expectations": [{"type": "expect_column_values_to_be_betwen", "kwargs": {"column": "age"}}]}, str(people))


def test_another_table_is_refused_as_great_expectations_refuses_it(people):
    """It was once compared with itself, and always passed."""
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = QUIET
    asset = context.data_sources.add_arrow("files").add_parquet_asset("people", path=str(people))
    peer = context.data_sources.add_pandas("frames").add_dataframe_asset("people")
    expectation = gx.expectations.ExpectTableRowCountToEqualOtherTable(other_table_name="no_such_table")
    ours = asset.add_batch_definition_whole_dataframe("all").get_batch().validate(expectation)
    definition = peer.add_batch_definition_whole_dataframe("all")
    theirs = definition.get_batch(batch_parameters={"dataframe": pd.read_parquet(people)}).validate(expectation)
    messages = [[entry["exception_message"] for entry in result.exception_info.values()] for result in (ours, theirs)]
    assert not ours.success
    assert messages[0] == messages[1]
    assert "named tables" in messages[0][0]
