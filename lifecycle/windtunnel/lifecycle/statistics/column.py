"""The statistics of one column, growing batch by batch."""

import dataclasses
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from windtunnel.lifecycle.contract.errors import SchemaMismatchError
from windtunnel.lifecycle.payload import JsonObject
from windtunnel.lifecycle.statistics.counting.budget import COLUMN_BYTES
from windtunnel.lifecycle.statistics.counting.counter import Counted, Counter, Hashed
from windtunnel.lifecycle.statistics.counting.hashing import hash_column
from windtunnel.lifecycle.statistics.counting.moments import Moments
from windtunnel.lifecycle.statistics.counting.quantiles import QuantileSketch
from windtunnel.lifecycle.statistics.counting.sketches import DistinctSketch, FrequentSketch
from windtunnel.lifecycle.statistics.counting.values import combine_counts, count_values, flat
from windtunnel.lifecycle.statistics.tokens import each_is_one, split

__all__ = ["ColumnStatistics", "family_of", "numbers_of"]

_BUCKET_BITS = 17
_RARE = 4096
"""A value of which fewer than one in so many rows are made is not frequent."""


def family_of(kind: pa.DataType) -> str:
    """What a type is to statistics: number, bool, date, time, text, or other.

    Example:
        >>> family_of(pa.int8()), family_of(pa.large_string()), family_of(pa.list_(pa.int8()))
        ('number', 'text', 'other')
    """
    if pa.types.is_dictionary(kind):
        return family_of(kind.value_type)
    families = {
        "number": pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind),
        "bool": pa.types.is_boolean(kind),
        "date": pa.types.is_date(kind),
        "time": pa.types.is_timestamp(kind) or pa.types.is_duration(kind) or pa.types.is_time(kind),
        "text": pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind),
    }
    return next((name for name, fits in families.items() if fits), "other")


def numbers_of(values: pa.Array) -> np.ndarray:
    """Values without nulls as float64: dates as days and times in their unit since 1970, booleans as 0 and 1."""
    kind = values.type
    if pa.types.is_boolean(kind):
        return values.to_numpy(zero_copy_only=False).astype(np.float64)
    if pa.types.is_decimal(kind):
        values = values.cast(pa.float64())
    # Arrow casts dates and times of 32 bits to int32 only.
    elif pa.types.is_date32(kind) or pa.types.is_time32(kind):
        values = values.cast(pa.int32())
    elif pa.types.is_temporal(kind):
        values = values.cast(pa.int64())
    return values.to_numpy(zero_copy_only=False).astype(np.float64, copy=False)


