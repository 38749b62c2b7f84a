"""Arrow batches as pandas frames, the same for a chunk as for the whole table, and for one served row as for a training set.

pandas turns whole numbers into floats as soon as one is null, so the types are decided once for the whole data (`dtypes_of`) and then
given to every chunk (`to_frame`).
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa

__all__ = ["dtypes_of", "to_frame"]

_TEXTS = (pa.string(), pa.large_string(), pa.string_view())


def dtypes_of(schema: pa.Schema, nulls: Mapping[str, int]) -> dict[str, str]:
    """The pandas type of each column, as ``Table.to_pandas()`` over all rows would choose it.

    Args:
        schema: the columns.
        nulls: how many nulls each column has in the whole data; a missing name counts as none.

    Example:
        >>> dtypes_of(pa.schema({"a": pa.int64(), "b": pa.int64(), "c": pa.string()}), {"b": 2})
        {'a': 'int64', 'b': 'float64', 'c': 'str'}
    """
    return {field.name: _dtype(field.type, has_nulls=bool(nulls.get(field.name, 0))) for field in schema}


def _dtype(kind: pa.DataType, *, has_nulls: bool) -> str:
    """The pandas type of one column; a null turns whole numbers into floats and booleans into objects."""
    if pa.types.is_dictionary(kind):
        return "category"  # as pandas wrote it; strings that are only read as dictionaries are strings in the file's schema
    if pa.types.is_integer(kind):
        return "float64" if has_nulls else str(kind)
    if pa.types.is_boolean(kind):
        return "object" if has_nulls else "bool"
    if pa.types.is_floating(kind):
        return {"halffloat": "float16", "float": "float32", "double": "float64"}[str(kind)]
    if pa.types.is_temporal(kind):
        return _moment_dtype(kind)
    return "str" if kind in _TEXTS else "object"


def _moment_dtype(kind: pa.DataType) -> str:
    if pa.types.is_duration(kind):
        return f"timedelta64[{kind.unit}]"
    if pa.types.is_timestamp(kind):
        return f"datetime64[{kind.unit}]" if kind.tz is None else f"datetime64[{kind.unit}, {kind.tz}]"
    return "object"  # dates and times of day


def to_frame(batch: pa.RecordBatch | pa.Table, dtypes: Mapping[str, str]) -> pd.DataFrame:
    """A frame of the columns that `dtypes` names, in that order, with exactly those types.

    Example:
        >>> to_frame(pa.table({"a": [1, 2]}), {"a": "float64"})["a"].tolist()
        [1.0, 2.0]
    """
    columns = {}
    for name, dtype in dtypes.items():
        column = batch.column(name)
        # As a category a column would have other categories with every batch.
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        values = column.to_pandas()
        if dtype == "object" and values.dtype != object:
            values = values.astype(object)
        elif dtype != "object" and str(values.dtype) != dtype:
            values = values.astype(np.float64) if dtype == "float64" else values.astype(dtype)
        columns[name] = values.reset_index(drop=True)
    return pd.DataFrame(columns, columns=list(dtypes))
