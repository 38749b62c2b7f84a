"""What readiness is asked of: the statistics of a table, and what is known of its columns."""

import dataclasses
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from windtunnel.lifecycle.statistics.column import ColumnStatistics, family_of
from windtunnel.lifecycle.statistics.counting.values import flat
from windtunnel.lifecycle.statistics.table import TableStatistics

__all__ = ["Subject"]

_CLASSES = 20  # distinct numbers up to which a label is taken for classes


@dataclasses.dataclass(frozen=True)
class Subject:
    """A table that a model is to learn from.

    Attributes:
        table: its statistics, with their sample of rows.
        label: the label's column; empty if none is named.
        labels: the label of each row of the sample, null where it has none; None takes the column as it is.
        counts: rows of each class; None counts the column's values (and is empty for numbers).
        labelled: rows that have a label; None counts the column.
        features: columns that a model may see; None for all but the label.
        time: the column that says when a row happened; empty if there is none.
        groups: columns whose values are groups that must be judged alone.
        keys: columns that together name a row.
        rows: hashes of whole rows, counted; None where nobody counted them.
        drift: the population stability index from which a column has drifted.
        task: of the problem; empty if there is none.
    """

    table: TableStatistics
    label: str = ""
    labels: pa.Array | None = None
    counts: Mapping[str, int] | None = None
    labelled: int | None = None
    features: Sequence[str] | None = None
    time: str = ""
    groups: Sequence[str] = ()
    keys: Sequence[str] = ()
    rows: ColumnStatistics | None = None
    drift: float = 0.25
    task: str = ""

    @property
    def sample(self) -> pa.Table:
        """A uniform sample of rows."""
        return self.table.sample.table

    @property
    def seen(self) -> list[str]:
        """The columns that a model may see."""
        known = self.table.columns
        if self.features is not None:
            return [name for name in self.features if name in known]
        return [name for name in known if name not in {self.label, "event_date"}]

    def classes(self) -> dict[str, int]:
        """Rows of each class of the label; empty for a label of many numbers."""
        if self.counts is not None:
            return {name: count for name, count in self.counts.items() if count}
        column = self.table.columns.get(self.label)
        if column is None or self.task == "regression" or not _has_classes(column):
            return {}
        counted = zip(map(str, column.values.to_pylist()), column.counts.tolist(), strict=True)
        return {name: count for name, count in counted if name != "nan"}

    def sampled_labels(self) -> pa.Array | None:
        """The label of each row of the sample."""
        if self.labels is not None:
            return self.labels
        return flat(self.sample.column(self.label)) if self.label in self.sample.schema.names else None

    def moments(self) -> pa.Array | None:
        """When each row of the sample happened, as a timestamp; None where no column says it."""
        if not self.time or self.time not in self.sample.schema.names:
            return None
        column = flat(self.sample.column(self.time))
        if family_of(column.type) == "date" or pa.types.is_timestamp(column.type):
            return pc.cast(pc.cast(column, pa.timestamp("us")), pa.int64())
        return None


def _has_classes(column: ColumnStatistics) -> bool:
    """Whether a column's values are classes, as far as values alone say it."""
    measured = column.family in {"number", "date", "time"}
    return column.exact and not (measured and len(column.values) > _CLASSES)
