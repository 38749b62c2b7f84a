"""The tallies of all columns of one stream, and the small table that has the same distinct values: what scikit-learn fits itself on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse

from windtunnel.beam_jobs.features.tallies.tally import Tally
from windtunnel.lifecycle.contract.errors import UnsupportedError

__all__ = ["Summary"]


class Summary:
    """Tallies of columns.

    Args:
        template: no rows, but the container, names and types of the stream.
        tallies: one a column.
    """

    def __init__(self, template: Any, tallies: Sequence[Tally]) -> None:
        self.template, self.tallies = template, list(tallies)
        self._each_null, self._each_kinds = 0, ""

    def each_null(self, limit: int, kinds: str = "mM") -> "Summary":
        """The same, but with each NaT of times as an entry of its own, as scikit-learn's encoders see them: NaT equals nothing.

        Args:
            limit: nulls of a column that are still shown so; more are refused.
            kinds: the kinds of NumPy's types for which it is so: ``m`` for spans of time, ``M`` for times.
        """
        made = Summary(self.template, self.tallies)
        made._each_null, made._each_kinds = limit, kinds
        return made

    @property
    def complete(self) -> bool:
        """Whether every distinct value is held."""
        return all(tally.large is None for tally in self.tallies)

    def need_complete(self) -> None:
        """Raise `UnsupportedError` unless every distinct value is held."""
        for tally in self.tallies:
            if tally.large is not None:
                tally.values()

    @property
    def rows(self) -> int:
        """Rows of the data."""
        return self.tallies[0].rows if self.tallies else 0

    def column(self, index: int) -> tuple[Any, np.ndarray]:
        """A column's distinct entries, nulls included, and their counts: as the surrogate shows them."""
        large = self.tallies[index].large
        if large is not None:  # stands for the column only where its set of values does not matter
            values, counts = np.array([large.low, large.high]), np.array([1, large.n - 1])
        else:
            values, counts = self.tallies[index].values()
        extra: list[object] = []
        extra_counts: list[int] = []
        if self.tallies[index].none:
            extra.append(None)
            extra_counts.append(self.tallies[index].none)
        if self.tallies[index].nan:
            null, count = self._null(index), self.tallies[index].nan
            if self._dtype(index).kind in self._each_kinds:
                self._check_nulls(index)
                extra += [null] * count
                extra_counts += [1] * count
            else:
                extra.append(null)
                extra_counts.append(count)
        if not extra:
            return values, counts
        if values.dtype.kind == "O" or self._dtype(index).kind not in "fmM" or not len(values):
            joined = np.empty(len(values) + len(extra), dtype=object)
            joined[: len(values)] = values
            joined[len(values) :] = extra
        else:
            joined = np.concatenate([values, np.array(extra, dtype=values.dtype)])
        return joined, np.concatenate([counts, np.array(extra_counts, dtype=np.int64)])

    @property
    def has_times_missing(self) -> bool:
        """Whether a column of times has nulls."""
        return any(tally.nan > 0 and self._dtype(i).kind in "mM" for i, tally in enumerate(self.tallies))

    def _check_nulls(self, index: int) -> None:
        count = self.tallies[index].nan
        if count > self._each_null:
            raise UnsupportedError(
                f"a column of times has {count:,} nulls, and scikit-learn makes each a category of its own",
                hint="fill them before this step, or make the column text",
            )

    def surrogate(self) -> Any:
        """A table with each column's distinct entries from the top, the rest of a column repeating its first.

        What depends on the set of values only is the same for it as for the data.
        """
        columns = [self.column(i)[0] for i in range(len(self.tallies))]
        height = max((len(column) for column in columns), default=0)
        padded = []
        for column in columns:
            made = np.empty(height, dtype=column.dtype)
            made[: len(column)] = column
            if len(column):
                made[len(column) :] = np.resize(column[:1], height - len(column)) if height > len(column) else made[len(column) :]
            padded.append(made)
        return self._container(padded, height)

    @staticmethod
    def twice(table: Any) -> Any:
        """A table of one row as one of two, for estimators that refuse a single row which stands for many."""
        return pd.concat([table, table], ignore_index=True) if hasattr(table, "iloc") else np.concatenate([table, table])

    def _container(self, columns: list[np.ndarray], height: int) -> Any:
        template = self.template
        if isinstance(template, pd.Series):
            return pd.Series(_series(columns[0], template.dtype), name=template.name)
        if isinstance(template, pd.DataFrame):
            series = [_series(column, dtype) for column, dtype in zip(columns, template.dtypes, strict=True)]
            frame = pd.concat(series, axis=1) if series else pd.DataFrame(index=range(height))
            # Afterwards: names may be there twice, which a dictionary of columns would not survive.
            frame.columns = template.columns
            return frame
        if scipy.sparse.issparse(template):
            return scipy.sparse.csr_matrix(np.column_stack(columns).astype(template.dtype))
        if template.ndim == 1:
            return columns[0].astype(template.dtype)
        made = np.empty((height, len(columns)), dtype=template.dtype)
        for i, column in enumerate(columns):
            made[:, i] = column
        return made

    def _dtype(self, index: int) -> np.dtype:
        template = self.template
        found = template.dtypes.iloc[index] if isinstance(template, pd.DataFrame) else template.dtype
        return found if isinstance(found, np.dtype) else np.dtype(object)

    def _null(self, index: int) -> object:
        kind = self._dtype(index).kind
        template = self.template
        if isinstance(template.dtypes.iloc[index] if isinstance(template, pd.DataFrame) else template.dtype, pd.DatetimeTZDtype):
            return pd.NaT
        return np.datetime64("NaT") if kind == "M" else np.timedelta64("NaT") if kind == "m" else np.nan


def _series(column: np.ndarray, dtype: Any) -> pd.Series:
    """A column in the type of the stream; the categories of a template of no rows are not those of the data."""
    if isinstance(dtype, pd.CategoricalDtype):
        return pd.Series(column).astype("category")
    return pd.Series(column).astype(dtype) if len(column) or dtype != column.dtype else pd.Series(column, dtype=dtype)
