"""64-bit hashes of whole columns, the same on every machine and in every process."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["hash_column", "hash_rows", "mix"]


def mix(words: np.ndarray) -> np.ndarray:
    """Every input bit spread over all 64 (the finaliser of splitmix64).

    Example:
        >>> int(mix(np.array([1], dtype=np.uint64))[0])
        10451216379200822465
    """
    words = words + np.uint64(0x9E3779B97F4A7C15)
    moved = np.empty_like(words)
    words ^= np.right_shift(words, np.uint64(30), out=moved)
    words *= np.uint64(0xBF58476D1CE4E5B9)
    words ^= np.right_shift(words, np.uint64(27), out=moved)
    words *= np.uint64(0x94D049BB133111EB)
    words ^= np.right_shift(words, np.uint64(31), out=moved)
    return words


def hash_column(values: pa.Array) -> np.ndarray:
    """One hash a value; values must have no nulls. Whole numbers hash alike whatever their width, as do 0.0 and -0.0."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        return hash_column(values.dictionary)[values.indices.to_numpy(zero_copy_only=False)]
    if pa.types.is_decimal(kind) or pa.types.is_string_view(kind):
        values, kind = values.cast(pa.string()), pa.string()
    if pa.types.is_boolean(kind):
        return mix(values.to_numpy(zero_copy_only=False).astype(np.uint64))
    if pa.types.is_floating(kind):
        # Adding 0.0 turns -0.0 into 0.0, whose bits differ otherwise.
        return mix((values.to_numpy(zero_copy_only=False).astype(np.float64) + 0.0).view(np.uint64))
    if pa.types.is_integer(kind) or pa.types.is_temporal(kind):
        return mix(_whole(values))
    return _texts(values)


def hash_rows(batch: pa.RecordBatch | pa.Table) -> np.ndarray:
    """One hash a row, of all of its columns in the order of their names; columns that are lists and the like count as they are written.

    Example:
        >>> one, two = pa.table({"a": [1, None], "b": ["x", "y"]}), pa.table({"b": ["y", "x"], "a": pa.array([None, 1], pa.int8())})
        >>> bool((hash_rows(one) == hash_rows(two)[::-1]).all())
        True
    """
    total = np.zeros(batch.num_rows, dtype=np.uint64)
    for name in sorted(batch.schema.names):
        column = batch.column(name)
        column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
            column = pa.array([None if value is None else repr(value) for value in column.to_pylist()], pa.string())
        own = np.zeros(batch.num_rows, dtype=np.uint64)
        if pa.types.is_null(column.type):
            total = mix(total ^ own)
            continue
        there = pc.is_valid(pc.dictionary_decode(column) if pa.types.is_dictionary(column.type) else column).to_numpy(zero_copy_only=False)
        own[there] = hash_column(column.filter(pa.array(there)))
        total = mix(total ^ own)
    return total


def _whole(values: pa.Array) -> np.ndarray:
    """Whole numbers, dates and times as 64 bits each."""
    narrow = pa.types.is_date32(values.type) or pa.types.is_time32(values.type)  # Arrow casts them to 32 bits only
    wide = values.cast(pa.int32()) if narrow else values
    wide = wide if pa.types.is_unsigned_integer(wide.type) else wide.cast(pa.int64())
    return np.asarray(wide.to_numpy(zero_copy_only=False).astype(np.uint64))


def _texts(values: pa.Array) -> np.ndarray:
    """Texts eight bytes at a time: all texts' first words, then the second words of those that have any, and so on."""
    wide = pa.types.is_large_string(values.type) or pa.types.is_large_binary(values.type)
    offsets = np.frombuffer(values.buffers()[1], dtype=np.int64 if wide else np.int32)[values.offset : values.offset + len(values) + 1]
    data = values.buffers()[2]
    lengths = np.diff(offsets).astype(np.int64)
    if data and len(lengths) and lengths[0] and (lengths == lengths[0]).all():
        return _even_texts(np.frombuffer(data, dtype=np.uint8)[offsets[0] : offsets[-1]], len(lengths), int(lengths[0]))
    # Eight bytes more than there are: the last word is read in full, too.
    padded = np.zeros((data.size if data else 0) + 8, dtype=np.uint8)
    if data:
        padded[:-8] = np.frombuffer(data, dtype=np.uint8)
    # Overlapping words, one from each byte on: a text may begin anywhere.
    words = np.ndarray(len(padded) - 7, dtype="<u8", buffer=padded, strides=(1,))
    starts = offsets[:-1].astype(np.int64)
    # The length goes in, or a text would hash like the same one with NULs behind it.
    state = mix(lengths.astype(np.uint64))
    rest, position = lengths, starts
    active: np.ndarray | slice = slice(None)
    while True:
        more = rest > 0
        if not more.all():
            longer = np.flatnonzero(more)
            if not len(longer):
                return state
            active = longer if isinstance(active, slice) else active[longer]
            position, rest = position[longer], rest[longer]
        word = words[position]
        short = rest < 8  # bytes a word
        if short.any():
            keep = (np.uint64(1) << (rest[short].astype(np.uint64) * np.uint64(8))) - np.uint64(1)
            word[short] &= keep
        state[active] = mix(state[active] ^ word)
        position, rest = position + 8, rest - 8


def _even_texts(data: np.ndarray, rows: int, length: int) -> np.ndarray:
    """The same hashes for texts that are all as long as one another, as identifiers are."""
    padded = np.zeros((rows, -(-length // 8) * 8), dtype=np.uint8)
    padded[:, :length] = data.reshape(rows, length)
    state = mix(np.full(1, length, dtype=np.uint64))
    for word in padded.view("<u8").T:
        state = mix(state ^ word)
    return state
