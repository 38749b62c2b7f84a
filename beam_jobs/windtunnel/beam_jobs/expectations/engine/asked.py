"""A question of Great Expectations: a metric with the answers that it needs, and which kind of question it is of a source."""

from typing import TYPE_CHECKING, Any

from great_expectations.validator.metric_configuration import MetricConfiguration

from windtunnel.beam_jobs.expectations.engine.aggregates import OF_COUNTS, OF_THE_SET
from windtunnel.beam_jobs.expectations.engine.calls import Later, domain_columns, mentions_index, named_columns
from windtunnel.beam_jobs.expectations.engine.kinds import COUNT, FILTERED, LISTS, MOMENTS, SCHEMA
from windtunnel.beam_jobs.expectations.engine.source import Source, is_number

if TYPE_CHECKING:
    from windtunnel.lifecycle.payload import JsonMapping

__all__ = ["Asked", "Question", "listed_columns"]

Asked = tuple[MetricConfiguration, dict[str, Any]]


class Question:
    """A metric about a source.

    Args:
        asked: the metric, and what it depends on.
        source: the rows.
    """

    def __init__(self, asked: Asked, source: Source) -> None:
        self.asked = asked
        self.metric, self.needs = asked
        self.name: str = self.metric.metric_name
        self.columns = domain_columns(self.metric, source.columns) or []
        self._source = source
        self._kwargs: JsonMapping = self.metric.metric_domain_kwargs

    @property
    def column(self) -> str:
        """The one column that it is about."""
        return str(self._kwargs["column"])

    @property
    def conditioned(self) -> bool:
        """Whether only rows that meet a condition count."""
        return bool(self._kwargs.get("row_condition"))

    @property
    def elsewhere(self) -> bool:
        """Whether it is about another table, or a column that is not there: GX's own error answers it."""
        lacking = any(name not in self._source.columns for name in named_columns(self._kwargs))
        return lacking or bool(self._kwargs.get("table"))

    @property
    def of_all_rows(self) -> bool:
        """Whether the number of rows answers it."""
        return self.name == "table.row_count" and not self.conditioned

    @property
    def of_first_rows(self) -> bool:
        """Whether the first rows answer it."""
        return self.name == "table.head" and not self.conditioned

    @property
    def of_the_whole(self) -> bool:
        """Whether all rows are needed at once: of any column, by the index, of values that cannot be compared, or of no row at all."""
        if not self._source.rows or not self.columns or mentions_index(self.metric, self._source.columns):
            return True
        return not set(self.columns) <= set(self._source.keyed)

    @property
    def of_the_schema(self) -> bool:
        """Whether names and types of columns answer it."""
        return self.name in SCHEMA

    @property
    def of_some_rows(self) -> bool:
        """Whether it asks how many rows meet a condition."""
        return self.name == "table.row_count"

    @property
    def condition(self) -> Later | None:
        """The condition whose rows it counts or lists."""
        later = self.needs.get("unexpected_condition")
        return later if isinstance(later, Later) else None

    @property
    def is_list(self) -> bool:
        """Whether it lists the rows of its condition."""
        return self.name.endswith(LISTS)

    @property
    def counts_or_lists(self) -> bool:
        """Whether it counts or lists the rows of its condition, and asks nothing else of them."""
        return self.name.endswith((*LISTS, COUNT, FILTERED))

    @property
    def of_moments(self) -> bool:
        """Whether sums over a column of numbers answer it."""
        return self.name in MOMENTS and is_number(self._source.dtypes[self.column])

    @property
    def of_distinct_values(self) -> bool:
        """Whether a column's distinct values answer it, with how often each occurs."""
        return self.name in OF_THE_SET or (self.name in OF_COUNTS and self._counts_do)

    @property
    def _counts_do(self) -> bool:
        """Whether the way by counts knows the column's type (and the method)."""
        dtype = self._source.dtypes[self.column]
        number = is_number(dtype) and dtype.kind != "b"
        if self.name == "column.outlier_statistics":
            return number and self.metric.metric_value_kwargs.get("method") == "iqr"
        if self.name == "column.histogram":
            return number and not isinstance(self.metric.metric_value_kwargs.get("bins"), int | str)
        return number or self.name not in {"column.median", "column.quantile_values"}


def listed_columns(metric: MetricConfiguration, source: Source) -> list[str]:
    """The columns that a metric's answer shows or needs, index columns included."""
    columns = domain_columns(metric, source.columns)
    form = metric.metric_value_kwargs.get("result_format") or {}
    if columns is None or metric.metric_name.endswith(".unexpected_rows") or mentions_index(metric, source.columns):
        return [*source.columns, *source.index_columns()]
    named = [name for name in form.get("unexpected_index_column_names") or [] if name in source.columns]
    return [*columns, *named, *source.index_columns()]
