"""Values as declared types: a whole column at once, and, only where that fails, the very values that do not fit."""

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from windtunnel.lifecycle.contract.errors import SchemaMismatchError

__all__ = ["FALSE", "TRUE", "cast_column", "cast_text", "check_castable"]

TRUE = ["true", "True", "TRUE", "1", "t", "T", "yes", "Yes", "YES", "y", "Y"]
FALSE = ["false", "False", "FALSE", "0", "f", "F", "no", "No", "NO", "n", "N"]
_ZONE = re.compile(r"(?:Z|[+-]\d{2}:?\d{2})$")
_SMALL = 16


def cast_text(
    values: pa.Array, kind: pa.DataType, *, decimal_point: str = ".", thousands: str = "", formats: Sequence[str] = ()
) -> tuple[pa.Array, np.ndarray]:
    """Text as a type.

    Args:
        values: strings; null stays null.
        kind: the type that is wanted.
        decimal_point: what stands before decimals.
        thousands: what stands between thousands.
        formats: how dates and times are written (`strptime`), tried in order after ISO 8601.

    Returns:
        the typed values, null where they do not fit, and which ones do not.

    Example:
        >>> cast_text(pa.array(["1", "x", None]), pa.int32())[1].tolist()
        [False, True, False]
    """
    if pa.types.is_string(kind):
        return values, np.zeros(len(values), dtype=bool)
    text = pc.utf8_trim_whitespace(values)
    if pa.types.is_boolean(kind):
        true, false = pc.is_in(text, pa.array(TRUE)), pc.is_in(text, pa.array(FALSE))
        known = pc.or_(true, false)
        return pc.if_else(known, true, pa.scalar(None, pa.bool_())), _mask(pc.and_(pc.is_valid(text), pc.invert(known)))
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        if thousands:
            text = pc.replace_substring(text, thousands, "")
        if decimal_point != ".":
            text = pc.replace_substring(text, decimal_point, ".")
        if pc.any(pc.starts_with(text, "+")).as_py():
            text = pc.replace_substring_regex(text, r"^\+([\d.])", r"\1")
    return _each(text, kind, formats)


def cast_column(values: pa.Array, kind: pa.DataType) -> tuple[pa.Array, np.ndarray]:
    """Typed values as another type that `check_castable` allows; what would lose digits or overflow does not fit.

    Example:
        >>> cast_column(pa.array([1.0, 1.5]), pa.int64())
        (<pyarrow.lib.Int64Array object at ...>
        [
          1,
          null
        ], array([False,  True]))
    """
    if values.type == kind:
        return values, np.zeros(len(values), dtype=bool)
    if pa.types.is_timestamp(values.type) and values.type.tz is not None:
        values = values.cast(pa.timestamp(values.type.unit, "UTC")).cast(pa.timestamp(values.type.unit))
    if pa.types.is_floating(values.type) and pa.types.is_floating(kind):
        return pc.cast(values, kind, safe=False), np.zeros(len(values), dtype=bool)
    if pa.types.is_timestamp(kind) and pa.types.is_timestamp(values.type):
        return pc.cast(values, kind, safe=False), np.zeros(len(values), dtype=bool)  # finer than a microsecond is cut
    return _each(values, kind, ())


def check_castable(found: pa.DataType, kind: pa.DataType, column: str, where: str) -> None:
    """A typed source's column must be of the declared family: numbers do not silently become text, nor text numbers.

    Raises:
        SchemaMismatchError: says both types and the choice to make.
    """
    if pa.types.is_dictionary(found):
        found = found.value_type
    families = [
        (pa.types.is_integer, lambda t: pa.types.is_integer(t) or pa.types.is_floating(t) or pa.types.is_decimal(t)),
        (pa.types.is_floating, lambda t: pa.types.is_integer(t) or pa.types.is_floating(t) or pa.types.is_decimal(t)),
        (pa.types.is_decimal, lambda t: pa.types.is_integer(t) or pa.types.is_floating(t) or pa.types.is_decimal(t)),
        (pa.types.is_string, _is_text),
        (pa.types.is_boolean, pa.types.is_boolean),
        (pa.types.is_timestamp, pa.types.is_temporal),
        (pa.types.is_date, lambda t: pa.types.is_date(t) or pa.types.is_timestamp(t)),
    ]
    if found == kind or pa.types.is_null(found) or any(wanted(kind) and allowed(found) for wanted, allowed in families):
        return
    raise SchemaMismatchError(
        f"{where}: column {column!r} is {found} in the source but columns says {kind}",
        hint=f"change the type of {column!r} under columns, or write the source with the type that it says",
        column=column,
    )


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _each(values: pa.Array, kind: pa.DataType, formats: Sequence[str]) -> tuple[pa.Array, np.ndarray]:
    """Cast in one go, or halve until the values that fail stand alone."""
    try:
        return _cast(values, kind, formats), np.zeros(len(values), dtype=bool)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        pass
    if len(values) == 1:
        return pa.nulls(1, kind), np.ones(1, dtype=bool)
    if len(values) > _SMALL and (_is_text(values.type)) and (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        pattern = (
            r"^[+-]?\d+$"
            if pa.types.is_integer(kind)
            else r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$|^[+-]?(nan|NaN|NAN|inf|Inf|INF|infinity|Infinity)$"
        )
        odd = pc.and_(pc.is_valid(values), pc.invert(pc.match_substring_regex(values, pattern)))
        if pc.any(odd).as_py():
            rest, more = _each(pc.if_else(odd, pa.scalar(None, values.type), values), kind, formats)
            return rest, _mask(odd) | more
    middle = len(values) // 2
    left, left_bad = _each(values.slice(0, middle), kind, formats)
    right, right_bad = _each(values.slice(middle), kind, formats)
    return pa.concat_arrays([left, right]), np.concatenate([left_bad, right_bad])


def _cast(values: pa.Array, kind: pa.DataType, formats: Sequence[str]) -> pa.Array:
    if not _is_text(values.type) or not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        if pa.types.is_decimal(kind) and pa.types.is_floating(values.type):
            values = values.cast(pa.string())
        return values.cast(kind)
    for shape in formats:
        try:
            return pc.strptime(values, shape, "us").cast(kind)
        except pa.ArrowInvalid:
            continue
    if pa.types.is_timestamp(kind) and len(values) and _ZONE.search(next((v for v in values.to_pylist()[:1] if v), "")):
        return values.cast(pa.timestamp("us", "UTC")).cast(kind)
    return values.cast(kind)


def _mask(condition: pa.Array) -> np.ndarray:
    return np.asarray(pc.fill_null(condition, False).to_numpy(zero_copy_only=False), dtype=bool)