class ColumnStatistics:
    """What is known of a column: exact counts of its values while there are few, sketches once there are many.

    Example:
        >>> left, right = ColumnStatistics(pa.int64()), ColumnStatistics(pa.int64())
        >>> left.add(pa.array([1, 2, None])); right.add(pa.array([2]))
        >>> left.merge(right)
        >>> left.rows, left.nulls, left.exact
        (4, 1, True)
        >>> left.values.to_pylist(), left.counts.tolist()
        ([1, 2], [1, 2])

    Args:
        kind: the column's type.
        limit: bytes of distinct values up to which everything is exact.
        words: whether the tokens of texts are counted too.
    """

    def __init__(self, kind: pa.DataType, limit: int = COLUMN_BYTES, *, words: bool = True) -> None:
        self.type = kind.value_type if pa.types.is_dictionary(kind) else kind
        # Which of its text types a reader chose is no difference between two parts of a column.
        if pa.types.is_large_string(self.type) or pa.types.is_string_view(self.type):
            self.type = pa.string()
        # Arrow counts no values of float16.
        if pa.types.is_float16(self.type):
            self.type = pa.float32()
        self.family = family_of(self.type)
        self.limit = limit
        self.rows = self.nulls = 0
        self.moments = Moments()  # of numbers; of the lengths of texts; while exact only filled by `settle`
        self.distinct: DistinctSketch | None = None
        self.frequent: FrequentSketch | None = None
        self.quantile: QuantileSketch | None = None
        self.text_bounds: tuple[str, str] | None = None
        self.exact_bounds: tuple[object, object] | None = None  # of whole numbers and decimals, which floats would round
        self._stepped = bool(pa.types.is_integer(self.type) or pa.types.is_decimal(self.type))
        self.words = words and self.family == "text"
        self._tokens: ColumnStatistics | None = None  # past the limit: of texts, unless each of them is a single token
        self._per_text = Moments()
        self._counter: Counter[pa.Array] = Counter(Hashed(), limit)
        self._sorted = False

    @property
    def exact(self) -> bool:
        """Whether every statistic is exact."""
        self._settle()
        return self.distinct is None

    @property
    def values(self) -> pa.Array:
        """The distinct values, sorted; of a column past the limit: those that are frequent."""
        return self._counted().keys

    @property
    def counts(self) -> np.ndarray:
        """How often each of `values` occurs."""
        return self._counted().counts

    def _counted(self) -> Counted[pa.Array]:
        self._settle()
        if self.frequent is not None:
            self.frequent.sort()
            return Counted(self.frequent.values, self.frequent.counts)
        held = self._counter.held()
        if held is None:
            return Counted(_empty(self.type), np.empty(0, dtype=np.int64))
        if not self._sorted:
            order = pc.sort_indices(held.keys)
            held = Counted(held.keys.take(order), held.counts[order.to_numpy()])
            self._counter.replace(held)
            self._sorted = True
        return held

    @property
    def count(self) -> int:
        """Values that are not null."""
        return self.rows - self.nulls

    def add(self, column: pa.Array | pa.ChunkedArray) -> None:
        """A batch of the column."""
        column = flat(column)
        self.rows += len(column)
        self.nulls += column.null_count
        # The null_count of a dictionary array leaves out codes that point to a null among the dictionary's values.
        if pa.types.is_dictionary(column.type) and column.dictionary.null_count:
            self.nulls += int(pc.sum(pc.is_null(column)).as_py()) - column.null_count
        if self.family == "other" or column.null_count == len(column):
            return
        plain = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if plain != self.type:
            column = self._same_type(column)
        if self.distinct is None:
            values, counts = count_values(column)
            self._append(values, counts)
        else:
            self._sketch(column)

    def _same_type(self, column: pa.Array) -> pa.Array:
        try:
            return column.cast(pa.dictionary(column.type.index_type, self.type) if pa.types.is_dictionary(column.type) else self.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise SchemaMismatchError(f"a column is {self.type} here and {column.type} there: {error}") from error

    def _append(self, values: pa.Array, counts: np.ndarray) -> None:
        if len(values):
            self._sorted = False
            if self._counter.add(Counted(values, counts)):
                self._spill()

    def _settle(self) -> None:
        """Join what is pending; leave exactness when there are too many values."""
        if self.distinct is None and self._counter.settle():
            self._spill()

    def _begin_sketches(self) -> None:
        self.distinct = DistinctSketch.within(self.limit)
        self.frequent = FrequentSketch.within(self.type, self.limit)
        self.quantile = None if self.family == "text" else QuantileSketch()
        self.moments = Moments()

    def _spill(self) -> None:
        held = self._counter.drain()
        self._begin_sketches()
        if held is not None:
            self._take_exact(held.keys, held.counts)

    def _sketch(self, column: pa.Array) -> None:
        assert self.distinct is not None  # only called past the limit
        assert self.frequent is not None
        present = column.drop_null() if column.null_count else column
        values, counts = (present, None) if self._hardly_recurs(column) else count_values(column)
        if counts is not None:
            # Before the moments grow: their count is how many texts were single tokens so far.
            self._add_tokens(values, counts, self.moments.count)
            self.distinct.add(values)
            self.frequent.add(values, counts)
        if self.family == "text":
            self._bound(values)
            self.moments.merge(Moments.of(self._measured(values), counts))
            return
        self._bound(column)
        numbers = numbers_of(present)
        found = Moments.of(numbers)
        self.moments.merge(found)
        if self.quantile is not None:
            self.quantile.add(numbers[np.isfinite(numbers)] if found.nans or found.infinites else numbers)

    def add_counted(self, values: pa.Array, counts: np.ndarray) -> None:
        """Values, each as often as its count says; a value may be there more than once."""
        self.rows += int(counts.sum())
        if not len(values):
            return
        values, counts = combine_counts([values], [counts])
        if self.distinct is None:
            self._append(values, counts)
        else:
            self._take_exact(values, counts)

    @property
    def counts_tokens(self) -> bool:
        """Whether tokens are counted apart from texts, because a text was seen that is not a single one."""
        return self._tokens is not None

    def tokens(self) -> "tuple[ColumnStatistics, Moments] | None":
        """The tokens of a column of texts, and how many a text has; None for other columns."""
        if not self.words:
            return None
        if self.exact:
            whole = ColumnStatistics(self.type, self.limit)
            if len(self.values):
                whole._begin_tokens(0)
                whole._add_tokens(self.values, self.counts, 0)
            return (whole._tokens or ColumnStatistics(self.type, self.limit, words=False)), whole._per_text
        if self._tokens is not None:
            return self._tokens, self._per_text
        return self._own_as_tokens(), _ones(self.moments.count)

    def _own_as_tokens(self) -> "ColumnStatistics":
        """The tokens of a sketched column of which each text is one."""
        assert self.distinct is not None  # only called past the limit
        assert self.frequent is not None
        found = ColumnStatistics(self.type, self.limit, words=False)
        found.rows = self.moments.count
        found.distinct = DistinctSketch(self.distinct.hashes.copy(), self.distinct.most)
        # Arrow's arrays never change, so only NumPy's are copied.
        found.frequent = FrequentSketch(self.frequent.values, self.frequent.counts.copy(), self.frequent.error, self.frequent.limit)
        found.moments = dataclasses.replace(self.moments)
        found.text_bounds = self.text_bounds
        return found

    def _begin_tokens(self, before: int) -> "ColumnStatistics":
        """Count tokens apart from texts from now on; `before` texts were a token each."""
        if self._tokens is None:
            self._tokens = self._own_as_tokens() if before else ColumnStatistics(self.type, self.limit, words=False)
            self._per_text = _ones(before)
        return self._tokens

    def _add_tokens(self, texts: pa.Array, counts: np.ndarray | None, before: int) -> None:
        """The tokens of texts, each as often as its count says; as long as each text is one token nothing needs to be done."""
        if not self.words or not len(texts):
            return
        one = each_is_one(texts)
        if one and self._tokens is None:
            return
        mine = self._begin_tokens(before)
        words, of = (texts, np.arange(len(texts))) if one else split(texts)
        if counts is None:
            mine.add(words)
        else:
            mine.add_counted(words, counts[of])
        self._per_text.merge(Moments.of(np.bincount(of, minlength=len(texts)).astype(np.float64), counts))

    def _hardly_recurs(self, column: pa.Array) -> bool:
        """Whether no value of a batch is frequent, which the fullest of many hash buckets proves without counting values."""
        assert self.distinct is not None  # only called past the limit
        assert self.frequent is not None
        # Its codes are cheap to count, so there is nothing to be spared.
        if pa.types.is_dictionary(column.type):
            return False
        hashes = hash_column(column.drop_null() if column.null_count else column)
        # A bucket holds every row of the values in it, so the fullest one bounds all counts; different values in one bucket only err
        # upwards.
        most = int(np.bincount((hashes >> np.uint64(64 - _BUCKET_BITS)).astype(np.int64)).max())
        if most * _RARE > len(hashes):
            return False
        if self.family == "text":
            # Before the caller lets the moments grow, whose count says how many texts were single tokens so far.
            self._add_tokens(column.drop_null() if column.null_count else column, None, self.moments.count)
        self.distinct.add_hashes(hashes)
        self.frequent.pass_over(most)
        return True

    def _bound(self, values: pa.Array) -> None:
        if self.family == "text":
            found = pc.min_max(values).as_py()
            self.text_bounds = _wider(self.text_bounds, (found["min"], found["max"]), str.encode)
        elif self._stepped:
            found = pc.min_max(values).as_py()
            self.exact_bounds = _wider(self.exact_bounds, (found["min"], found["max"]))

    def _measured(self, values: pa.Array) -> np.ndarray:
        """What moments are about: the numbers, or the lengths of texts in characters."""
        if self.family == "text":
            return pc.utf8_length(values).to_numpy(zero_copy_only=False).astype(np.float64)
        return numbers_of(values)

    def measured(self) -> Moments:
        """The moments of the numbers, or of the lengths of texts."""
        if not self.exact:
            return self.moments
        return Moments.of(self._measured(self.values), self.counts) if len(self.values) else Moments()

    def merge(self, other: "ColumnStatistics") -> None:
        """Add another part's statistics, as if its rows had been added here.

        Raises:
            SchemaMismatchError: it is of another type.
        """
        if other.type != self.type:
            raise SchemaMismatchError(f"a column is {self.type} in one part and {other.type} in another")
        self.rows += other.rows
        self.nulls += other.nulls
        if other.exact:
            if self.distinct is None:
                self._append(other.values, other.counts)
            elif len(other.values):
                self._take_exact(other.values, other.counts)
            return
        mine = self._counter.drain()
        if self.distinct is None:
            self._begin_sketches()
        self._merge_sketches(other)
        if mine is not None:
            self._take_exact(mine.keys, mine.counts)

    def _take_exact(self, values: pa.Array, counts: np.ndarray) -> None:
        assert self.distinct is not None  # only called past the limit
        assert self.frequent is not None
        # As in `_sketch`: before the moments grow.
        self._add_tokens(values, counts, self.moments.count)
        self.distinct.add(values)
        self.frequent.add(values, counts)
        numbers = self._measured(values)
        self.moments.merge(Moments.of(numbers, counts))
        self._bound(values)
        if self.quantile is not None:
            finite = np.isfinite(numbers)
            self.quantile.add(np.repeat(numbers[finite], counts[finite]))

    def _merge_sketches(self, other: "ColumnStatistics") -> None:
        self._merge_tokens(other)
        self._merge_bounds(other)
        for mine, theirs in ((self.distinct, other.distinct), (self.frequent, other.frequent), (self.quantile, other.quantile)):
            if mine is not None and theirs is not None:
                mine.merge(theirs)  # type: ignore[arg-type]
        self.moments.merge(other.moments)

    def _merge_tokens(self, other: "ColumnStatistics") -> None:
        self.words = self.words and other.words
        theirs = other.tokens()
        if theirs is not None and (self.counts_tokens or other.counts_tokens):
            self._begin_tokens(self.moments.count).merge(theirs[0])
            self._per_text.merge(theirs[1])

    def _merge_bounds(self, other: "ColumnStatistics") -> None:
        if other.text_bounds is not None:
            self.text_bounds = _wider(self.text_bounds, other.text_bounds, str.encode)
        if other.exact_bounds is not None and (self.exact_bounds is not None or not self.moments.count):
            self.exact_bounds = _wider(self.exact_bounds, other.exact_bounds)
        else:  # an earlier version did not note them: of a column merged with such a one none are known
            self.exact_bounds = None

    def state(self) -> tuple[dict[str, object], dict[str, object]]:
        """Everything as plain data and as arrays, for `restore`."""
        exact = self.exact
        plain: JsonObject = {"rows": self.rows, "nulls": self.nulls, "bytes": self.limit, "exact": exact}
        arrays: JsonObject = {"values": self.values, "counts": self.counts}
        if not exact and self.distinct is not None and self.frequent is not None:
            plain |= {"moments": _finite(self.moments.to_dict()), "error": self.frequent.error, "bounds": self.text_bounds}
            # Bounds are kept as text, because JSON has no decimals.
            plain |= {"hashes": self.distinct.most, "exact_bounds": [str(bound) for bound in self.exact_bounds or ()]}
            arrays["hashes"] = self.distinct.hashes
            if self.quantile is not None:
                arrays["kll"] = self.quantile.to_bytes()
            if self.words and self._tokens is not None:
                inner, arrays["tokens"] = self._tokens.state()
                plain["tokens"] = {**inner, "per_text": _finite(self._per_text.to_dict())}
            elif self.words:
                # Empty says that each text is a single token; where the entry is absent, an earlier version did not count tokens at all.
                plain["tokens"] = {}
        return plain, arrays

    @classmethod
    def restore(cls, kind: pa.DataType, plain: JsonObject, arrays: JsonObject) -> "ColumnStatistics":
        """The statistics that `state` told."""
        limit = plain.get("bytes", COLUMN_BYTES)  # an earlier version had a number of values as its limit
        found = cls(kind, limit)
        found.rows, found.nulls = plain["rows"], plain["nulls"]
        values, counts = arrays["values"], np.asarray(arrays["counts"], dtype=np.int64)
        if plain["exact"]:
            found._append(values, counts)
            return found
        room = DistinctSketch.within(limit).most
        found.distinct = DistinctSketch(np.asarray(arrays["hashes"], dtype=np.uint64), plain.get("hashes", room))
        found.frequent = FrequentSketch(values, counts, plain["error"], FrequentSketch.within(kind, limit).limit)
        found.moments = Moments(**_numbers(plain["moments"]))
        found.text_bounds = tuple(plain["bounds"]) if plain["bounds"] else None
        if plain.get("exact_bounds"):
            low, high = (Decimal(bound) if pa.types.is_decimal(kind) else int(bound) for bound in plain["exact_bounds"])
            found.exact_bounds = (low, high)
        if "kll" in arrays:
            found.quantile = QuantileSketch.from_bytes(arrays["kll"])
        found.words = found.words and "tokens" in plain  # earlier versions did not count them
        if found.words and plain["tokens"]:
            found._tokens = cls.restore(kind, plain["tokens"], arrays["tokens"])
            found._tokens.words = False
            found._per_text = Moments(**_numbers(plain["tokens"]["per_text"]))
        return found


def _wider(mine: tuple[Any, Any] | None, other: tuple[object, object], key: Callable[[Any], Any] | None = None) -> tuple[Any, Any]:
    """The bounds of two parts."""
    if mine is None:
        return other
    ends = [*mine, *other]
    return (min(ends, key=key), max(ends, key=key))


def _ones(count: int) -> Moments:
    """The moments of so many ones."""
    return Moments(count, 1.0, low=1.0, high=1.0) if count else Moments()


def _empty(kind: pa.DataType) -> pa.Array:
    return pa.array([], kind)


def _numbers(values: dict[str, object]) -> JsonObject:
    return {name: float(value) if isinstance(value, str) else value for name, value in values.items()}


def _finite(values: dict[str, object]) -> dict[str, object]:
    """JSON knows no infinity: by name."""
    return {name: str(value) if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()}
