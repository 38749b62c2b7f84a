"""The one limit of all that is counted, in bytes: a count says nothing of texts of a hundred kilobytes, nor of two thousand columns."""

import numpy as np
import pyarrow as pa

__all__ = ["COLUMN_BYTES", "COUNT_BYTES", "TABLE_BYTES", "share", "size_of"]

COLUMN_BYTES = 4 << 20
"""What the distinct values of one column may take, with their counts, until they are sketched or go to disk: 262,144 floats."""

TABLE_BYTES = 128 << 20
"""What those of all columns of a table may take together."""

COUNT_BYTES = 8
"""A count, or a place of first sight."""

_LEAST = 1 << 14


def share(columns: int, table: int = TABLE_BYTES) -> int:
    """The bytes that each of so many columns may take.

    It depends on the number of columns alone, so that parts of a table agree with the whole on which columns are exact.

    Example:
        >>> share(10), share(2000)
        (4194304, 67108)
    """
    return max(_LEAST, min(COLUMN_BYTES, table // max(columns, 1)))


def size_of(values: pa.Array) -> int:
    """The bytes of an array's values, whatever buffers lie behind it.

    Example:
        >>> size_of(pa.array(["ab", "c"])), size_of(pa.array([1, 2, 3]).slice(1))
        (11, 16)
    """
    kind = values.type
    if pa.types.is_dictionary(kind):
        return size_of(values.dictionary) + size_of(values.indices)
    if _has_offsets(kind):
        return _length_of(values) + len(values) * (8 if _is_wide(kind) else 4)
    try:
        # Rounded up: booleans take a bit each.
        return -(-len(values) * int(kind.bit_width) // 8)
    except ValueError:  # lists and the like
        return int(values.nbytes)


def _has_offsets(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind)) or _is_wide(kind)


def _is_wide(kind: pa.DataType) -> bool:
    return bool(pa.types.is_large_string(kind) or pa.types.is_large_binary(kind))


def _length_of(values: pa.Array) -> int:
    """The bytes between the first and the last offset; the length of the binary values by a sum would cost a pass."""
    offsets = values.buffers()[1]
    if not len(values) or offsets is None:
        return 0
    places = np.frombuffer(offsets, dtype=np.int64 if _is_wide(values.type) else np.int32)
    return int(places[values.offset + len(values)]) - int(places[values.offset])
