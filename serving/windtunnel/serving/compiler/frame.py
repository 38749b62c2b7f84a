"""Checked input columns as the pandas frame that a pipeline was fitted on: what the fallback feeds to scikit-learn."""

import decimal
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from windtunnel.lifecycle.model.bundle import Bundle, Input
from windtunnel.serving.base.values import Column, Columns, Texts, invalid

__all__ = ["frame_of"]


def frame_of(bundle: Bundle, columns: Columns) -> pd.DataFrame:
    """The frame that the pipeline was fitted on, for checked columns; whole numbers with a null become floats, as pandas has it.

    Raises:
        InvalidInputError: a value is beyond what pandas can hold in the column's type; names the field.
    """
    found = {column.name: _series(column, columns[column.name]) for column in bundle.inputs}
    return pd.DataFrame(found, columns=[column.name for column in bundle.inputs])


def _series(column: Input, values: Column) -> object:
    try:
        return _of_texts(column, values.rows()) if isinstance(values, Texts) else _of_numbers(column, values)
    except (ValueError, OverflowError) as error:  # pandas' own errors for days and times out of its bounds are among these
        raise invalid([{"row": 0, "field": column.name, "message": f"cannot be used as {column.dtype}: {error}"}]) from error


def _of_numbers(column: Input, values: np.ndarray) -> object:
    null = np.isnan(values)
    if column.dtype == "object" or (column.dtype == "bool" and null.any()):
        whole = [None if missing else bool(value) if column.type == "bool" else value for value, missing in zip(values, null, strict=True)]
        return pd.Series(whole, dtype=object)
    if column.dtype.startswith(("int", "uint")) and null.any():
        return values
    return values.astype(np.dtype(column.dtype))


def _of_texts(column: Input, values: Sequence[str | None]) -> object:
    if column.type == "timestamp":
        return _times(column, values)
    if column.type == "date" and column.dtype == "object":
        return pd.Series([None if v is None else pd.Timestamp(v).date() for v in values], dtype=object)
    if column.type == "decimal":
        return pd.Series([None if v is None else decimal.Decimal(v) for v in values], dtype=object)
    return pd.Series(list(values), dtype=column.dtype)


def _times(column: Input, values: Sequence[str | None]) -> Any:
    """Times as the pipeline was fitted on: instants (those with an offset) in UTC, or in the zone of the column's type."""
    instants = pd.to_datetime(pd.Series(list(values), dtype="str"), format="ISO8601", utc=True)
    dtype = pd.api.types.pandas_dtype(column.dtype)
    if isinstance(dtype, pd.DatetimeTZDtype):
        return instants.astype(dtype)
    return instants.dt.tz_localize(None).astype(dtype)
