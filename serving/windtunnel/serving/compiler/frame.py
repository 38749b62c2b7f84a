"""Checked input columns as the pandas frame that a pipeline was fitted on: what the fallback feeds to scikit-learn."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from windtunnel.lifecycle.model.bundle import Bundle, Input
from windtunnel.serving.base.values import Columns, Texts

__all__ = ["frame_of"]


def frame_of(bundle: Bundle, columns: Columns) -> pd.DataFrame:
    """The frame that the pipeline was fitted on, for checked columns; whole numbers with a null become floats, as pandas has it."""
    found: dict[str, Any] = {}
    for column in bundle.inputs:
        values = columns[column.name]
        if isinstance(values, Texts):
            found[column.name] = _text_series(column, values.rows())
        elif column.dtype == "bool" and np.isnan(values).any():
            found[column.name] = pd.Series([None if v != v else bool(v) for v in values.tolist()], dtype=object)  # noqa: PLR0124 - NaN
        elif column.dtype == "object":
            whole = [bool(v) if column.type == "bool" else v for v in values.tolist()]
            found[column.name] = pd.Series(whole, dtype=object).where(~np.isnan(values), None)
        elif column.dtype.startswith(("int", "uint")) and np.isnan(values).any():
            found[column.name] = values
        else:
            found[column.name] = values.astype(np.dtype(column.dtype))
    return pd.DataFrame(found, columns=[column.name for column in bundle.inputs])


def _text_series(column: Input, values: Sequence[str | None]) -> pd.Series:
    if column.type == "timestamp":
        times: Any = pd.to_datetime(pd.Series(list(values), dtype="str"), format="ISO8601")
        return times.astype(column.dtype)
    if column.type == "date" and column.dtype == "object":
        return pd.Series([None if v is None else pd.Timestamp(v).date() for v in values], dtype=object)
    if column.type == "decimal":
        import decimal

        return pd.Series([None if v is None else decimal.Decimal(v) for v in values], dtype=object)
    return pd.Series(list(values), dtype=column.dtype)
