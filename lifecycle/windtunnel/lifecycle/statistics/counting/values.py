"""How often each value occurs, and which rows are the same: the kernels that all counting rests on."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["combine_counts", "count_values", "flat", "groups"]

_DENSE = 1 << 17
"""The widest range of whole numbers that is counted by index instead of by hash."""


def flat(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A column as one array."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    return column


def count_values(column: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """The distinct values of a column without nulls, and how often each occurs; in no particular order.

    Dictionary columns are counted by their codes; whole numbers in a narrow range by index; everything else by hash.

    Example:
        >>> values, counts = count_values(pa.array([3, 1, 3, None]))
        >>> dict(zip(values.to_pylist(), counts.tolist()))
        {1: 1, 3: 2}
    """
    if pa.types.is_dictionary(column.type):
        return _by_code(column)
    if column.null_count:
        column = column.drop_null()
    if not len(column):
        return column, np.empty(0, dtype=np.int64)
    # The way by index subtracts in int64, where large uint64 would wrap around.
    if pa.types.is_integer(column.type) and column.type != pa.uint64():
        dense = _by_index(column)
        if dense is not None:
            return dense
    found = pc.value_counts(column)
    values, counts = found.field(0), found.field(1).to_numpy(zero_copy_only=False)
    return _one_zero(values, counts) if pa.types.is_floating(values.type) else (values, counts)


def combine_counts(values: list[pa.Array], counts: list[np.ndarray]) -> tuple[pa.Array, np.ndarray]:
    """Counts of several parts as counts of the whole."""
    joined = pa.concat_arrays(values)
    codes = joined.dictionary_encode()
    total = np.bincount(codes.indices.to_numpy(zero_copy_only=False), weights=np.concatenate(counts), minlength=len(codes.dictionary))
    return codes.dictionary, total.astype(np.int64)


def groups(columns: Sequence[pa.Array | pa.ChunkedArray]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """For each row the number of its group, and for each group its first row; groups are numbered by first appearance.

    Arrow's own ``group_by`` takes a second for 100,000 pairs of floats that are whole numbers: its hash does not spread them.

    Example:
        >>> group, leaders = groups([pa.array([1, 1, 1]), pa.array(["a", None, "a"])])
        >>> group.tolist(), leaders.tolist()
        ([0, 1, 0], [0, 1])
    """
    codes: npt.NDArray[np.int64] | None = None
    size = 1
    for column in columns:
        encoded = flat(column)
        if not pa.types.is_dictionary(encoded.type):
            encoded = encoded.dictionary_encode(null_encoding="encode")
        # A dictionary that came as one may have null codes, which `null_encoding` did not see.
        here = pc.fill_null(encoded.indices, len(encoded.dictionary)).to_numpy(zero_copy_only=False).astype(np.int64)
        width = len(encoded.dictionary) + 1
        if codes is None:
            codes, size = here, width
            continue
        # Before combined codes pass 63 bits: numbered anew there are no more of them than rows.
        if size > (1 << 62) // width:
            codes, seen = _numbered(codes)
            size = seen + 1
        codes, size = codes * width + here, size * width
    if codes is None:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    group, distinct = _numbered(codes)
    leaders = np.empty(distinct, np.intp)
    # From the end, so that the first row of each group is the one that stays.
    leaders[group[::-1]] = np.arange(len(codes) - 1, -1, -1)
    return group, leaders


def _numbered(codes: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], int]:
    """Codes as numbers by first appearance, and how many there are."""
    encoded = pa.array(codes).dictionary_encode()
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), len(encoded.dictionary)


def _one_zero(values: pa.Array, counts: np.ndarray) -> tuple[pa.Array, np.ndarray]:
    """Arrow tells -0.0 from 0.0; people do not."""
    numbers = values.to_numpy(zero_copy_only=False)
    zeros = np.flatnonzero(numbers == 0)
    if not len(zeros) or not np.signbit(numbers[zeros]).any():
        return values, counts
    values = pa.array(numbers + 0.0, values.type)
    return (values, counts) if len(zeros) == 1 else combine_counts([values], [counts])


def _by_code(column: pa.DictionaryArray) -> tuple[pa.Array, np.ndarray]:
    codes = column.indices.drop_null() if column.indices.null_count else column.indices
    counts = np.bincount(codes.to_numpy(zero_copy_only=False), minlength=len(column.dictionary))
    used = counts > 0
    values = column.dictionary
    if not used.all():
        values, counts = values.filter(pa.array(used)), counts[used]
    if values.null_count:
        keep = values.is_valid()
        values, counts = values.filter(keep), counts[keep.to_numpy(zero_copy_only=False)]
    return values, counts.astype(np.int64)


def _by_index(column: pa.Array) -> tuple[pa.Array, np.ndarray] | None:
    numbers = column.to_numpy(zero_copy_only=False)
    low, high = int(numbers.min()), int(numbers.max())
    if high - low >= _DENSE:
        return None
    # Widened before the subtraction: an int8 less its least value may not fit an int8.
    counts = np.bincount(np.subtract(numbers, low, dtype=np.int64) if low else numbers)
    used = np.flatnonzero(counts)
    return pa.array((used + low).astype(numbers.dtype), column.type), counts[used]
