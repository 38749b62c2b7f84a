"""An expectation of one's own, in Great Expectations' words."""

from great_expectations.execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import ColumnMapExpectation
from great_expectations.expectations.metrics import ColumnMapMetricProvider, column_condition_partial


class Even(ColumnMapMetricProvider):
    condition_metric_name = "column_values.even"

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column, **kwargs):  # noqa: N805 - GX makes it a class method
        return column % 2 == 0


class ExpectColumnValuesToBeEven(ColumnMapExpectation):
    map_metric = "column_values.even"
