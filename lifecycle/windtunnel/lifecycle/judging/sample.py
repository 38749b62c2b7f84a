"""A uniform sample of rows that merges: the rows with the smallest keys, whichever worker saw them in whichever order."""

import numpy as np
import pyarrow as pa

__all__ = ["Sample"]


class Sample:
    """At most `limit` rows, those of the smallest keys.

    Example:
        >>> sample = Sample(2)
        >>> sample.add(np.array([9, 1, 5], dtype=np.uint64), pa.table({"a": [90, 10, 50]}))
        >>> sample.table()["a"].to_pylist()
        [10, 50]
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.seen = 0
        self._keys = np.empty(0, dtype=np.uint64)
        self._table: pa.Table | None = None

    def add(self, keys: np.ndarray, rows: pa.Table) -> None:
        """Offer rows; a row's key must be as good as random, and its own."""
        self.seen += len(keys)
        if len(self._keys) == self.limit and len(keys):
            # Most rows end here once the sample is full, before anything of them is copied.
            low = np.flatnonzero(keys < self._keys[-1])
            keys, rows = keys[low], rows.take(pa.array(low))
        self._join(keys, rows)

    def merge(self, other: "Sample") -> None:
        """Take in another sample."""
        self.seen += other.seen
        if other._table is not None:
            self._join(other._keys, other._table)

    def table(self) -> pa.Table | None:
        """The rows, by key; None if there were none."""
        return self._table

    @property
    def whole(self) -> bool:
        """Whether every row that was offered is still there."""
        return self.seen == len(self._keys)

    def _join(self, keys: np.ndarray, rows: pa.Table) -> None:
        if not len(keys):
            return
        both = np.concatenate([self._keys, keys])
        table = rows if self._table is None else pa.concat_tables([self._table, rows], promote_options="default")
        order = np.argsort(both, kind="stable")[: self.limit]
        self._keys, self._table = both[order], table.take(pa.array(order)).combine_chunks()
