"""Words of texts: runs of characters without white space, as they stand, in any language that writes spaces."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["each_is_one", "split"]

_SPACE, _ASCII = 32, 128


def split(texts: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """The tokens of texts (no nulls), and which text each is of.

    Example:
        >>> tokens, of = split(pa.array(["to be", "", " or not"]))
        >>> tokens.to_pylist(), of.tolist()
        (['to', 'be', 'or', 'not'], [0, 0, 2, 2])
    """
    lists = pc.utf8_split_whitespace(texts)
    tokens, of = pc.list_flatten(lists), pc.list_parent_indices(lists)
    if not pc.all(pc.string_is_ascii(tokens)).as_py():
        tokens = pc.utf8_trim_whitespace(tokens)  # Arrow now and then keeps a space that follows an ideographic one
    there = pc.greater(pc.binary_length(tokens), 0)  # what is left and right of outer white space
    return tokens.filter(there), of.filter(there).to_numpy(zero_copy_only=False)


def each_is_one(texts: pa.Array) -> bool:
    """Whether each text is surely a single token, by a look at its bytes alone: identifiers and codes mostly are.

    Example:
        >>> each_is_one(pa.array(["a", "b-1"])), each_is_one(pa.array(["a b"])), each_is_one(pa.array(["a", ""]))
        (True, False, False)
    """
    if not len(texts):
        return True
    wide = pa.types.is_large_string(texts.type)
    # A slice has the buffers of its whole: the offset says where its own entries begin.
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, dtype=np.int64 if wide else np.int32)[texts.offset : texts.offset + len(texts) + 1]
    if data is None or (ends[1:] == ends[:-1]).any():
        return False
    found = np.frombuffer(data, dtype=np.uint8)[ends[0] : ends[-1]]
    # Beyond ASCII there are other spaces, such as U+00A0 and U+3000, which single bytes do not show.
    return bool(found.min() > _SPACE and found.max() < _ASCII)
